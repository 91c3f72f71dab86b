"""Videos: the video that a request is about, on disk for exactly as long as it is looked at: sent, fetched, or named in a folder."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fastapi import Request

from quickstep.apps.server.config import Limits, ServeConfig
from quickstep.apps.server.error_responses import Problem, of_error
from quickstep.apps.server.metrics import Metrics
from quickstep.apps.server.multipart import HOW, chunks, no_room, receive_form
from quickstep.apps.server.upload_folder import Desk, with_suffix_of
from quickstep.apps.server.url_download import Fetch, name_in
from quickstep.apps.server.video_limits import Span, look_into
from quickstep.types.errors import QuickstepError

T = TypeVar("T")
_MOST_JSON = 2**16
_MOST_NAME = 255


@dataclass(frozen=True)
class Video:
    """A video on this disk, and what the client calls it."""

    path: Path
    name: str


class Videos:
    """Takes videos in, within limits."""

    def __init__(self, config: ServeConfig, limits: Limits, metrics: Metrics, desk: Desk) -> None:
        self.config, self.limits, self.metrics, self.desk = config, limits, metrics, desk
        self.fetch = Fetch(limits)
        self._lookers = ThreadPoolExecutor(limits.decoders, "look")
        self._fetchers = ThreadPoolExecutor(limits.decoders, "fetch")

    def close(self) -> None:
        """Let go of the threads; what they do is of no use any more."""
        for pool in (self._lookers, self._fetchers):
            pool.shutdown(wait=False, cancel_futures=True)

    @contextlib.asynccontextmanager
    async def of(self, request: Request, span: Span) -> AsyncIterator[Video]:
        """The request's video, looked into and within the limits."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        with self.desk.place() as place:
            if kind == "multipart/form-data":
                name = await receive_form(request, place, self.limits, self.metrics)
                video = Video(with_suffix_of(name, place), _shown(name))
            elif kind == "application/json":
                video = await self._named(request, place)
            else:
                raise Problem(415, f"a body of the type {kind[:80] or 'none'} is not understood", HOW)
            with told_as(video):
                await _in(self._lookers, lambda: look_into(video.path, span, self.limits))
            yield video

    async def _named(self, request: Request, place: Path) -> Video:
        """What a JSON body names: a path in the folder that is open to clients, or an address."""
        said = await self._said(request)
        if "url" in said:
            if not self.config.allow_urls:
                raise Problem(403, "this service fetches nothing", f"{HOW}; or have it started with --allow-urls")
            try:
                size = await _in(self._fetchers, lambda: self.fetch.to(said["url"], place))
            except OSError as error:
                raise no_room(error) from error
            self.metrics.received.inc(size)
            name = name_in(said["url"])
            return Video(with_suffix_of(name, place), _shown(name))
        if self.config.allow_paths is None:
            raise Problem(403, "this service opens none of its own files", f"{HOW}; or have it started with --allow-paths FOLDER")
        return Video(_inside(self.config.allow_paths, said["path"]), _shown(said["path"]))

    async def _said(self, request: Request) -> dict[str, str]:
        body = b"".join([chunk async for chunk in chunks(request, self.limits, most=_MOST_JSON)])
        try:
            said = json.loads(body)
        except (ValueError, RecursionError):
            raise Problem(400, "the body is not JSON", 'send {"path": "..."} or {"url": "..."}, or a multipart form') from None
        if not isinstance(said, dict) or len(said) != 1 or not said.keys() <= {"path", "url"} or not _are_texts(said):
            raise Problem(422, "the body names no video", 'send {"path": "..."} or {"url": "..."}, one of them, as text')
        return said


@contextlib.contextmanager
def told_as(video: Video) -> Iterator[None]:
    """What goes wrong with a video is told under the client's name for it."""
    try:
        yield
    except QuickstepError as error:
        raise of_error(error, path=video.path, name=video.name) from error


def _inside(folder: Path, name: str) -> Path:
    """A file in a folder; whatever leads out of it is answered alike, whether it is there or not."""
    root = folder.resolve()
    try:
        path = (root / name).resolve()
        inside, there = path.is_relative_to(root), path.is_file()
    except (OSError, ValueError, RuntimeError):
        raise Problem(422, "the path is none", "name a file, counted from the folder that is open to clients") from None
    if not inside:
        raise Problem(403, "the path leads out of the folder that is open to clients", "name a file inside it")
    if not there:
        raise Problem(404, f"there is no file {_shown(name)}", "name a file, counted from the folder that is open to clients")
    return path


async def _in(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, work)


def _are_texts(said: dict[str, object]) -> bool:
    return all(isinstance(value, str) and value and "\0" not in value for value in said.values())


def _shown(name: str) -> str:
    """A client's name for its video, for reading only: one line, not too long, nothing in it that steers a terminal."""
    kept = "".join(each if each.isprintable() else "�" for each in name)[:_MOST_NAME].encode("utf-8", "replace").decode()
    return kept or "the video"
