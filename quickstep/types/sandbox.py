"""Restrict a process that works on a stranger's file: no other files, no network, no new programs, bounded memory.

On Linux with Landlock and seccomp, through system calls, without packages and without root. Each part is tried by itself; `Restrictions`
says which hold. What a process has open, it keeps: a file descriptor, a socket to its parent, shared memory.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

_SET_NO_NEW_PRIVS, _SET_DUMPABLE = 38, 4
_LANDLOCK_CREATE, _LANDLOCK_RESTRICT = 444, 446
_SECCOMP = 317
_ARCHITECTURE = 0xC000003E  # x86-64, as the kernel tells it to a filter
_ALLOW, _REFUSE, _UNKNOWN = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38  # EPERM, ENOSYS
_THREAD = 0x00010000  # CLONE_THREAD
# System calls of x86-64 that a process needs only for what it must not do.
_REFUSED = {
    "files": "2 85 257 437 303 304 76 77 82 83 84 86 87 88 90 91 92 93 94 133 132 235 258 259 260 261 263 264 265 266 268 280 285 316 188 "
    "189 190 197 198 199 161 155 165 166 428 429 430 431 432 433 442",
    "programs": "57 58 59 322",
    "network": "41 42 43 49 50 53 288",
    "processes": "62 101 129 200 297 310 311 424 434 438 440 312",
    "memory of others": "29 30 31 64 65 66 68 69 70 71 240 319 447",
    "kernel": "134 135 154 159 163 164 167 168 169 170 171 172 173 175 176 179 227 246 248 249 250 253 272 294 298 300 305 308 313 320 321 "
    "323 425 426 427",
    "limits": "160",
}
_CLONE, _CLONE3, _PRLIMIT = 56, 435, 302


@dataclass(frozen=True)
class Restrictions:
    """Which restrictions hold for a process."""

    memory: bool  # and no file that grows by writing, no further descriptors
    files: bool  # Landlock: no file can be opened or changed
    calls: bool  # seccomp: no network, no new programs, no other processes

    @property
    def all_hold(self) -> bool:
        """Whether all hold."""
        return self.memory and self.files and self.calls

    @property
    def text(self) -> str:
        """What holds and what does not, in words."""
        names = {"memory": "memory, descriptors and writing", "files": "files (Landlock)", "calls": "network and programs (seccomp)"}
        held = [name for key, name in names.items() if asdict(self)[key]]
        missing = [name for key, name in names.items() if not asdict(self)[key]]
        return "; ".join(filter(None, ["held: " + ", ".join(held) if held else "", "not held: " + ", ".join(missing) if missing else ""]))


def restrict(megabytes: int, *, descriptors: int = 64) -> Restrictions:
    """Restrict this process for good; call it before it starts threads. `megabytes` come on top of what it has already."""
    if not sys.platform.startswith("linux"):
        return Restrictions(memory=False, files=False, calls=False)
    libc = ctypes.CDLL(None, use_errno=True)
    limited = _limit(megabytes, descriptors)
    libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    if libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return Restrictions(memory=limited, files=False, calls=False)
    return Restrictions(memory=limited, files=_landlock(libc), calls=_filter_calls(libc))


def _limit(megabytes: int, descriptors: int) -> bool:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + megabytes * 2**20
    limits = {
        resource.RLIMIT_AS: most,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: descriptors,
        resource.RLIMIT_CORE: 0,
    }
    try:
        for kind, value in limits.items():
            resource.setrlimit(kind, (value, value))
    except (OSError, ValueError):
        return False
    return True


def _landlock(libc: ctypes.CDLL) -> bool:
    """Let no file be opened or changed, and no port be used, as far as this kernel knows Landlock."""
    version = libc.syscall(_LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return False
    rights = [13, 14, 15, 15, 16][min(version, 5) - 1]
    attributes = struct.pack("QQQ", 2**rights - 1, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = libc.syscall(_LANDLOCK_CREATE, attributes, size, 0)
    if ruleset < 0:
        return False
    try:
        return int(libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0)) == 0
    finally:
        os.close(ruleset)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _filter_calls(libc: ctypes.CDLL) -> bool:
    """Refuse system calls by a filter in the kernel."""
    if platform.machine() != "x86_64" or sys.maxsize < 2**32:
        return False
    code = ctypes.create_string_buffer(_program())
    program = _Program(len(code) // 8, ctypes.cast(code, ctypes.c_void_p).value)
    return int(libc.syscall(_SECCOMP, 1, 1, ctypes.byref(program))) == 0  # a filter, for all threads


def _program() -> bytes:
    """Write the filter: (operation, jump if true, jump if false, value) of eight bytes each."""
    load, equal, at_least, some_bits, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    lines = [
        (load, 0, 0, 4),
        (equal, 1, 0, _ARCHITECTURE),
        (answer, 0, 0, _REFUSE),
        (load, 0, 0, 0),
        (at_least, 0, 1, 0x40000000),  # numbers of the 32-bit kind
        (answer, 0, 0, _REFUSE),
        (equal, 0, 1, _CLONE3),  # its flags cannot be read here: the C library falls back to clone
        (answer, 0, 0, _UNKNOWN),
        (equal, 0, 4, _CLONE),
        (load, 0, 0, 16),
        (some_bits, 1, 0, _THREAD),
        (answer, 0, 0, _REFUSE),
        (answer, 0, 0, _ALLOW),
        (equal, 0, 6, _PRLIMIT),  # limits may be read, not set
        (load, 0, 0, 32),
        (equal, 0, 3, 0),
        (load, 0, 0, 36),
        (equal, 0, 1, 0),
        (answer, 0, 0, _ALLOW),
        (answer, 0, 0, _REFUSE),
    ]
    for number in " ".join(_REFUSED.values()).split():
        lines += [(equal, 0, 1, int(number)), (answer, 0, 0, _REFUSE)]
    lines.append((answer, 0, 0, _ALLOW))
    return b"".join(struct.pack("HBBI", *line) for line in lines)
