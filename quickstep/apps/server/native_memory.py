"""Keep a long-running service from growing: glibc would keep a pool of freed memory for each of its many short-lived threads."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

_ARENA_MAX = -8  # of mallopt: the number of pools; the default is eight for each core
_ARENAS = 1


@cache
def _libc() -> Any:
    """Return the C library with its functions for that; None where it has none (macOS, Windows, musl)."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    try:
        _ = library.mallopt, library.malloc_trim
    except AttributeError:
        return None
    return library


def share_pools() -> None:
    """Let all threads that start from now on share one pool of memory."""
    if (library := _libc()) is not None:
        library.mallopt(_ARENA_MAX, _ARENAS)


def release_freed() -> None:
    """Return freed memory to the system."""
    if (library := _libc()) is not None:
        library.malloc_trim(ctypes.c_size_t(0))
