"""read_pickle: read a pickle without running code in it; it may contain plain containers, numbers, text and numpy arrays.

A pickle is a small program. Here its instructions can only create our own stand-ins, which check their arguments; every other name is
refused before it is imported. (This uses the reader in Python, not the one in C, which a few bytes can make allocate all memory.)
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from quickstep.types.errors import MediaError

_KINDS = frozenset("?biufSU")  # numpy's kinds of numbers and text; no objects, no records


class _Refused(Exception):
    """The pickle asks for something that is not allowed."""


class _Dtype:
    """A numpy dtype in a pickle; its byte order comes with the state."""

    def __init__(self, name: str = "", *_: Any) -> None:
        self.name, self.order = str(name), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1]) if state[1] in ("<", ">", "|", "=") else "="

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype = np.dtype(self.name)
        if dtype.kind not in _KINDS or dtype.hasobject or dtype.names or dtype.subdtype:
            raise _Refused(f"an array of {self.name[:40]!r}")
        return {"<": dtype.newbyteorder("<"), ">": dtype.newbyteorder(">")}.get(self.order, dtype)

    @property
    def is_objects(self) -> bool:
        return self.name in ("O", "O8", "object")


class _Array:
    """A numpy array in a pickle; its state brings the values."""

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
        return list(data) if isinstance(data, list) else _refuse("an array of objects")
    if isinstance(data, str):
        data = data.encode("latin-1")  # from Python 2
    flat = np.frombuffer(bytes(data), dtype=dtype.dtype)
    return flat.reshape(sizes, order="F" if order == "F" else "C")


def _refuse(what: str) -> Any:
    raise _Refused(what)


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any = "C", *_: Any) -> _Array:
    array = _Array()
    array.value = _array(data, dtype, shape, order)
    return array


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
    """Resolves names in our table only."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}"[:80]) from None

    def persistent_load(self, _: Any) -> Any:
        raise _Refused("objects outside the file")

    def get_extension(self, _: int) -> Any:
        raise _Refused("an extension")


def read_pickle(path: Path, data: bytes) -> Any:
    """Return the content of a pickle as plain containers and arrays; raise a MediaError if it is broken or asks for anything else."""
    try:
        return _plain(_Reader(io.BytesIO(data), encoding="latin-1").load(), {})
    except _Refused as error:
        raise MediaError(
            path, f"is a pickle that asks for {error}, which poses do not need: it is refused, and no code in it was run"
        ) from error
    except Exception as error:  # a broken pickle can fail in many ways
        reason = f"{type(error).__name__}: {error}"[:120]
        raise MediaError(path, f"is a pickle that cannot be read ({reason}): write it again") from error


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """Replace the stand-ins by arrays; lists and dicts are changed in place, so references in a circle end."""
    if isinstance(value, _Array):
        return _plain(value.value, done) if isinstance(value.value, list) else value.value
    if isinstance(value, (list, dict)):
        if id(value) not in done:
            done[id(value)] = value
            for key in list(value) if isinstance(value, dict) else range(len(value)):
                value[key] = _plain(value[key], done)
        return value
    return tuple(_plain(inner, done) for inner in value) if isinstance(value, tuple) else value
