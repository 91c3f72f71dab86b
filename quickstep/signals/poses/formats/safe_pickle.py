"""Pickles read without running anything in them: plain containers, numbers, text and numpy arrays; knows nothing of poses.

A pickle is a small program. Here its words can build only stand-ins of our own, which check what they are given; every other name in
it is refused before it is looked up. (Python's own reader is used, not the one in C: a few bytes can make that one take all memory.)
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from quickstep.types.errors import MediaError

_KINDS = frozenset("?biufSU")  # what numbers and text are made of; no objects, no records


class _Refused(Exception):
    """What a pickle may not ask for."""


class _Dtype:
    """A numpy dtype as pickles write it; its byte order comes with the state."""

    def __init__(self, name: str = "", *_: Any) -> None:
        self.name, self.order = str(name), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1]) if state[1] in ("<", ">", "|", "=") else "="

    @property
    def real(self) -> np.dtype[Any]:
        made = np.dtype(self.name)
        if made.kind not in _KINDS or made.hasobject or made.names or made.subdtype:
            raise _Refused(f"an array of {self.name[:40]!r}")
        return {"<": made.newbyteorder("<"), ">": made.newbyteorder(">")}.get(self.order, made)

    @property
    def is_objects(self) -> bool:
        return self.name in ("O", "O8", "object")


class _Array:
    """A numpy array that is filled by its state."""

    def __init__(self, *_: Any) -> None:
        self.value: Any = np.zeros(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.value = _array(data, dtype, shape, "F" if fortran else "C")


def _array(data: Any, dtype: Any, shape: Any, order: Any) -> Any:
    if not isinstance(dtype, _Dtype):
        raise _Refused("an array without a type of numbers")
    sizes = tuple(int(size) for size in (shape if isinstance(shape, (tuple, list)) else (shape,)))
    if dtype.is_objects:
        return list(data) if isinstance(data, list) else _raise("an array of objects")
    if isinstance(data, str):
        data = data.encode("latin-1")  # as Python 2 wrote it
    flat = np.frombuffer(bytes(data), dtype=dtype.real)
    return flat.reshape(sizes, order="F" if order == "F" else "C")


def _raise(what: str) -> Any:
    raise _Refused(what)


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any = "C", *_: Any) -> _Array:
    made = _Array()
    made.value = _array(data, dtype, shape, order)
    return made


def _scalar(dtype: Any, data: Any = b"") -> Any:
    return _array(data, dtype, (1,), "C")[0].item()


def _encode(text: Any, encoding: Any = "latin-1", *_: Any) -> bytes:
    return str(text).encode("latin-1" if str(encoding).replace("-", "").replace("_", "") == "latin1" else "utf-8")


def _path(*parts: Any) -> str:
    return "/".join(str(part) for part in parts)


_NUMPY: dict[str, Callable[..., Any]] = {"_reconstruct": _Array, "scalar": _scalar}
_ALLOWED: dict[tuple[str, str], Any] = (
    {
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
        ("_codecs", "encode"): _encode,
        ("collections", "OrderedDict"): dict,
    }
    | {
        (f"{module}.{inner}", name): stand_in
        for module in ("numpy.core", "numpy._core")
        for inner, names in (("multiarray", _NUMPY), ("numeric", {"_frombuffer": _frombuffer}))
        for name, stand_in in names.items()
    }
    | {
        (module, name): kind
        for module in ("builtins", "__builtin__")
        for name, kind in {"set": set, "frozenset": frozenset, "bytearray": bytearray, "list": list, "dict": dict, "tuple": tuple}.items()
    }
    | {(module, name): _path for module in ("pathlib", "pathlib._local") for name in ("PosixPath", "WindowsPath", "PurePosixPath", "Path")}
)


class _Reader(pickle._Unpickler):
    """Looks names up in our table and nowhere else."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}"[:80]) from None

    def persistent_load(self, _: Any) -> Any:
        raise _Refused("things from outside itself")

    def get_extension(self, _: int) -> Any:
        raise _Refused("an extension")


def read_pickle(path: Path, data: bytes) -> Any:
    """What a pickle holds, in plain containers and arrays; a MediaError where it is broken or asks for anything else."""
    try:
        return _plain(_Reader(io.BytesIO(data), encoding="latin-1").load(), {})
    except _Refused as error:
        raise MediaError(
            path, f"is a pickle that asks for {error}, which poses do not need; nothing in it was run, and it is not read"
        ) from error
    except Exception as error:  # a broken pickle can fail in any way that its stand-ins can
        why = f"{type(error).__name__}: {error}"[:120]
        raise MediaError(path, f"is a pickle that cannot be read ({why}); write it anew") from error


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """The value with its stand-ins turned into arrays; lists and dicts keep their identity, so that circles end."""
    if isinstance(value, _Array):
        return _plain(value.value, done) if isinstance(value.value, list) else value.value
    if isinstance(value, (list, dict)):
        if id(value) not in done:
            done[id(value)] = value
            for key in list(value) if isinstance(value, dict) else range(len(value)):
                value[key] = _plain(value[key], done)
        return value
    return tuple(_plain(inner, done) for inner in value) if isinstance(value, tuple) else value
