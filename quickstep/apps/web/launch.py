"""Start the app's server, with a temporary folder that is removed when it stops."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from quickstep.apps.request_guard import RequestGuard
from quickstep.apps.terminal import say
from quickstep.apps.web.config import ALL_ADDRESSES, AppConfig, Sample, Started
from quickstep.apps.web.theme import OPTIONS
from quickstep.models.ensemble import load_model
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import to_plain
from quickstep.types.errors import ConfigError, MissingExtra

FIRST_PORT = 8501
_PREFIX = "quickstep-app-"


def start(models: Sequence[Path], config: AppConfig, *, cache: Path | None = None, samples: Sequence[Sample] = ()) -> None:
    """Serve the app until it is stopped; `samples` are videos to try, besides those that a model was tested on."""
    try:
        from starlette.middleware import Middleware
        from starlette.routing import Route
        from streamlit.web.server.starlette import App
    except ImportError as error:
        raise MissingExtra("app", "the web app") from error
    from quickstep.apps.web import video_addresses

    port = _port(config)
    for folder in models:  # a broken one ends the start, before anybody opens a page
        load_model(folder, cache=Cache(cache))
    address = f"{'http' if config.tls_cert is None else 'https'}://{_host_in_url(config.host)}:{port}"

    @contextlib.asynccontextmanager
    async def opened(_app: App) -> AsyncIterator[None]:
        say(f"the app: {address}  (Ctrl-C stops it)", style="bold")
        if not _is_headless():
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        yield

    with _temporary_folder() as temporary:
        script = str(Path(__file__).parent / "pages" / "main.py")
        app = App(
            script,
            middleware=[
                Middleware(RequestGuard, hosts=config.hosts, origins=config.cors),
                Middleware(video_addresses.VisitorCookies),
            ],
            routes=[Route(video_addresses.ROUTE, video_addresses.answer)],
            lifespan=opened,
        )
        sys.argv = [script, json.dumps(to_plain(Started(tuple(models), config, temporary, cache, tuple(samples))))]
        app.run(config=options(config, port))


def options(config: AppConfig, port: int) -> dict[str, object]:
    """Return the options of Streamlit for one app."""
    return {
        **OPTIONS,
        "server.address": config.host,
        "server.port": port,
        "server.headless": True,  # `start` opens the browser
        "server.enableCORS": True,  # not: allow other origins; Streamlit's name for the protection from them
        "server.enableXsrfProtection": True,
        "server.corsAllowedOrigins": list(config.cors),
        **({} if config.tls_cert is None else {"server.sslCertFile": str(config.tls_cert), "server.sslKeyFile": str(config.tls_key)}),
        "server.maxUploadSize": max(1, config.max_mb),
    }


def _is_headless() -> bool:
    """Whether nobody sits at this machine's screen."""
    return not sys.stdout.isatty() or not (os.environ.get("DISPLAY") or sys.platform in ("darwin", "win32"))


def _port(config: AppConfig) -> int:
    """Return the port of the config, if it is free; without one, the first free port."""
    if config.port is not None:
        if not _free(config.host, config.port):
            raise ConfigError("port", f"{config.port} is in use, or may not be used: name another one, or none")
        return config.port
    port = next((number for number in range(FIRST_PORT, FIRST_PORT + 100) if _free(config.host, number)), None)
    if port is None:
        raise ConfigError("port", f"none from {FIRST_PORT} to {FIRST_PORT + 99} is free at {config.host}; name one, or another `host`")
    return port


def _free(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def _host_in_url(address: str) -> str:
    if address in ALL_ADDRESSES:
        return socket.gethostname()
    return f"[{address}]" if ":" in address else address


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Give a folder for the users' files while the app runs; remove those of apps that were killed."""
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(f"{_PREFIX}*"):
        number = left.name.removeprefix(_PREFIX).partition("-")[0]
        if number.isdigit() and not _alive(int(number)):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
