"""serve: the service on a socket, from the first request to a graceful end. Knows uvicorn and signals; no route."""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import uvicorn

from quickstep.apps.server.application import app_of
from quickstep.apps.server.config import Limits, ServeConfig
from quickstep.apps.server.prediction_service import Offer, Service
from quickstep.apps.server.uvicorn_protocol import Wire
from quickstep.signals.poses.estimation import PoseFinder
from quickstep.signals.video import write_video
from quickstep.types.errors import ConfigError
from quickstep.types.segment import Segment

_LAST = 2  # seconds for connections that are left when the grace is over


def serve(
    offer: Offer, config: ServeConfig | None = None, limits: Limits | None = None, *, ready: Callable[[str], None] = lambda _address: None
) -> None:
    """Answer requests until SIGTERM or SIGINT; then finish what runs and refuse what comes. `ready` is told the address."""
    config, limits = config or ServeConfig(), limits or Limits()
    with contextlib.closing(listen(config.host, config.port)) as listener:
        service = Service(offer, config, limits)
        try:
            warm_up(service)
            server = Server(service, lambda: ready(address_of(listener)))
            server.run(sockets=[listener])
        finally:
            service.close()


def listen(host: str, port: int) -> socket.socket:
    """A socket at an address; one line where there is none to be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError("host", f"{host!r} is no address of this machine; 127.0.0.1 is for itself alone, 0.0.0.0 for all") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError("port", f"{port} is taken by another program; name another, or 0 for any that is free") from error
        if error.errno == errno.EACCES:
            raise ConfigError("port", f"{port} is not for everybody; name one from 1024 on") from error
        raise ConfigError("host", f"cannot listen at {host}: {error.strerror}") from error
    return listener


def address_of(listener: socket.socket) -> str:
    """Where a socket listens, as people type it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def warm_up(service: Service) -> None:
    """Look at a video of nothing with each model, so that what cannot work is said at once and the first client does not wait."""
    if service.offer.poses.pose_model is not None:
        _ = PoseFinder(service.offer.poses, service.offer.cache).estimator.identity
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nothing.mp4"
        write_video(path, [np.full((64, 64, 3), 128, np.uint8)] * 16, fps=16)
        for kind in service.naming.values():
            service.engine.submit(kind, Segment(path)).result()


class Server(uvicorn.Server):
    """uvicorn, but that it stops taking requests before it stops listening."""

    def __init__(self, service: Service, ready: Callable[[], None]) -> None:
        app = app_of(service)
        super().__init__(
            uvicorn.Config(
                app, http=Wire, ws="none", log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=_LAST
            )
        )
        self._service, self._ready = service, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets=sockets)
        self._ready()

    async def on_tick(self, counter: int) -> bool:
        """End when the service is stopping and all is answered, or the grace is over."""
        gate = self._service.gate
        if gate.stopping is not None and (not gate.taken_in or time.monotonic() - gate.stopping > self._service.limits.grace):
            self.should_exit = True
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The first signal asks to end, the second does not wait."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - what a signal brings
        """Called by a signal."""
        if self._service.gate.stopping is not None:
            self.should_exit = self.force_exit = True
        self._service.gate.close()
