"""The service: models, and a library, for other programs over HTTP. `serve` runs it; `make_app` makes the ASGI application alone.

FastAPI, uvicorn, python-multipart and prometheus-client are imported by this package only, when `serve` or `make_app` is first used.
"""

from importlib import import_module
from typing import Any

from quickstep.apps.server.config import Limits, ServeConfig
from quickstep.types.errors import MissingExtra

_MODULES = {"Served": "service", "make_app": "application", "serve": "uvicorn_server"}
_LIBRARIES = {"fastapi", "starlette", "uvicorn", "python_multipart", "prometheus_client", "pydantic"}

__all__ = ["Limits", "ServeConfig", "Served", "make_app", "serve"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'quickstep.apps.server' has no attribute {name!r}")
    try:
        return getattr(import_module(f"quickstep.apps.server.{_MODULES[name]}"), name)
    except ImportError as error:
        if (error.name or "").split(".")[0] in _LIBRARIES:
            raise MissingExtra("serve", "the service") from error
        raise


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
