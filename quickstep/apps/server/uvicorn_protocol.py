"""Wire: one connection, as uvicorn reads it; what is no HTTP is told so in our form, and who says nothing is not waited for."""

from __future__ import annotations

import asyncio
import contextlib
import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD = 15.0  # seconds in which a request's head must have come


class Wire(H11Protocol):
    """A connection with a limit on the time that a request's head may take."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody has come: from now on they have some time to say what they want."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """They have gone."""
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """They said something."""
        super().data_received(data)
        if self._answering:
            self._unwatch()
        elif self._late is None:
            self._watch()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        body = {"error": msg.rstrip("."), "what_to_do": "send an HTTP/1.1 request whose head is at most 64 KB long"}
        headers = [("content-type", "application/json"), ("connection", "close")]
        with contextlib.suppress(h11.LocalProtocolError):  # an answer is on its way already
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=json.dumps(body).encode()), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        self._late = self.loop.call_later(HEAD, self._give_up)

    def _unwatch(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if not self._answering and not self.transport.is_closing():
            self.transport.close()
