"""make_app: the ASGI application of a service, for `serve` or for any other server. One process, one application."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import Response

from quickstep.apps.server import error_responses, openapi
from quickstep.apps.server.admission import Gated
from quickstep.apps.server.config import Limits, ServeConfig
from quickstep.apps.server.error_responses import GONE
from quickstep.apps.server.multipart import Left
from quickstep.apps.server.prediction_service import Offer, Service
from quickstep.apps.server.routes import add_routes
from quickstep.training.train import library_version

__all__ = ["Offer", "app_of", "make_app"]


def make_app(offer: Offer, config: ServeConfig | None = None, limits: Limits | None = None) -> FastAPI:
    """The application; what it holds is let go when the server that runs it says that it ends."""
    return app_of(Service(offer, config or ServeConfig(), limits or Limits()))


def app_of(service: Service) -> FastAPI:
    """The application of a service."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="quickstep",
        version=library_version("quickstep"),
        description=openapi.ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    add_routes(app, service)
    error_responses.install(app)
    app.add_exception_handler(Left, _nobody)
    if service.config.secret is not None:
        openapi.secured(app)
    app.add_middleware(Gated, gate=service.gate)
    if service.config.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(service.config.cors),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After"],
        )
    return app


async def _nobody(_request: Request, _left: Exception) -> Response:
    """The client has gone; whatever is said, nobody hears it."""
    return Response(status_code=GONE)
