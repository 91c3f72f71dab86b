"""Gate: what every request passes first: is the service stopping, is the token right, is there room, is the upload too large; and counts.

Nothing of a body has been read by then, so that refusing costs nothing.
"""

from __future__ import annotations

import asyncio
import hmac
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quickstep.apps.server.config import Limits
from quickstep.apps.server.error_responses import GONE, Problem, busy
from quickstep.apps.server.metrics import Metrics
from quickstep.apps.server.multipart import too_large

OPEN = ("/healthz",)  # to be asked without a token, and while the service stops
WATCHED = ("/metrics",)  # to be asked while the service stops
WORK = ("/predict", "/timeline", "/poses", "/search")  # what takes a place in the queue
_RETRY = 5.0


class Gate:
    """What is common to all requests: how many there are, and whether more are let in."""

    def __init__(self, limits: Limits, metrics: Metrics, secret: str | None) -> None:
        self.limits, self.metrics, self._secret = limits, metrics, secret
        self.taken_in = 0
        self.stopping: float | None = None  # since when

    def close(self) -> None:
        """Let nobody in any more; those who are in stay."""
        self.stopping = self.stopping or time.monotonic()

    def check(self, path: str, headers: dict[bytes, bytes]) -> None:
        """Refuse whoever cannot come in now."""
        if path in OPEN:
            return
        if self.stopping is not None and path not in WATCHED:
            raise busy("the service is stopping", _RETRY)
        if self._secret is not None and not _same(headers.get(b"authorization", b""), self._secret):
            raise Problem(
                401,
                "the token is missing or wrong",
                "send the header Authorization: Bearer TOKEN with the token of this service",
                headers={"WWW-Authenticate": 'Bearer realm="quickstep"'},
            )
        if path in WORK:
            if self.taken_in >= self.limits.queue:
                raise busy(f"{self.taken_in} requests are being worked on, and no more are taken in", _RETRY)
            stated = headers.get(b"content-length", b"")
            if stated.isdigit() and int(stated) > self.limits.max_bytes + 2**16:
                raise too_large(self.limits)


class Gated:
    """The application behind the gate."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self.app, self.gate = app, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here; and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status, gate = time.monotonic(), 500, self.gate

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        working = scope["path"] in WORK
        try:
            try:
                gate.check(scope["path"], dict(scope["headers"]))
            except Problem as problem:
                await problem.answer()(scope, receive, counted)
                return
            gate.taken_in += working
            try:
                await self.app(scope, receive, counted)
            finally:
                gate.taken_in -= working
        except asyncio.CancelledError:
            status = GONE
            raise
        finally:
            self._count(scope, status, time.monotonic() - began)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        metrics = self.gate.metrics
        route = getattr(scope.get("route"), "path", None) or (scope["path"] if scope["path"] in WORK else "none")
        method = scope["method"] if scope["method"] in ("GET", "POST", "OPTIONS", "HEAD", "PUT", "PATCH", "DELETE") else "other"
        metrics.requests.labels(route, method, str(status)).inc()
        metrics.seconds.labels(route).observe(seconds)
        metrics.taken_in.set(self.gate.taken_in)


def _same(header: bytes, secret: str) -> bool:
    """Whether a header brings the token; it takes as long whatever it brings."""
    scheme, _, token = header.partition(b" ")
    return hmac.compare_digest(token.strip(), secret.encode()) and scheme.lower() == b"bearer"
