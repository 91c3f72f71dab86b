"""receive_form: a multipart request, piece by piece into a file; never whole in memory, never for ever. Knows no video."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from quickstep.apps.server.config import Limits
from quickstep.apps.server.error_responses import GONE, Problem, busy
from quickstep.apps.server.metrics import Metrics

FIELD = "file"
HOW = f"send one video as the multipart field {FIELD!r}, as in curl -F {FIELD}=@dance.mp4"
_AT_ONCE = 2**20  # bytes gathered before they are written
_MOST_AROUND = 2**16  # bytes of a form beside the file in it


class Left(Exception):
    """The client has gone away."""


async def chunks(request: Request, limits: Limits, *, most: int) -> AsyncIterator[bytes]:
    """The body as it comes; too much of it, or too slowly, is a Problem."""
    size, end = 0, time.monotonic() + limits.upload_seconds
    stream = request.stream()
    while True:
        left = end - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, min(left, limits.pause))):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except ClientDisconnect:
            raise Left from None
        except TimeoutError:
            raise Problem(
                408,
                "the upload came too slowly",
                f"send it within {limits.upload_seconds:g} s and without pauses of {limits.pause:g} s",
                headers={"Connection": "close"},
            ) from None
        size += len(chunk)
        if size > most:
            raise too_large(limits)
        yield chunk


def too_large(limits: Limits) -> Problem:
    """More bytes than are taken."""
    return Problem(413, f"the upload is larger than {limits.max_mb:g} MB", "send a shorter piece, or the same coded smaller")


async def receive_form(request: Request, to: Path, limits: Limits, metrics: Metrics) -> str:
    """Write the form's file to a path; gives the name that the client has for it."""
    boundary = parse_options_header(request.headers.get("content-type", ""))[1].get(b"boundary", b"")
    if not boundary:
        raise Problem(400, "the multipart form names no boundary", HOW)
    try:
        form = _Form(boundary, limits)
        with to.open("xb") as file:
            async for chunk in chunks(request, limits, most=limits.max_bytes + _MOST_AROUND):
                form.feed(chunk)
                if len(form.waiting) >= _AT_ONCE:
                    await asyncio.to_thread(form.write, file)
            await asyncio.to_thread(form.write, file)
    except FormParserError as error:
        raise Problem(400, f"the multipart form cannot be read ({error})", HOW) from None
    except OSError as error:
        raise no_room(error) from error
    form.check()
    metrics.received.inc(form.size)
    return form.filename


def no_room(error: OSError) -> Problem:
    """The disk takes no more; anything else is a bug."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        raise error
    return busy("there is no room for uploads on the server's disk", 60.0)


class _Form:
    """What the parser has told of the form so far."""

    def __init__(self, boundary: bytes, limits: Limits) -> None:
        self._limits = limits
        self.waiting = bytearray()
        self.size, self.files = 0, 0
        self.filename = ""
        self._ended = False
        self._header, self._value, self._disposition = b"", b"", b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._name_part,
                "on_header_value": self._value_part,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._data,
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        self._parser.write(chunk)

    def write(self, file: BinaryIO) -> None:
        file.write(self.waiting)
        self.waiting.clear()

    def check(self) -> None:
        """Refuse a form that is cut off or holds no file."""
        if not self._ended:
            raise Problem(400, "the multipart form is cut off", HOW)
        if not self.files:
            raise Problem(422, f"there is no field {FIELD!r} in the form", HOW)
        if not self.size:
            raise Problem(422, "the file is empty (0 bytes)", "send a whole video file")

    def _begin(self) -> None:
        self._disposition = b""

    def _name_part(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _value_part(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _headers_end(self) -> None:
        options = parse_options_header(self._disposition)[1]
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name != FIELD:
            raise Problem(422, f"the form has a field {name[:60]!r}, which means nothing here", HOW)
        self.files += 1
        if self.files > 1:
            raise Problem(422, "there are several files in the form", "send one video a request")
        self.filename = options.get(b"filename", b"").decode("utf-8", "replace")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.size += end - start
        if self.size > self._limits.max_bytes:
            raise too_large(self._limits)
        self.waiting += data[start:end]

    def _end(self) -> None:
        self._ended = True


def gone() -> Problem:
    """An answer that nobody reads."""
    return Problem(GONE, "the client left", "nothing")
