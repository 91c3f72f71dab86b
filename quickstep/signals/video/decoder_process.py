"""The process that decodes videos for another one: it is given an open file, and can open no other.

Started by `decoder_pool`. A thread takes the messages, so that work on a video can be stopped. It ends the
process when the other end is gone.
"""

from __future__ import annotations

import codecs
import importlib
import mmap
import os
import pkgutil
import queue
import socket
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np

from quickstep.signals.video.decoder_messages import HEARTBEAT, SLOT, SLOTS, Message, receive, send
from quickstep.signals.video.file_reader import FileReader
from quickstep.signals.video.limits import DecodingLimits
from quickstep.types.errors import MediaError, QuickstepError
from quickstep.types.progress import Stopped, StopSignal
from quickstep.types.sandbox import restrict
from quickstep.types.signals import Frames
from quickstep.types.view import View


class _Stop(StopSignal):
    """Stops the work on a request, and writes at each step that the decoder is alive."""

    def __init__(self, memory: mmap.mmap) -> None:
        super().__init__()
        self._memory, self._steps = memory, 0

    @property
    def is_set(self) -> bool:
        self._steps += 1
        struct.pack_into("<Q", self._memory, 0, self._steps)
        return super().is_set


class DecoderProcess:
    """Answers requests about one open video after another."""

    def __init__(self, connection: socket.socket, memory: mmap.mmap) -> None:
        self._connection, self._memory = connection, memory
        self._stop = _Stop(memory)
        self._requests: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._reader: FileReader | None = None
        self._descriptor: int | None = None
        for slot in range(SLOTS):
            self._free.put(slot)

    def serve(self) -> None:
        """Answer requests until the other end is gone."""
        threading.Thread(target=self._listen, daemon=True).start()
        work: dict[str, Callable[[Message], dict[str, Any]]] = {"open": self._open, "info": self._info, "windows": self._windows}
        while True:
            request = self._requests.get()
            self._stop.clear()
            try:
                with self._stop.active():
                    answer = work[request.data["do"]](request)
            except Stopped:
                answer = {"done": True}
            except QuickstepError as error:
                why = error.why if isinstance(error, MediaError) else str(error)
                answer = {"memory": True} if isinstance(error.__cause__, MemoryError) else {"error": why}
            except MemoryError:
                answer = {"memory": True}
            send(self._connection, Message(answer))

    def _listen(self) -> None:
        try:
            while (message := receive(self._connection)) is not None:
                if "free" in message.data:
                    self._free.put(message.data["free"])
                elif message.data["do"] == "stop":
                    self._stop.stop()
                    self._free.put(-1)  # wakes a sender that waits for a free slot
                else:
                    self._requests.put(message)
        finally:
            os._exit(0)

    def _open(self, request: Message) -> dict[str, Any]:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._descriptor is not None:
            os.close(self._descriptor)
        (self._descriptor,) = request.descriptors
        with DecodingLimits.from_text(request.data["limits"]).active():
            self._reader = FileReader(Path(request.data["path"]), threads=request.data["threads"], descriptor=self._descriptor)
        return {"done": True}

    def _info(self, _: Message) -> dict[str, Any]:
        assert self._reader is not None
        return {"info": {name: value for name, value in asdict(self._reader.info).items() if name != "path"}}

    def _windows(self, request: Message) -> dict[str, Any]:
        assert self._reader is not None
        times = np.frombuffer(request.payload, np.float64)
        rows = np.split(times, np.cumsum(request.data["rows"])[:-1])
        view = None if request.data["view"] is None else View(**request.data["view"])
        for frames in self._reader.windows(rows, view):
            self._send_frames(frames)
        return {"done": True}

    def _send_frames(self, frames: Frames) -> None:
        """Send a window in pieces, each as soon as a slot is free."""
        pixels = memoryview(frames.pixels.tobytes())
        data: dict[str, Any] = {"shape": frames.pixels.shape, "lost": int(frames.lost)}
        payload = frames.times.astype(np.float64).tobytes()
        for start in range(0, max(1, len(pixels)), SLOT):
            slot = self._free_slot()
            piece = pixels[start : start + SLOT]
            place = HEARTBEAT + slot * SLOT
            self._memory[place : place + len(piece)] = piece
            send(self._connection, Message({**data, "slot": slot, "bytes": len(piece)}, payload))
            data, payload = {}, b""

    def _free_slot(self) -> int:
        """Wait for a slot that the other end has read."""
        while True:
            slot = self._free.get()
            if self._stop.is_set:
                if slot >= 0:
                    self._free.put(slot)
                raise Stopped
            if slot >= 0:
                return slot


def _import_all() -> None:
    """Import what would be imported only when a video needs it: afterwards no file can be opened."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for encoding in ("latin-1", "ascii", "utf-8-sig", "utf-16", "utf-32", "cp1252"):
        codecs.lookup(encoding)


def main() -> None:
    """Restrict this process, and decode what the socket asks for."""
    descriptor, memory, megabytes = (int(word) for word in sys.argv[1:])
    with socket.socket(fileno=descriptor) as connection, mmap.mmap(memory, HEARTBEAT + SLOTS * SLOT) as shared:
        os.close(memory)
        _import_all()
        held = restrict(megabytes)
        send(connection, Message({"held": asdict(held)}))
        DecoderProcess(connection, shared).serve()


if __name__ == "__main__":
    main()
