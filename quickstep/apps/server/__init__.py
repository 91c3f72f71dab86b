"""The service: models, and a library, for other programs over HTTP. It starts with `serve`; `make_app` gives the ASGI application alone.

    settings   what one can choose: where it listens, who may ask, how much it takes on
    serving    serve(): the socket, the signals, a graceful end
    wire       one connection: what is no HTTP, and who says nothing
    app        the application: its rooms put together
    gate       every request first: the token, the queue's limit, the end; and counted
    routes     what can be asked
    fields     what can be said with it
    schemas    what is answered, with examples
    words      the description that programs and people read
    problems   errors: what is wrong and what to do, always in one form
    videos     the video that a request is about, on disk for as long as it is looked at
    forms      multipart, piece by piece into a file
    fetching   a video from an address, never from a private one
    desk       the folder of videos that are being looked at; nothing stays in it
    limits     whether a video is too long or too large, before it waits
    engine     one thread that works, and the queue before it
    tasks      what the engine does
    forgetful  a cache that keeps nothing
    metrics    what is counted, for Prometheus

FastAPI, uvicorn, python-multipart and prometheus-client are imported in this room only, and only when `serve` or `make_app` is used.
"""

from importlib import import_module
from typing import Any

from quickstep.apps.server.config import Limits, ServeConfig
from quickstep.types.errors import MissingExtra

_HOMES = {"Offer": "application", "make_app": "application", "serve": "uvicorn_server"}
_BROUGHT = {"fastapi", "starlette", "uvicorn", "python_multipart", "prometheus_client", "pydantic"}

__all__ = ["Limits", "Offer", "ServeConfig", "make_app", "serve"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'quickstep.apps.server' has no attribute {name!r}")
    try:
        return getattr(import_module(f"quickstep.apps.server.{_HOMES[name]}"), name)
    except ImportError as error:
        if (error.name or "").split(".")[0] in _BROUGHT:
            raise MissingExtra("serve", "the service") from error
        raise


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
