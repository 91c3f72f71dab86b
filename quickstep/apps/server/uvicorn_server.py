"""serve: run the service with uvicorn, from the warm-up to a graceful end on SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

import h11
import numpy as np
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from quickstep.apps.server.application import app_of
from quickstep.apps.server.batch_worker import JobKind
from quickstep.apps.server.config import Limits, ServeConfig
from quickstep.apps.server.native_memory import release_freed, share_pools
from quickstep.apps.server.service import Served, Service
from quickstep.models.classifier import Predictions
from quickstep.models.ensemble import AnyModel
from quickstep.signals.poses.estimation import PoseFinder
from quickstep.types.errors import ConfigError
from quickstep.types.signals import Frames

REQUEST_HEAD_SECONDS = 15.0  # in which a request's head must arrive
_RELEASE_TICKS = 20  # of a tenth of a second
_LAST_SECONDS = 2  # for open connections when the grace period is over

_log = logging.getLogger(__name__)


def serve(
    served: Served, config: ServeConfig | None = None, limits: Limits | None = None, *, ready: Callable[[str], None] = lambda _address: None
) -> None:
    """Answer requests until SIGTERM or SIGINT; then finish those in progress and refuse new ones. `ready` is called with the address."""
    config, limits = config or ServeConfig(), limits or Limits()
    share_pools()
    with contextlib.closing(listen(config.host, config.port)) as listener:
        service = Service(served, config, limits)
        try:
            warm_up(service)
            server = Server(service, lambda: ready(address_of(listener, secure=config.tls_cert is not None)))
            server.run(sockets=[listener])
        finally:
            service.close()


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket; an address that cannot be used is a ConfigError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError("host", f"{host!r} is not an address of this machine; 127.0.0.1 is local, 0.0.0.0 accepts all") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError("port", f"{port} is in use by another program; choose another one, or 0 for any free port") from error
        if error.errno == errno.EACCES:
            raise ConfigError("port", f"{port} needs the rights of an administrator; choose one from 1024 on") from error
        raise ConfigError("host", f"cannot listen at {host}: {error.strerror}") from error
    return listener


def address_of(listener: socket.socket, *, secure: bool = False) -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"{'https' if secure else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def warm_up(service: Service) -> None:
    """Score grey frames with each model on the worker's thread, so that errors appear at the start and the first client does not wait."""
    if service.served.poses.pose_model is not None:
        _ = PoseFinder(service.served.poses, service.served.cache).estimator.identity
    grey = Frames(np.full((16, 64, 64, 3), 128, np.uint8), np.arange(16) / 16)

    def score(models: Sequence[AnyModel]) -> list[Predictions]:
        return [model.score(grey) for model in models]

    started = time.monotonic()
    for model in service.served.models.values():
        service.worker.submit(JobKind("warm-up", score), model).result()
    _log.info("warmed up %d models in %.1f s", len(service.served.models), time.monotonic() - started)


class Server(uvicorn.Server):
    """A uvicorn server that refuses new requests before it closes its socket."""

    def __init__(self, service: Service, ready: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app_of(service),
            http=HttpProtocol,
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_LAST_SECONDS,
            ssl_certfile=service.config.tls_cert,
            ssl_keyfile=service.config.tls_key,
        )
        super().__init__(config)
        self._service, self._ready = service, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, and call `ready`."""
        await super().startup(sockets=sockets)
        self._ready()

    async def on_tick(self, counter: int) -> bool:
        """Release memory now and then; end when the service is stopping and all requests are answered, or the grace period is over."""
        admission = self._service.admission
        if counter % _RELEASE_TICKS == 0:
            release_freed()
        if admission.stopping is not None:
            seconds = time.monotonic() - admission.stopping
            self.should_exit = self.should_exit or not admission.in_progress or seconds > self._service.limits.grace
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals; the first one ends gracefully, the second at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a signal handler
        """Stop the service; at the second signal, end at once."""
        if self._service.admission.stopping is not None:
            self.should_exit = self.force_exit = True
        self._service.admission.stop()


class HttpProtocol(H11Protocol):
    """One connection: a request's head must arrive in time, and what is not HTTP gets an error response in our form."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Stop the timer while a request is being answered, and start it again afterwards."""
        super().data_received(data)
        if self._is_answering:
            self._stop_timer()
        elif self._timer is None:
            self._start_timer()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        body = {"error": msg.rstrip("."), "what_to_do": "send an HTTP/1.1 request whose head is at most 64 KB long"}
        headers = [("content-type", "application/json"), ("connection", "close")]
        with contextlib.suppress(h11.LocalProtocolError):  # a response is being sent already
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=json.dumps(body).encode()), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(REQUEST_HEAD_SECONDS, self._close_if_idle)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_if_idle(self) -> None:
        self._timer = None
        if not self._is_answering and not self.transport.is_closing():
            self.transport.close()
