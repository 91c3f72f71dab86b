"""AccessMiddleware: gives each request an id, counts it, and logs it as a line of JSON; without tokens, labels and names of files."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quickstep.apps.server.admission import WORK_ROUTES
from quickstep.apps.server.error_responses import CLIENT_LEFT
from quickstep.apps.server.metrics import Metrics
from quickstep.types.errors import ConfigError

METHODS = ("GET", "POST", "OPTIONS", "HEAD", "PUT", "PATCH", "DELETE")
REQUEST_ID = "x-request-id"
STDERR = Path("-")

_log = logging.getLogger(__name__)


class AccessLog:
    """A file that gets one line for each request. It is opened for each line, so that it can be renamed and removed at any time."""

    def __init__(self, file: Path | None) -> None:
        self.file, self._fails = file, False
        if file is not None and (problem := self._append("")):
            raise ConfigError("access_log", f"{file} cannot be written: {problem}")

    def write(self, record: dict[str, Any]) -> None:
        """Write one record; a disk that is full fails no request, and is logged once."""
        if self.file is None:
            return
        problem = self._append(json.dumps(record) + "\n")
        if problem and not self._fails:
            _log.warning("the access log %s cannot be written: %s", self.file, problem)
        self._fails = problem is not None

    def _append(self, line: str) -> str | None:
        """Append a line; return what prevents it."""
        assert self.file is not None
        if self.file == STDERR:
            sys.stderr.write(line)
            return None
        try:
            handle = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
            try:
                os.write(handle, line.encode())
            finally:
                os.close(handle)
        except OSError as error:
            return error.strerror or str(error)
        return None


class AccessMiddleware:
    """The outermost application: what it wraps cannot answer without an id, a count and a line."""

    def __init__(self, app: ASGIApp, log: AccessLog, metrics: Metrics) -> None:
        self.app, self.log, self.metrics = app, log, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status, received = time.monotonic(), 500, 0
        scope["request_id"] = secrets.token_hex(8)

        async def receive_and_count() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (REQUEST_ID.encode(), scope["request_id"].encode())]}
            await send(message)

        try:
            await self.app(scope, receive_and_count, send_with_id)
        except asyncio.CancelledError:
            status = CLIENT_LEFT
            raise
        finally:
            self._finish(scope, status, time.monotonic() - began, received)

    def _finish(self, scope: Scope, status: int, seconds: float, received: int) -> None:
        route = scope.get("route")
        path = route.path if route is not None else scope["path"] if scope["path"] in WORK_ROUTES else "none"
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.metrics.requests.labels(path, method, str(status)).inc()
        self.metrics.seconds.labels(path).observe(seconds)
        client, account = scope.get("client"), scope.get("account")
        self.log.write(
            {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "id": scope["request_id"],
                "client": None if client is None else client[0],
                "token": None if account is None else account.name,
                "method": method,
                "route": path,
                "status": status,
                "seconds": round(seconds, 4),
                "received_bytes": received,
            }
        )
