"""make_app: the ASGI application of a service, for `serve` or any ASGI server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import Response

from quickstep.apps.request_guard import RequestGuard
from quickstep.apps.server import error_responses, openapi
from quickstep.apps.server.access_log import REQUEST_ID, AccessMiddleware
from quickstep.apps.server.admission import AdmissionMiddleware
from quickstep.apps.server.config import Limits, ServeConfig
from quickstep.apps.server.error_responses import CLIENT_LEFT
from quickstep.apps.server.multipart import ClientLeft
from quickstep.apps.server.routes import add_routes
from quickstep.apps.server.service import Served, Service
from quickstep.storage.serialization import library_version


def make_app(served: Served, config: ServeConfig | None = None, limits: Limits | None = None) -> FastAPI:
    """Make the application; its resources are released when the server that runs it shuts down."""
    return app_of(Service(served, config or ServeConfig(), limits or Limits()))


def app_of(service: Service) -> FastAPI:
    """Make the application of a service."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="quickstep", version=library_version("quickstep"), description=openapi.ABOUT, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.service = service
    add_routes(app, service)
    error_responses.install(app)
    app.add_exception_handler(ClientLeft, _on_client_left)
    if service.tokens:
        openapi.require_token(app)
    _add_middleware(app, service)
    return app


def _add_middleware(app: FastAPI, service: Service) -> None:
    """Add what stands before the routes; the last one added is the first that a request meets."""
    config = service.config
    app.add_middleware(AdmissionMiddleware, admission=service.admission)
    if config.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(config.cors),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After", REQUEST_ID],
        )
    app.add_middleware(RequestGuard, hosts=config.hosts, origins=config.cors)
    app.add_middleware(AccessMiddleware, log=service.access_log, metrics=service.metrics)


async def _on_client_left(_request: Request, _error: Exception) -> Response:
    return Response(status_code=CLIENT_LEFT)
