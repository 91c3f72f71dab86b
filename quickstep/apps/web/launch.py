"""start: the app's server, with the demo's model where none is given; its temporary folder goes when it stops."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from quickstep.apps.terminal import TerminalProgress, say
from quickstep.apps.web.config import AppConfig, Started
from quickstep.apps.web.theme import OPTIONS
from quickstep.models.ensemble import load_model
from quickstep.storage.cache import Cache
from quickstep.storage.model_folder import RECORD
from quickstep.storage.serialization import to_plain
from quickstep.types.errors import ConfigError, MissingExtra

DEMO = Path("demo")
FIRST_PORT = 8501
_PREFIX = "quickstep-app-"


def start(models: Sequence[Path] = (), config: AppConfig | None = None, *, cache: Path | None = None) -> None:
    """Serve the app until it is stopped."""
    config = config or AppConfig()
    try:
        from streamlit.web import bootstrap
    except ImportError as error:
        raise MissingExtra("app", "the web app") from error
    port = _port(config)
    given = Started(tuple(models), config, Path(), cache)
    if not models:
        given = with_demo(given)
    for folder in given.models:  # what is wrong with one is said before anybody opens a page
        load_model(folder, cache=Cache(cache))
    with _room() as room:
        given = replace(given, room=room)
        bootstrap.load_config_options(options(config, port))
        say(f"the app: http://{_spoken(config.host)}:{port}  (Ctrl-C stops it)", style="bold")
        bootstrap.run(str(Path(__file__).with_name("main.py")), False, [json.dumps(to_plain(given))], options(config, port))


def options(config: AppConfig, port: int) -> dict[str, object]:
    """Streamlit's options for one app."""
    return {
        **OPTIONS,
        "server.address": config.host,
        "server.port": port,
        "server.headless": not sys.stdout.isatty() or not (os.environ.get("DISPLAY") or sys.platform in ("darwin", "win32")),
        "server.maxUploadSize": max(1, config.max_mb),
    }


def with_demo(given: Started, folder: Path = DEMO) -> Started:
    """The same, started on the demo's model and library; what is not there yet is made."""
    from quickstep.apps.commands.maintenance import demo

    if not (folder / "model" / RECORD).is_file():
        say("no model was named: the demo's is made first, in about two minutes (quickstep demo)", style="bold")
        demo(folder)
    samples = tuple(sorted((folder / "new").glob("*/*.mp4")))
    config = given.config
    if config.library is None:
        config = replace(config, library=_demo_library(folder, given.cache))
    return replace(given, models=(folder / "model",), config=config, samples=samples)


def _demo_library(folder: Path, cache: Path | None) -> str | None:
    """The demo's dancers as a library; None where what that needs is not installed."""
    place = folder / "library"
    if not place.is_dir():
        try:
            from quickstep.library import IndexConfig, index

            made = IndexConfig(backbone="flow-hist", window=2.0, model=folder / "model")
            with TerminalProgress() as progress:
                index(str(place), [str(folder / "dancers"), str(folder / "new")], made, cache=Cache(cache), progress=progress)
        except MissingExtra as error:
            say(f"note: {error}", style="yellow")
            return None
    return str(place)


def _port(config: AppConfig) -> int:
    """The port asked for, if it is free, else the first free one."""
    if config.port is not None:
        if not _free(config.host, config.port):
            raise ConfigError("port", f"{config.port} is in use, or not ours to use; name another one, or none")
        return config.port
    found = next((port for port in range(FIRST_PORT, FIRST_PORT + 100) if _free(config.host, port)), None)
    if found is None:
        raise ConfigError("port", f"none from {FIRST_PORT} to {FIRST_PORT + 99} is free at {config.host}; name one, or another --host")
    return found


def _free(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def _spoken(address: str) -> str:
    if address in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{address}]" if ":" in address else address


@contextlib.contextmanager
def _room() -> Iterator[Path]:
    """A folder for everybody's files while the app runs; what killed apps left is removed too."""
    home = Path(tempfile.gettempdir())
    for left in home.glob(f"{_PREFIX}*"):
        number = left.name.removeprefix(_PREFIX).partition("-")[0]
        if number.isdigit() and not _alive(int(number)):
            shutil.rmtree(left, ignore_errors=True)
    room = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=home))
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
