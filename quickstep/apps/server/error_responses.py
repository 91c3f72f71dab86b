"""Error responses: every error has the same form, with what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from quickstep.types.errors import (
    CacheError,
    ConfigError,
    LibraryError,
    MediaError,
    MissingExtra,
    QuickstepError,
    UnknownName,
    WeightsError,
)

CLIENT_LEFT = 499  # a status that nobody reads, because the client has closed the connection
SEND_VIDEO = "send a whole video file (mp4, mov, mkv, webm, avi ...) that a player can open"
_CLIENT_SETTINGS = ("label", "top")  # settings that come from the client; a wrong value of another one is the service's fault


class Problem(Exception):
    """An error response: the status, what is wrong, what to do."""

    def __init__(self, status: int, error: str, what_to_do: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error)
        self.status, self.error, self.what_to_do = status, error, what_to_do
        self.headers = dict(headers or {})

    def response(self) -> JSONResponse:
        """Return the HTTP response."""
        return JSONResponse({"error": _one_line(self.error), "what_to_do": self.what_to_do}, self.status, self.headers)


def busy(error: str, seconds: float) -> Problem:
    """Return a 503 with the time after which to retry."""
    wait = max(1, round(seconds))
    return Problem(503, error, f"retry in {wait} s", headers={"Retry-After": str(wait)})


def to_problem(error: QuickstepError, *, path: Path | None = None, name: str = "the video") -> Problem:
    """Return the response to a QuickstepError; the temporary path of an upload is replaced by the client's name for it."""
    text = (error.why if isinstance(error, MediaError) and path is not None and error.path == path else str(error)) or "cannot be used"
    if path is not None:
        text = text.replace(str(path), "\0").replace(path.name, "\0").replace("\0", name)
    if isinstance(error, MediaError):
        return Problem(422, f"{name}: {text}" if path is not None else text, SEND_VIDEO)
    if isinstance(error, MissingExtra | WeightsError | LibraryError) or (
        isinstance(error, ConfigError) and error.field not in _CLIENT_SETTINGS
    ):
        return Problem(424, text, "this part of the service is not set up, and a retry does not help; tell the operator")
    if isinstance(error, CacheError):
        return Problem(503, text, "tell the operator, and retry", headers={"Retry-After": "60"})
    if isinstance(error, UnknownName):
        return Problem(404, text, "use one of the listed names")
    if isinstance(error, ConfigError):
        return Problem(422, f"{error.field}: {error.why}", "correct the parameter and send the request again")
    return Problem(422, text, "correct the request and send it again")


def install(app: FastAPI) -> None:
    """Make every error of the application a Problem."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(QuickstepError, _on_quickstep_error)
    app.add_exception_handler(Exception, _on_bug)


async def _on_problem(_request: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, Problem)
    return problem.response()


async def _on_quickstep_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, QuickstepError)
    return to_problem(error).response()


async def _on_validation_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    wrong = [f"{'.'.join(str(part) for part in item['loc'][1:]) or item['loc'][0]}: {_message(item)}" for item in error.errors()]
    return Problem(422, "; ".join(wrong[:5]), "correct the named parameters; /docs lists the valid values").response()


def _message(validation_error: Mapping[str, Any]) -> str:
    message = str(validation_error["msg"])
    return message[:1].lower() + message[1:]


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 404:
        return Problem(404, f"there is nothing at {path}", "/docs lists all routes").response()
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        what_to_do = f"send {allowed}" if allowed else "/docs lists the methods of each route"
        return Problem(405, f"{request.method} is not allowed at {path}", what_to_do, headers=error.headers).response()
    return Problem(error.status_code, str(error.detail), "correct the request and send it again", headers=error.headers).response()


async def _on_bug(_request: Request, _error: Exception) -> JSONResponse:
    """Return a 500; the traceback goes to the log."""
    return Problem(500, "an internal error occurred", "tell the operator; the log of the service has the details").response()


def _one_line(text: str) -> str:
    """Return one line without control characters, whatever the name of a client's file contains."""
    return "".join(letter if letter.isprintable() else "�" for letter in " ".join(text.split()))[:2000]
