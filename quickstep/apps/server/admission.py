"""Admission: decides which requests are accepted before any of the body is read, and how many are received and worked on at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from starlette.types import ASGIApp, Receive, Scope, Send

from quickstep.apps.server.config import Limits
from quickstep.apps.server.error_responses import Problem, busy
from quickstep.apps.server.metrics import Metrics
from quickstep.apps.server.multipart import FORM_BYTES, too_large
from quickstep.apps.server.tokens import Account, Tokens

NO_TOKEN_NEEDED = ("/healthz", "/", "/docs")  # answered also while the service stops
ANSWERED_WHILE_STOPPING = ("/metrics",)
SHORT_ROUTES = ("/predict", "/search")
LONG_ROUTES = ("/timeline", "/poses")
WORK_ROUTES = (*SHORT_ROUTES, *LONG_ROUTES)
RETRY_SECONDS = 5.0


class Places:
    """How many requests may be in one state at once; the others are refused."""

    def __init__(self, count: int, state: str) -> None:
        self.count, self.state, self.taken = count, state, 0

    def check(self) -> None:
        """Refuse with a Problem if all places are taken."""
        if self.taken >= self.count:
            raise busy(f"{self.taken} requests are {self.state}, which is the limit", RETRY_SECONDS)

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        """Hold a place, or refuse."""
        self.check()
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class Admission:
    """Decides which requests are accepted: while stopping, by token, by number and by size."""

    def __init__(self, limits: Limits, metrics: Metrics, tokens: Tokens) -> None:
        self.limits, self.metrics, self._tokens = limits, metrics, tokens
        self.in_progress = 0  # requests for work, in any state
        self.uploads = Places(limits.uploads, "being received")
        self.short = Places(limits.queue, "in progress")
        self.long = Places(limits.long_queue, "in progress on /timeline and /poses")
        self.stopping: float | None = None  # the time at which the service began to stop

    def stop(self) -> None:
        """Accept no more requests; those in progress continue."""
        self.stopping = self.stopping or time.monotonic()

    def check(self, path: str, headers: dict[bytes, bytes]) -> Account | None:
        """Refuse a request with a Problem, or return the account of its token."""
        if path in NO_TOKEN_NEEDED:
            return None
        if self.stopping is not None and path not in ANSWERED_WHILE_STOPPING:
            raise busy("the service is stopping", RETRY_SECONDS)
        stated = int(text) if (text := headers.get(b"content-length", b"")).isdigit() else 0
        account = self._account(headers, stated)
        if path in WORK_ROUTES:
            (self.long if path in LONG_ROUTES else self.short).check()
            self.uploads.check()
            if stated > self.limits.max_bytes + FORM_BYTES:
                raise too_large(self.limits)
        return account

    def _account(self, headers: dict[bytes, bytes], stated_bytes: int) -> Account | None:
        if not self._tokens:
            return None
        account = self._tokens.account(headers.get(b"authorization", b""))
        if account is None:
            raise Problem(
                401,
                "the token is missing or wrong",
                "send the header Authorization: Bearer TOKEN with a token of this service",
                headers={"WWW-Authenticate": 'Bearer realm="quickstep"'},
            )
        account.take_request(stated_bytes)
        return account


class AdmissionMiddleware:
    """Lets accepted requests pass to the application, and answers the others."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self.app, self.admission = app, admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            scope["account"] = self.admission.check(scope["path"], dict(scope["headers"]))
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        is_work, metrics = scope["path"] in WORK_ROUTES, self.admission.metrics
        self.admission.in_progress += is_work
        metrics.in_progress.set(self.admission.in_progress)
        try:
            await self.app(scope, receive, send)
        finally:
            self.admission.in_progress -= is_work
            metrics.in_progress.set(self.admission.in_progress)
