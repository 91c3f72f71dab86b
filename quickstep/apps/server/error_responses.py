"""What a client is told when something is wrong: one form for every error, with a way out. Knows no route."""

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

GONE = 499  # the client has left: nobody reads this
SEND_VIDEO = "send a whole video file (mp4, mov, mkv, webm, avi ...) that a player can open"

CHOSEN = ("label", "top")  # settings of the house that come from a client


class Problem(Exception):
    """An answer that is no result: the status, what is wrong, what to do."""

    def __init__(self, status: int, error: str, what_to_do: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error)
        self.status, self.error, self.what_to_do = status, error, what_to_do
        self.headers = dict(headers or {})

    def answer(self) -> JSONResponse:
        """As it goes over the wire."""
        return JSONResponse({"error": _plain(self.error), "what_to_do": self.what_to_do}, self.status, self.headers)


def busy(error: str, seconds: float) -> Problem:
    """Come again later."""
    wait = max(1, round(seconds))
    return Problem(503, error, f"come again in {wait} s", headers={"Retry-After": str(wait)})


def of_error(error: QuickstepError, *, path: Path | None = None, name: str = "the video") -> Problem:
    """What a client is told of an error of the house; where a file of ours stood for their video, their name for it stands there."""
    text = (error.why if isinstance(error, MediaError) and path is not None and error.path == path else str(error)) or "cannot be used"
    if path is not None:
        text = text.replace(str(path), "\0").replace(path.name, "\0").replace("\0", name)
    if isinstance(error, MediaError):
        return Problem(422, f"{name}: {text}" if path is not None else text, SEND_VIDEO)
    if isinstance(error, MissingExtra | WeightsError | LibraryError) or _is_ours(error):
        return Problem(424, text, "this part of the service is not set up, and waiting does not help; tell whoever runs it")
    if isinstance(error, CacheError):
        return Problem(503, text, "tell whoever runs the service, and come again", headers={"Retry-After": "60"})
    if isinstance(error, UnknownName):
        return Problem(404, text, "take one of the names that there are")
    if isinstance(error, ConfigError):
        return Problem(422, f"{error.field}: {error.why}", "mend the parameter and send the request again")
    return Problem(422, text, "mend the request and send it again")


def _is_ours(error: QuickstepError) -> bool:
    """Whether a setting is wrong that no client can choose."""
    return isinstance(error, ConfigError) and error.field not in CHOSEN


def install(app: FastAPI) -> None:
    """Let every error of the application leave in this form."""
    app.add_exception_handler(Problem, _of_problem)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_framework)
    app.add_exception_handler(QuickstepError, _of_house)
    app.add_exception_handler(Exception, _of_bug)


async def _of_problem(_request: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, Problem)
    return problem.answer()


async def _of_house(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, QuickstepError)
    return of_error(error).answer()


async def _of_validation(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    wrong = [f"{'.'.join(str(part) for part in each['loc'][1:]) or each['loc'][0]}: {_told(each)}" for each in error.errors()]
    return Problem(422, "; ".join(wrong[:5]), "mend the named parameters; /docs says what each may be").answer()


def _told(found: Mapping[str, Any]) -> str:
    message = str(found["msg"])
    return message[:1].lower() + message[1:]


async def _of_framework(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 404:
        return Problem(404, f"there is nothing at {path}", "look at /docs for what can be asked").answer()
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        does = f"send {allowed}" if allowed else "look at /docs for how it is asked"
        return Problem(405, f"{request.method} is not understood at {path}", does, headers=error.headers).answer()
    return Problem(error.status_code, str(error.detail), "mend the request and send it again", headers=error.headers).answer()


async def _of_bug(_request: Request, _error: Exception) -> JSONResponse:
    """Ours, not the client's; the traceback goes to the log."""
    return Problem(500, "something went wrong here, and it is our fault", "tell whoever runs the service; its log says what").answer()


def _plain(text: str) -> str:
    """One line without characters that steer a terminal, whatever a client called its file."""
    return "".join(each if each.isprintable() else "�" for each in " ".join(text.split()))[:2000]
