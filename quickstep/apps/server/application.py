"""make_app: the ASGI application of a service, for `serve` or any ASGI server."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quickstep.apps.server import error_responses, openapi
from quickstep.apps.server.config import Limits, ServeConfig
from quickstep.apps.server.error_responses import CLIENT_LEFT, Problem
from quickstep.apps.server.multipart import ClientLeft
from quickstep.apps.server.routes import add_routes
from quickstep.apps.server.service import WORK_ROUTES, Admission, Served, Service
from quickstep.storage.library_versions import library_version

METHODS = ("GET", "POST", "OPTIONS", "HEAD", "PUT", "PATCH", "DELETE")


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
    if service.config.secret is not None:
        openapi.require_token(app)
    app.add_middleware(AdmissionMiddleware, admission=service.admission)
    if service.config.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(service.config.cors),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After"],
        )
    return app


async def _on_client_left(_request: Request, _error: Exception) -> Response:
    return Response(status_code=CLIENT_LEFT)


class AdmissionMiddleware:
    """Lets accepted requests pass to the application, answers the others, and counts all."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self.app, self.admission = app, admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._handle(scope, receive, send_and_note_status)
        except asyncio.CancelledError:
            status = CLIENT_LEFT
            raise
        finally:
            self._count(scope, status, time.monotonic() - began)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self.admission.check(scope["path"], dict(scope["headers"]))
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        is_work = scope["path"] in WORK_ROUTES
        self.admission.in_progress += is_work
        try:
            await self.app(scope, receive, send)
        finally:
            self.admission.in_progress -= is_work

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        metrics, route = self.admission.metrics, scope.get("route")
        path = route.path if route is not None else scope["path"] if scope["path"] in WORK_ROUTES else "none"
        method = scope["method"] if scope["method"] in METHODS else "other"
        metrics.requests.labels(path, method, str(status)).inc()
        metrics.seconds.labels(path).observe(seconds)
        metrics.in_progress.set(self.admission.in_progress)
