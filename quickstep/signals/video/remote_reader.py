"""RemoteReader: a video that is decoded in a restricted process of its own, so that it costs no more than itself.

A decoder that dies, hangs or takes too much ends its video with a MediaError; if something else ended it, another decoder resumes there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.video.decoder_messages import HEARTBEAT, SLOT, SLOTS, Message
from quickstep.signals.video.decoder_pool import Killed, PooledDecoder, give_back, take
from quickstep.signals.video.file_reader import VideoInfo
from quickstep.signals.video.limits import current_limits
from quickstep.signals.video.source import check_file, translated
from quickstep.types.errors import ConfigError, MediaError
from quickstep.types.signals import Frames
from quickstep.types.view import View

RETRIES = 3  # of a video whose decoder was killed from outside


def is_isolated() -> bool:
    """Whether videos are decoded in processes of their own now."""
    isolate = current_limits().isolate
    if isolate == "always" and not sys.platform.startswith("linux"):
        raise ConfigError("isolate", "decoding in restricted processes needs Linux; `isolate=auto` decodes in this process elsewhere")
    return isolate != "never" and sys.platform.startswith("linux")


class RemoteReader:
    """One open video, decoded in another process."""

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        self.path, self._threads, self._limits = path, threads, current_limits()
        self._size = check_file(path)
        self._decoder: PooledDecoder | None = None
        self._busy = False  # a request is not answered to its end
        self._info: VideoInfo | None = None
        self._retries = RETRIES
        try:
            self._again(lambda: None)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the decoder to the next video."""
        decoder, self._decoder = self._decoder, None
        if decoder is not None and not self._busy:
            give_back(decoder)
        elif decoder is not None:
            decoder.end()

    @property
    def info(self) -> VideoInfo:
        """The properties of the video."""
        if self._info is None:
            self._info = self._again(self._ask_info)
        return self._info

    def windows(self, rows: list[NDArray[np.float64]], view: View | None) -> Iterator[Frames]:
        """Yield one Frames for each row of seconds, in order."""
        done = 0
        while done < len(rows):
            try:
                for frames in self._windows(rows[done:], view):
                    done += 1
                    yield frames
            except Killed as killed:
                self._lose(killed)
                self._again(lambda: None)

    def _again(self, work: Any) -> Any:
        """Do something with the open video; with another decoder where this one was killed from outside."""
        while True:
            try:
                if self._decoder is None:
                    self._open()
                return work()
            except Killed as killed:
                self._lose(killed)

    def _lose(self, killed: Killed) -> None:
        """Forget the decoder that was killed; give the video up when that happens again and again."""
        self._decoder, self._busy, self._retries = None, False, self._retries - 1
        if self._retries < 0:
            why = f"its decoder was killed {RETRIES + 1} times, by the system or a person: there may be too little memory"
            raise MediaError(self.path, why) from killed

    def _open(self) -> None:
        self._decoder = take(self._limits)
        request = {"do": "open", "path": str(self.path), "threads": self._threads, "limits": self._limits.to_text()}
        with translated(self.path):
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._ask(request, descriptors=[descriptor])
        finally:
            os.close(descriptor)

    def _ask(self, request: dict[str, Any], descriptors: Sequence[int] = ()) -> Message:
        self._finish()
        decoder = self._opened()
        self._busy = True
        decoder.send(request, descriptors=descriptors)
        answer = self._receive(decoder)
        self._busy = False
        return answer

    def _ask_info(self) -> VideoInfo:
        values = self._ask({"do": "info"}).data["info"]
        return VideoInfo(path=self.path, **{**values, "coded_size": tuple(values["coded_size"])})

    def _windows(self, rows: list[NDArray[np.float64]], view: View | None) -> Iterator[Frames]:
        self._finish()
        decoder = self._opened()
        plain = None if view is None else {field.name: getattr(view, field.name) for field in fields(View)}  # it may be of a subclass
        times = np.concatenate(rows)
        decoder.send({"do": "windows", "view": plain, "rows": [len(row) for row in rows]}, times.tobytes())
        self._busy = True
        for row in rows:
            yield self._receive_frames(decoder, len(row))
        self._receive(decoder)
        self._busy = False

    def _receive_frames(self, decoder: PooledDecoder, count: int) -> Frames:
        """Put a window together from its pieces."""
        first = message = self._receive(decoder)
        shape = tuple(int(number) for number in first.data["shape"])
        if len(shape) != 4 or shape[0] != count or shape[3] != 3 or not 0 <= shape[1] * shape[2] <= 4 * self._limits.max_pixels:
            raise decoder.failure(self.path, f"its decoder answered with frames of {shape}, so it is made to harm")
        pixels = np.empty(shape, np.uint8)
        flat, filled = pixels.reshape(-1), 0
        while True:
            slot, size = int(message.data["slot"]), int(message.data["bytes"])
            if not (0 <= slot < SLOTS and 0 <= size <= min(SLOT, len(flat) - filled)):
                raise decoder.failure(self.path, "its decoder answered with more than it was asked for, so it is made to harm")
            place = HEARTBEAT + slot * SLOT
            flat[filled : filled + size] = np.frombuffer(decoder.memory, np.uint8, size, place)
            decoder.send({"free": slot})
            filled += size
            if filled == len(flat):
                break
            message = self._receive(decoder)
        return Frames(pixels, np.frombuffer(first.payload, np.float64, count).copy(), int(first.data["lost"]))

    def _receive(self, decoder: PooledDecoder) -> Message:
        try:
            return decoder.receive(self.path)
        except MediaError:
            self._busy = False
            if decoder.process.returncode is not None:
                self._decoder = None
            raise

    def _finish(self) -> None:
        """Stop the request that was not read to its end."""
        if not self._busy:
            return
        decoder = self._opened()
        decoder.send({"do": "stop"})
        with suppress(MediaError):
            while "done" not in (message := decoder.receive(self.path)).data:
                decoder.send({"free": message.data.get("slot", 0)})
        self._busy = False

    def _opened(self) -> PooledDecoder:
        if self._decoder is None:
            raise MediaError(self.path, "is closed")
        return self._decoder
