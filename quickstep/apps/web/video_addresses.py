"""Random addresses for the videos that a session shows: they work in its browser only, and end with the session."""

from __future__ import annotations

import hmac
import secrets
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import streamlit as st

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

ROUTE = "/video/{key}"
COOKIE = "quickstep_visitor"  # a random word for each browser, which says nothing about who uses it
_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm"}
# A file of a stranger must not become a page of the app, whatever a browser takes it for.
_HEADERS = {"Cache-Control": "private, no-store", "Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}

_files: dict[str, tuple[Path, str]] = {}  # key -> the file, and the visitor who may see it; of all sessions


class _Addresses:
    """The addresses of one session."""

    def __init__(self) -> None:
        self.keys: dict[Path, str] = {}
        self.visitor = st.context.cookies.get(COOKIE) or ""

    def key(self, path: Path) -> str:
        """Return the key of a file, the same one each time."""
        if path not in self.keys:
            self.keys[path] = secrets.token_urlsafe(32)
            _files[self.keys[path]] = (path, self.visitor)
        return self.keys[path]

    def end(self) -> None:
        """Forget all of them."""
        for key in self.keys.values():
            _files.pop(key, None)


@st.cache_resource(scope="session", on_release=_Addresses.end, show_spinner=False)
def _of_this_session() -> _Addresses:
    return _Addresses()


def address_of(path: Path) -> str | None:
    """Return the address of a file for this session's browser; None if there is no browser, as in tests of a page."""
    page = urlsplit(st.context.url or "")
    return f"{page.scheme}://{page.netloc}{ROUTE.format(key=_of_this_session().key(path))}" if page.netloc else None


async def answer(request: Request) -> Response:
    """Answer a request for an address, also for a part of the video."""
    from starlette.responses import FileResponse, PlainTextResponse

    path, visitor = _files.get(request.path_params["key"], (None, ""))
    allowed = hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), visitor.encode())
    if path is None or not allowed or not path.is_file():
        return PlainTextResponse("there is no such video", 404)
    return FileResponse(path, media_type=_TYPES.get(path.suffix.lower(), "application/octet-stream"), headers=_HEADERS)


class VisitorCookies:
    """An ASGI application in front of another one: gives each browser its cookie with the first answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        cookies = [value for name, value in scope.get("headers", ()) if name == b"cookie"]
        if scope["type"] != "http" or any(COOKIE.encode() + b"=" in value for value in cookies):
            await self.app(scope, receive, send)
            return
        cookie = f"{COOKIE}={secrets.token_urlsafe(32)}; Path=/; HttpOnly; SameSite=Strict" + "; Secure" * (scope["scheme"] == "https")

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"set-cookie", cookie.encode())]}
            await send(message)

        await self.app(scope, receive, send_with_cookie)
