"""Files of weights (.pt, .pth, .safetensors) and folders of ours: no code in them is run, and networks are filled strictly."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from quickstep.backbones.i3d.weights import CONFIG, WEIGHTS
from quickstep.storage.files import check_regular
from quickstep.types.errors import WeightsError

_NESTED = ("state_dict", "model_state_dict", "model_state")  # under which a training program keeps the weights
_COUNTER = "num_batches_tracked"  # of normalisations; older files have none, and nothing depends on it
_scalar: Any = np.float64(0).__reduce__()[0]
# What the notes of a checkpoint may hold besides plain values: numbers of numpy. None of it runs code.
_HARMLESS: list[Any] = [
    _scalar,
    (_scalar, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")),
]


@dataclass(frozen=True)
class Weights:
    """Named tensors of one file, and the notes that the file holds beside them."""

    file: Path
    tensors: Mapping[str, torch.Tensor]
    notes: Mapping[str, Any] = field(default_factory=dict)


def read_weights(file: Path) -> Weights:
    """Read the tensors of a file; one that is cut short, or holds code, is refused."""
    try:
        check_regular(file)
        if file.suffix == ".safetensors":
            return Weights(file, load_file(file))
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that it refuses afterwards
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error).lower() or "unsupported" in str(error).lower() or "GLOBAL" in str(error):
            raise WeightsError(
                f"{file} holds code besides weights, and is not opened: ask its makers for the state dict alone, best as .safetensors"
            ) from error
        raise WeightsError(_broken(file, error)) from error
    except FileNotFoundError as error:
        raise WeightsError(f"the file of weights {file} does not exist") from error
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, IndexError, TypeError, AttributeError, BadZipFile) as error:
        raise WeightsError(_broken(file, error)) from error
    except SafetensorError as error:
        raise WeightsError(_broken(file, error)) from error
    return _find_state_dict(file, loaded)


def _find_state_dict(file: Path, loaded: Any) -> Weights:
    """Find the state dict in a file's content, without the prefix that parallel training adds."""
    notes: Mapping[str, Any] = {}
    if isinstance(loaded, Mapping):
        for key in _NESTED:
            if isinstance(loaded.get(key), Mapping):
                meta = loaded.get("meta")
                notes, loaded = meta if isinstance(meta, Mapping) else {}, loaded[key]
                break
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise WeightsError(f"{file} has no state dict (names and tensors): give the file of weights that its publisher offers")
    tensors = {str(name): value for name, value in loaded.items()}
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return Weights(file, tensors, notes)


def fill(network: torch.nn.Module, weights: Weights, name: str) -> None:
    """Fill every weight of the network from the file; weights missing, left over or of another shape are refused."""
    expected = network.state_dict()
    missing = sorted(key for key in expected if key not in weights.tensors and not key.endswith(_COUNTER))
    left_over = sorted(key for key in weights.tensors if key not in expected)
    other = sorted(key for key, value in expected.items() if key in weights.tensors and weights.tensors[key].shape != value.shape)
    for keys, what in ((missing, "lacks"), (left_over, "has besides"), (other, "has of another shape")):
        if keys:
            shapes = f" {list(weights.tensors[keys[0]].shape)} for {list(expected[keys[0]].shape)}" if keys is other else ""
            raise WeightsError(f"{weights.file} is not a checkpoint of {name}: it {what} {first_names(keys)}{shapes}")
    broken = next((key for key, value in weights.tensors.items() if value.is_floating_point() and not value.isfinite().all()), None)
    if broken:
        raise WeightsError(f"{weights.file} is broken: {broken} holds values that are not numbers; download or copy it again")
    tensors = {key: weights.tensors.get(key, value) for key, value in expected.items()}
    network.load_state_dict(tensors)


def write_folder(folder: Path, tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> None:
    """Write weights and their config as a folder."""
    plain = {name: value.detach().to("cpu").contiguous().clone() for name, value in tensors.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(plain, folder / WEIGHTS)
        (folder / CONFIG).write_text(json.dumps(dict(config), indent=2) + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"the network cannot be written to {folder} ({_first_line(error)}): free some space, or write elsewhere"
        ) from error


def first_names(keys: list[str]) -> str:
    """Return the first names, and how many more there are."""
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def _broken(file: Path, error: BaseException) -> str:
    return f"{file} is broken, cut short or not a file of weights ({_first_line(error)}): download or copy it again"


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
