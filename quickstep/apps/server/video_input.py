"""VideoInput: the video of a request, uploaded, downloaded, or named in a folder; on disk only as long as the request needs it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request
from filelock import FileLock, Timeout  # comes with huggingface-hub

from quickstep.apps.server.admission import Places
from quickstep.apps.server.batch_worker import BatchWorker
from quickstep.apps.server.config import Limits, ServeConfig
from quickstep.apps.server.error_responses import Problem, to_problem
from quickstep.apps.server.jobs import run_job
from quickstep.apps.server.metrics import Metrics
from quickstep.apps.server.multipart import HOW_TO_SEND, read_body, receive_form
from quickstep.apps.server.tokens import Account
from quickstep.apps.server.url_download import Downloader, name_in_url, too_slow
from quickstep.signals.video import OVERHANG, probe
from quickstep.signals.video.remote_reader import is_isolated
from quickstep.signals.video.source import VideoSource
from quickstep.types.errors import CacheError, QuickstepError
from quickstep.types.progress import StopSignal

_MAX_JSON_BYTES = 2**16
_MAX_NAME_BYTES = 255
_DOWNLOADS = 16  # at the same time
_FOLDER_PREFIX = "quickstep-serve-"
_LOCK = ".lock"
# Suffixes that FFmpeg needs where the content is ambiguous; any other is dropped, like the rest of a client's file name.
_SUFFIXES = {".3gp", ".apng", ".asf", ".avi", ".flv", ".gif", ".h264", ".hevc", ".ivf", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4"}
_SUFFIXES |= {".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogv", ".ts", ".vob", ".webm", ".wmv"}
_BODY_HELP = 'send {"path": "..."} or {"url": "..."}'
_PATH_HELP = "name a file, relative to the folder that is open to clients"


@dataclass(frozen=True)
class Video:
    """A video on this disk, and the client's name for it."""

    path: Path
    name: str

    @contextlib.contextmanager
    def named_errors(self) -> Iterator[None]:
        """Turn a QuickstepError into a Problem that has the client's name for the video."""
        try:
            yield
        except QuickstepError as error:
            raise to_problem(error, path=self.path, name=self.name) from error


@dataclass(frozen=True)
class Span:
    """The requested part of a video, in seconds."""

    start: float = 0.0
    end: float | None = None
    whole: bool = False  # whether the rest of the video is read too, because people are tracked through it


class VideoInput:
    """Receives and checks the videos of requests."""

    def __init__(self, config: ServeConfig, limits: Limits, places: Places, metrics: Metrics, folder: UploadFolder) -> None:
        self.config, self.limits, self.places, self.metrics, self.folder = config, limits, places, metrics, folder
        self.downloader = Downloader(limits)
        self._downloaders = BatchWorker("download", threads=_DOWNLOADS if config.allow_urls else 1, metrics=metrics)

    def close(self) -> None:
        """End the threads; their results are no longer needed."""
        self._downloaders.close(wait=0.0)

    @contextlib.asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[Video]:
        """Receive the request's video, holding one of the places for that; remove it afterwards."""
        with self.folder.new_path() as path:
            with self.places.take():
                video = await self._received(request, path)
            yield video

    async def _received(self, request: Request, path: Path) -> Video:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type == "multipart/form-data":
            name = await receive_form(request, path, self.limits, self.metrics)
            return Video(with_suffix_of(name, path), _printable(name))
        if media_type == "application/json":
            return await self._named_video(request, path)
        raise Problem(415, f"a body of type {media_type[:80] or 'none'} is not supported", HOW_TO_SEND)

    async def _named_video(self, request: Request, path: Path) -> Video:
        """Return the video that a JSON body names: by a path in the folder that is open to clients, or by a URL."""
        body = await self._json_body(request)
        if "url" in body:
            if not self.config.allow_urls:
                raise Problem(403, "this service does not download videos", f"{HOW_TO_SEND}; or start the service with --allow-urls")
            return await self._download(request, body["url"], path)
        if self.config.allow_paths is None:
            raise Problem(403, "this service does not open its own files", f"{HOW_TO_SEND}; or start the service with --allow-paths FOLDER")
        return Video(_path_in_folder(self.config.allow_paths, body["path"]), _printable(body["path"]))

    async def _download(self, request: Request, url: str, path: Path) -> Video:
        stop = StopSignal(self.limits.upload_seconds)
        size = await run_job(request, self._downloaders, lambda: self.downloader.download(url, path, stop), stop, too_slow())
        self.metrics.received.inc(size)
        account: Account | None = request.scope.get("account")
        if account is not None:
            account.take_bytes(size)
        name = name_in_url(url)
        return Video(with_suffix_of(name, path), _printable(name))

    async def _json_body(self, request: Request) -> dict[str, str]:
        raw = b"".join([chunk async for chunk in read_body(request, self.limits, max_bytes=_MAX_JSON_BYTES)])
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            raise Problem(400, "the body is not JSON", f"{_BODY_HELP}, or a multipart form") from None
        if not isinstance(body, dict) or len(body) != 1 or not body.keys() <= {"path", "url"} or not _are_texts(body):
            raise Problem(422, "the body does not name a video", f"{_BODY_HELP}: one of them, as text")
        return body


