"""Read a network of two `BasicLSTMCell`s between two dense layers, fitted with TensorFlow 1, as an LstmHead."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.heads.skeleton.lstm import FORGET_BIAS, LstmConfig, LstmHead
from quickstep.storage.files import check_regular
from quickstep.types.errors import WeightsError

LAYERS = ("first", "second")
_IN_CELL = re.compile(r"cell|lstm|rnn", re.IGNORECASE)


def read_basic_lstm(path: str | Path, *, steps: int = 100) -> LstmHead:
    """Return a head with the same logits as a TensorFlow 1 network of two `BasicLSTMCell`s, from its arrays in a `.npz` file.

    The file holds the weights and biases of the `hidden` layer (in, hidden) and of the `out` layer (hidden, classes), and a kernel
    (2 * hidden, 4 * hidden) and a bias (4 * hidden,) for each cell, in TensorFlow's gate order i, j, f, o. The forget gate's bias of 1
    is added, as TensorFlow does. Arrays named `hidden`, `out`, `cell_0`, `cell_1` (or `lstm_1`, `kernel_2` ...) are identified by name,
    the others by shape and order. The optimizer's arrays (Adam, beta powers) are ignored.
    """
    arrays = _read_arrays(Path(path))
    parts = _identify(arrays, Path(path))
    hidden, classes = parts["hidden.weight"].shape[1], parts["out.weight"].shape[1]
    width = parts["hidden.weight"].shape[0]
    head = LstmHead(LstmConfig(hidden=hidden, steps=steps, dropout=0.0, standardise=False))
    weights = {
        "mean": np.zeros(width),
        "scale": np.ones(width),
        "enter.weight": parts["hidden.weight"].T,
        "enter.bias": parts["hidden.bias"],
        "out.weight": parts["out.weight"].T,
        "out.bias": parts["out.bias"],
    }
    for layer in LAYERS:
        weights |= _torch_cell(layer, parts[f"{layer}.kernel"], parts[f"{layer}.bias"])
    if classes < 1 or any(not np.isfinite(array).all() for array in weights.values()):
        raise WeightsError(f"{path}: its arrays are not all finite numbers")
    head.load({name: np.ascontiguousarray(array, dtype=np.float32) for name, array in weights.items()})
    return head


def _torch_cell(layer: str, kernel: NDArray[Any], bias: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return a cell's arrays in torch's layout: gates i, f, j, o, inputs and memory separate, the forget gate's 1 added to its bias."""
    inputs, forget, new, output = (0, 2, 1, 3)
    order = [inputs, forget, new, output]
    gates = np.stack(np.split(kernel, 4, axis=1))[order]  # (4, in + hidden, hidden)
    shifted = np.stack(np.split(bias.astype(np.float64), 4))[order]
    shifted[1] += FORGET_BIAS
    stacked = np.concatenate(gates.transpose(0, 2, 1))  # (4 * hidden, in + hidden)
    half = stacked.shape[0] // 4
    return {
        f"{layer}.weight_ih_l0": stacked[:, : stacked.shape[1] - half],
        f"{layer}.weight_hh_l0": stacked[:, stacked.shape[1] - half :],
        f"{layer}.bias_ih_l0": shifted.reshape(-1),
        f"{layer}.bias_hh_l0": np.zeros(bias.shape),
    }


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the weights in the file, sorted by name, with numbers in names sorted as numbers."""
    try:
        check_regular(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path}: is not a readable .npz file of arrays: {error}") from error
    ignored = re.compile(r"adam|beta\d?_power|global_step|momentum", re.IGNORECASE)
    weights = {
        name: array for name, array in arrays.items() if array.ndim in (1, 2) and array.dtype.kind == "f" and not ignored.search(name)
    }
    return {
        name: weights[name] for name in sorted(weights, key=lambda name: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)])
    }


def _identify(arrays: Mapping[str, NDArray[Any]], path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays by their role, known by name, else by shape."""
    kernels = [name for name, array in arrays.items() if _is_kernel(name, array)]
    if len(kernels) != 2:
        raise _not_a_network(path, arrays, f"it has {len(kernels)} kernels of LSTM cells (2 * hidden, 4 * hidden) instead of 2")
    hidden = arrays[kernels[0]].shape[1] // 4
    rest = {name: array for name, array in arrays.items() if name not in kernels}
    wide = {name: array for name, array in rest.items() if array.shape == (4 * hidden,) and not _dense_layer(name)}
    if len(wide) > len(LAYERS):  # as many classes as gates: only names or order identify the biases
        named_cells = {name: array for name, array in wide.items() if _IN_CELL.search(name)}
        wide = named_cells if len(named_cells) >= len(LAYERS) else dict(list(wide.items())[-len(LAYERS) :])
    parts = {f"{layer}.kernel": arrays[name] for layer, name in zip(LAYERS, kernels, strict=True)}
    parts |= {f"{layer}.bias": array for layer, array in zip(LAYERS, wide.values())}
    for part, side in (("hidden", 1), ("out", 0)):
        others = {name: array for name, array in rest.items() if name not in wide and _dense_layer(name) in (part, "")}
        named = {name: array for name, array in others.items() if _dense_layer(name) == part} or others
        weight = next((a for a in named.values() if a.ndim == 2 and a.shape[side] == hidden), None)
        size = None if weight is None else weight.shape[1]
        bias = next((a for a in named.values() if a.ndim == 1 and a.shape == (size,)), None)
        if weight is not None and bias is not None:
            parts |= {f"{part}.weight": weight, f"{part}.bias": bias}
            rest = {name: array for name, array in rest.items() if array is not weight and array is not bias}
    shapes: dict[str, tuple[int, ...]] = {"first.kernel": (2 * hidden, 4 * hidden), "second.kernel": (2 * hidden, 4 * hidden)}
    shapes |= {"first.bias": (4 * hidden,), "second.bias": (4 * hidden,)}
    missing = [name for name in (*shapes, "hidden.weight", "hidden.bias", "out.weight", "out.bias") if name not in parts]
    wrong = [name for name, shape in shapes.items() if name in parts and parts[name].shape != shape]
    if missing or wrong:
        raise _not_a_network(path, arrays, f"no array fits {(missing or wrong)[0]}")
    return parts


def _dense_layer(name: str) -> str:
    """Return the dense layer that a name belongs to: "hidden", "out" or ""."""
    words = re.findall(r"[a-z]+", name.lower())
    if _IN_CELL.search(name):
        return ""
    return next((part for part in ("hidden", "out") if any(word.startswith(part) for word in words)), "")


def _is_kernel(name: str, array: NDArray[Any]) -> bool:
    return array.ndim == 2 and array.shape[1] == 2 * array.shape[0] and array.shape[1] % 4 == 0 and not _dense_layer(name)


def _not_a_network(path: Path, arrays: Mapping[str, NDArray[Any]], why: str) -> WeightsError:
    arrays_found = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "no arrays"
    return WeightsError(f"{path}: is not a network of two BasicLSTMCells: {why}; its arrays are: {arrays_found}")
