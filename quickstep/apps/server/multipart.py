"""receive_form: write the video of a multipart request to a file, piece by piece, within limits of size and time."""

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
from quickstep.apps.server.error_responses import Problem, busy
from quickstep.apps.server.metrics import Metrics
from quickstep.apps.server.tokens import Account

FIELD = "file"
HOW_TO_SEND = f"send one video as the multipart field {FIELD!r}, as in curl -F {FIELD}=@dance.mp4"
_WRITE_BYTES = 2**20  # collected before they are written
FORM_BYTES = 2**16  # of a form in addition to its file


class ClientLeft(Exception):
    """The client has closed the connection."""


async def read_body(request: Request, limits: Limits, *, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield the body as it arrives; a body that is too large or too slow is a Problem."""
    size, end = 0, time.monotonic() + limits.upload_seconds
    account: Account | None = request.scope.get("account")
    stream = request.stream()
    while True:
        remaining = end - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, min(remaining, limits.pause))):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except ClientDisconnect:
            raise ClientLeft from None
        except TimeoutError:
            raise Problem(
                408,
                "the upload was too slow",
                f"send it within {limits.upload_seconds:g} s and without pauses of {limits.pause:g} s",
                headers={"Connection": "close"},
            ) from None
        size += len(chunk)
        if account is not None:
            account.take_bytes(len(chunk))
        if size > max_bytes:
            raise too_large(limits, max_bytes)
        yield chunk


def too_large(limits: Limits, max_bytes: int | None = None) -> Problem:
    """Return the response to a body that is too large: a video, or one of which only `max_bytes` are read."""
    if max_bytes is not None and max_bytes < limits.max_bytes:
        return Problem(413, f"a body of this type is larger than {max_bytes // 1000} kB", HOW_TO_SEND)
    return Problem(413, f"the upload is larger than {limits.max_mb:g} MB", "send a shorter part, or encode the video smaller")


async def receive_form(request: Request, path: Path, limits: Limits, metrics: Metrics) -> str:
    """Write the form's file to a path; return the client's name for it."""
    boundary = parse_options_header(request.headers.get("content-type", ""))[1].get(b"boundary", b"")
    if not boundary:
        raise Problem(400, "the multipart form has no boundary", HOW_TO_SEND)
    try:
        form = _Form(boundary, limits)
        with path.open("xb") as file:
            async for chunk in read_body(request, limits, max_bytes=limits.max_bytes + FORM_BYTES):
                form.feed(chunk)
                if len(form.unwritten) >= _WRITE_BYTES:
                    await asyncio.to_thread(form.write, file)
            await asyncio.to_thread(form.write, file)
    except FormParserError as error:
        raise Problem(400, f"the multipart form cannot be read ({error})", HOW_TO_SEND) from None
    except OSError as error:
        raise disk_full(error) from error
    form.check()
    metrics.received.inc(form.size)
    return form.filename


def disk_full(error: OSError) -> Problem:
    """Return the response to a full disk; raise any other error, which is a bug."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        raise error
    return busy("the server's disk has no space for uploads", 60.0)


class _Form:
    """The state of a form while it is parsed."""

    def __init__(self, boundary: bytes, limits: Limits) -> None:
        self._limits = limits
        self.unwritten = bytearray()
        self.size, self.files = 0, 0
        self.filename = ""
        self._ended = False
        self._header, self._value, self._disposition = b"", b"", b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_end": self._on_end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Parse some bytes of the body."""
        self._parser.write(chunk)

    def write(self, file: BinaryIO) -> None:
        """Write the bytes of the file that were parsed so far."""
        file.write(self.unwritten)
        self.unwritten.clear()

    def check(self) -> None:
        """Refuse a form that is cut off or contains no file."""
        if not self._ended:
            raise Problem(400, "the multipart form is cut off", HOW_TO_SEND)
        if not self.files:
            raise Problem(422, f"the form has no field {FIELD!r}", HOW_TO_SEND)
        if not self.size:
            raise Problem(422, "the file is empty (0 bytes)", "send a whole video file")

    def _on_part_begin(self) -> None:
        self._disposition = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _on_headers_finished(self) -> None:
        options = parse_options_header(self._disposition)[1]
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name != FIELD:
            raise Problem(422, f"the form has an unknown field {name[:60]!r}", HOW_TO_SEND)
        self.files += 1
        if self.files > 1:
            raise Problem(422, "the form has several files", "send one video in each request")
        self.filename = options.get(b"filename", b"").decode("utf-8", "replace")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.size += end - start
        if self.size > self._limits.max_bytes:
            raise too_large(self._limits)
        self.unwritten += data[start:end]

    def _on_end(self) -> None:
        self._ended = True