def _path_in_folder(folder: Path, name: str) -> Path:
    """Return a file in a folder; every path outside it gets the same response, whether the file exists or not."""
    root = folder.resolve()
    try:
        path = (root / name).resolve()
        inside, exists = path.is_relative_to(root), path.is_file()
    except (OSError, ValueError, RuntimeError):
        raise Problem(422, "the path is not valid", _PATH_HELP) from None
    if not inside:
        raise Problem(403, "the path leads out of the folder that is open to clients", "name a file inside it")
    if not exists:
        raise Problem(404, f"there is no file {_printable(name)}", _PATH_HELP)
    return path


def _are_texts(body: dict[str, object]) -> bool:
    return all(isinstance(value, str) and value and "\0" not in value for value in body.values())


def _printable(name: str) -> str:
    """Return a client's name for its video for reading: one line, not too long, without control characters."""
    printable = "".join(letter if letter.isprintable() else "�" for letter in name)[:_MAX_NAME_BYTES].encode("utf-8", "replace").decode()
    return printable or "the video"


# -- checking ---------------------------------------------------------------------------------------------------------------


def check_video(path: Path, span: Span, limits: Limits) -> None:
    """Refuse a video that is too large or too long, or that does not have the requested span."""
    if not is_isolated():  # a decoder in a process of its own has bounds of its own
        with contextlib.closing(VideoSource(path)) as source:
            _check_edge(max(source.codec.width, source.codec.height), limits)  # before a frame of that size is allocated
    info = probe(path)
    _check_edge(max(info.width, info.height, *info.coded_size), limits)
    _check_span(info.duration, span)
    seconds = info.duration if span.whole else min(info.duration, span.end or info.duration) - span.start
    if seconds > limits.max_seconds:
        raise Problem(
            413,
            f"the video is {seconds:.0f} s long, and the limit is {limits.max_seconds:g} s",
            "send a shorter video" if span.whole else "send a shorter video, or a part with start and end",
        )


def _check_edge(edge: int, limits: Limits) -> None:
    if edge > limits.max_edge:
        raise Problem(413, f"its frames are {edge} pixels long, and the limit is {limits.max_edge}", "send the video scaled down")


def _check_span(duration: float, span: Span) -> None:
    if span.start >= duration:
        raise Problem(422, f"start is {span.start:g} s, but the video ends at {duration:.3f} s", "choose a start inside the video")
    if span.end is not None and span.end > duration + OVERHANG:
        raise Problem(422, f"end is {span.end:g} s, but the video ends at {duration:.3f} s", "choose an end inside the video")


# -- upload folder ----------------------------------------------------------------------------------------------------------


class UploadFolder:
    """A temporary folder that no other user can read; a video is removed when its request ends, the folder when the service does.

    A service that was killed leaves its folder behind; the next service removes it, if no running process holds its lock.
    """

    def __init__(self, parent: Path | None = None) -> None:
        try:
            self.path = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=parent))
        except OSError as error:
            place = parent or tempfile.gettempdir()
            raise CacheError(place, f"no folder for uploads can be made there: {error.strerror}; set $TMPDIR to another folder") from error
        self._lock = FileLock(self.path / _LOCK, thread_local=False)
        self._lock.acquire(timeout=0)
        _remove_abandoned(self.path.parent)

    @contextlib.contextmanager
    def new_path(self) -> Iterator[Path]:
        """Yield a path for one video; afterwards remove the file, also under the suffix that it was given."""
        path = self.path / uuid.uuid4().hex
        try:
            yield path
        finally:
            for file in self.path.iterdir():  # glob would keep a compiled pattern for each random name
                if file.name.startswith(path.name):
                    file.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folder with everything in it."""
        self._lock.release()
        shutil.rmtree(self.path, ignore_errors=True)


def with_suffix_of(name: str, path: Path) -> Path:
    """Rename a file to the suffix of a client's name, if video files have it; no other part of the name reaches the disk."""
    suffix = f".{name.rsplit('.', 1)[-1].lower()}"
    return path.rename(path.with_suffix(suffix)) if suffix in _SUFFIXES else path


def _remove_abandoned(parent: Path) -> None:
    """Remove the folders of services that were killed."""
    for folder in parent.glob(f"{_FOLDER_PREFIX}*"):
        with contextlib.suppress(OSError, Timeout):  # in use, or of another user: it stays
            if folder.is_symlink() or folder.stat().st_uid != os.getuid() or not (folder / _LOCK).exists():
                continue
            with FileLock(folder / _LOCK, timeout=0):
                shutil.rmtree(folder)
