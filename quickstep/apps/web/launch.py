"""Start the app's server, with a temporary folder that is removed when it stops."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from quickstep.apps.terminal import say
from quickstep.apps.web.config import AppConfig, Started
from quickstep.apps.web.theme import OPTIONS
from quickstep.models.ensemble import load_model
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import to_plain
from quickstep.types.errors import ConfigError, MissingExtra

FIRST_PORT = 8501
_PREFIX = "quickstep-app-"


def start(models: Sequence[Path], config: AppConfig, *, cache: Path | None = None, samples: Sequence[Path] = ()) -> None:
    """Serve the app until it is stopped; `samples` are videos to try, besides those that a model was tested on."""
    try:
        from streamlit.web import bootstrap
    except ImportError as error:
        raise MissingExtra("app", "the web app") from error
    port = _port(config)
    for folder in models:  # a broken one ends the start, before anybody opens a page
        load_model(folder, cache=Cache(cache))
    with _temporary_folder() as temporary:
        started = Started(tuple(models), config, temporary, cache, tuple(samples))
        bootstrap.load_config_options(options(config, port))
        say(f"the app: http://{_host_in_url(config.host)}:{port}  (Ctrl-C stops it)", style="bold")
        bootstrap.run(str(Path(__file__).with_name("main.py")), False, [json.dumps(to_plain(started))], options(config, port))


def options(config: AppConfig, port: int) -> dict[str, object]:
    """Return the options of Streamlit for one app."""
    return {
        **OPTIONS,
        "server.address": config.host,
        "server.port": port,
        "server.headless": not sys.stdout.isatty() or not (os.environ.get("DISPLAY") or sys.platform in ("darwin", "win32")),
        "server.maxUploadSize": max(1, config.max_mb),
    }


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
    if address in ("0.0.0.0", "::"):
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
