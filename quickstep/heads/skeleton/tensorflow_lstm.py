"""read_basic_lstm: two `BasicLSTMCell`s between two dense layers, fitted with TensorFlow 1 -> the same network as an LstmHead."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.heads.skeleton.lstm import FORGET, LstmConfig, LstmHead
from quickstep.types.errors import WeightsError

LAYERS = ("first", "second")
_IN_CELL = re.compile(r"cell|lstm|rnn", re.IGNORECASE)


def read_basic_lstm(path: str | Path, *, steps: int = 100) -> LstmHead:
    """The head that a TensorFlow 1 network of two `BasicLSTMCell`s was, from its arrays in a `.npz` file; it gives the same logits.

    The file holds the weights and biases of the `hidden` layer (in, hidden) and of the `out` layer (hidden, classes), and a kernel
    (2 * hidden, 4 * hidden) and a bias (4 * hidden,) for each cell, in TensorFlow's gate order i, j, f, o; the forget gate's bias of 1
    is added, as TensorFlow did. What is called `hidden`, `out`, `cell_0`, `cell_1` (or `lstm_1`, `kernel_2` ...) is known by its name,
    the rest by its shape and order. What an optimizer left (Adam, beta powers) is passed over.
    """
    arrays = _arrays(Path(path))
    found = _assigned(arrays, Path(path))
    hidden, classes = found["hidden.weight"].shape[1], found["out.weight"].shape[1]
    width = found["hidden.weight"].shape[0]
    head = LstmHead(LstmConfig(hidden=hidden, steps=steps, dropout=0.0, standardise=False))
    weights = {
        "mean": np.zeros(width),
        "scale": np.ones(width),
        "enter.weight": found["hidden.weight"].T,
        "enter.bias": found["hidden.bias"],
        "out.weight": found["out.weight"].T,
        "out.bias": found["out.bias"],
    }
    for layer in LAYERS:
        weights |= _cell(layer, found[f"{layer}.kernel"], found[f"{layer}.bias"])
    if classes < 1 or any(not np.isfinite(array).all() for array in weights.values()):
        raise WeightsError(f"{path}: its arrays are not all finite numbers")
    head.load({name: np.ascontiguousarray(array, dtype=np.float32) for name, array in weights.items()})
    return head


def _cell(layer: str, kernel: NDArray[Any], bias: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """A cell's arrays as torch keeps them: gates i, f, j, o, inputs and memory apart, the forget gate's 1 within its bias."""
    inputs, forget, new, output = (0, 2, 1, 3)
    order = [inputs, forget, new, output]
    gates = np.stack(np.split(kernel, 4, axis=1))[order]  # (4, in + hidden, hidden)
    shifted = np.stack(np.split(bias.astype(np.float64), 4))[order]
    shifted[1] += FORGET
    turned = np.concatenate(gates.transpose(0, 2, 1))  # (4 * hidden, in + hidden)
    half = turned.shape[0] // 4
    return {
        f"{layer}.weight_ih_l0": turned[:, : turned.shape[1] - half],
        f"{layer}.weight_hh_l0": turned[:, turned.shape[1] - half :],
        f"{layer}.bias_ih_l0": shifted.reshape(-1),
        f"{layer}.bias_hh_l0": np.zeros(bias.shape),
    }


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The weights in the file, in the order of their names, numbers counted as numbers."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path}: cannot be read as a .npz of arrays: {error}") from error
    passed = re.compile(r"adam|beta\d?_power|global_step|momentum", re.IGNORECASE)
    kept = {name: array for name, array in arrays.items() if array.ndim in (1, 2) and array.dtype.kind == "f" and not passed.search(name)}
    return {name: kept[name] for name in sorted(kept, key=lambda name: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)])}


def _assigned(arrays: Mapping[str, NDArray[Any]], path: Path) -> dict[str, NDArray[Any]]:
    """Which array is what: by its name, or by its shape among those whose names do not tell."""
    kernels = [name for name, array in arrays.items() if _is_kernel(name, array)]
    if len(kernels) != 2:
        raise _wrong(path, arrays, f"two kernels of LSTM cells were looked for, (2 * hidden, 4 * hidden), and {len(kernels)} found")
    hidden = arrays[kernels[0]].shape[1] // 4
    rest = {name: array for name, array in arrays.items() if name not in kernels}
    wide = {name: array for name, array in rest.items() if array.shape == (4 * hidden,) and not _told(name)}
    if len(wide) > len(LAYERS):  # as many classes as a cell has gates: then only the names tell, or the order in which kernels stand too
        spoken = {name: array for name, array in wide.items() if _IN_CELL.search(name)}
        wide = spoken if len(spoken) >= len(LAYERS) else dict(list(wide.items())[-len(LAYERS) :])
    found = {f"{layer}.kernel": arrays[name] for layer, name in zip(LAYERS, kernels, strict=True)}
    found |= {f"{layer}.bias": array for layer, array in zip(LAYERS, wide.values())}
    for part, side in (("hidden", 1), ("out", 0)):
        others = {name: array for name, array in rest.items() if name not in wide and _told(name) in (part, "")}
        named = {name: array for name, array in others.items() if _told(name) == part} or others
        weight = next((a for a in named.values() if a.ndim == 2 and a.shape[side] == hidden), None)
        size = None if weight is None else weight.shape[1]
        bias = next((a for a in named.values() if a.ndim == 1 and a.shape == (size,)), None)
        if weight is not None and bias is not None:
            found |= {f"{part}.weight": weight, f"{part}.bias": bias}
            rest = {name: array for name, array in rest.items() if array is not weight and array is not bias}
    wanted: dict[str, tuple[int, ...]] = {"first.kernel": (2 * hidden, 4 * hidden), "second.kernel": (2 * hidden, 4 * hidden)}
    wanted |= {"first.bias": (4 * hidden,), "second.bias": (4 * hidden,)}
    missing = [name for name in (*wanted, "hidden.weight", "hidden.bias", "out.weight", "out.bias") if name not in found]
    wrong = [name for name, shape in wanted.items() if name in found and found[name].shape != shape]
    if missing or wrong:
        raise _wrong(path, arrays, f"nothing fits {(missing or wrong)[0]}")
    return found


def _told(name: str) -> str:
    """What a name says of a dense layer's array: "hidden", "out" or nothing."""
    words = re.findall(r"[a-z]+", name.lower())
    if _IN_CELL.search(name):
        return ""
    return next((part for part in ("hidden", "out") if any(word.startswith(part) for word in words)), "")


def _is_kernel(name: str, array: NDArray[Any]) -> bool:
    return array.ndim == 2 and array.shape[1] == 2 * array.shape[0] and array.shape[1] % 4 == 0 and not _told(name)


def _wrong(path: Path, arrays: Mapping[str, NDArray[Any]], why: str) -> WeightsError:
    told = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
    return WeightsError(f"{path}: is not what two BasicLSTMCells leave: {why}; it holds {told}")
