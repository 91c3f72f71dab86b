"""The state of a run on disk, so that a killed run can be resumed; safetensors, no pickles.

There are two files: `last` is written after every epoch (and every few minutes), `best` when an epoch is the best so far. Both hold only
what training changes: frozen weights come from the original checkpoint.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from quickstep.storage.files import replacing
from quickstep.types.errors import ModelError

LAST, BEST = "last.safetensors", "best.safetensors"
_ABOUT = "about"


@dataclass(frozen=True, eq=False)
class State:
    """Plain data about a run, and its tensors by name."""

    about: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors under `name/`, without that prefix."""
        return {key.removeprefix(f"{name}/"): value for key, value in self.tensors.items() if key.startswith(f"{name}/")}


def write(folder: Path, name: str, about: Mapping[str, Any], parts: Mapping[str, Mapping[str, Tensor]], *, what: str) -> None:
    """Replace a state; if it cannot be written, the one before stays."""
    tensors = {
        f"{part}/{key}": value.detach().to("cpu").contiguous().clone() for part, values in parts.items() for key, value in values.items()
    }
    try:
        with replacing(folder / name) as temporary:
            save_file(tensors, temporary, metadata={_ABOUT: json.dumps(about)})
    except (OSError, SafetensorError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error).splitlines()[0]
        earlier = "the state before it stays" if (folder / LAST).exists() else "no earlier state exists"
        raise ModelError(
            folder.parent, f"the state of {what} cannot be written ({why}); {earlier}; fix that and run the same command to resume"
        ) from error


def read(folder: Path, name: str) -> State | None:
    """Read a state; None where there is none, or where the file is incomplete."""
    path = folder / name
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as opened:
            about = json.loads((opened.metadata() or {})[_ABOUT])
            return State(about, {key: opened.get_tensor(key) for key in opened.keys()})  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError, KeyError):
        return None


def clear(folder: Path) -> None:
    """Remove the state of a run that is complete."""
    shutil.rmtree(folder, ignore_errors=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's tensors, by the number of the weight and their name."""
    tensors = {}
    for number, memory in optimizer.state_dict()["state"].items():
        for name, value in memory.items():
            if isinstance(value, Tensor):
                tensors[f"{number}.{name}"] = value
    return tensors


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Tensor]) -> None:
    """Put the tensors back into an optimizer."""
    content = optimizer.state_dict()
    memory: dict[int, dict[str, Tensor]] = {}
    for key, value in saved.items():
        number, name = key.split(".", 1)
        memory.setdefault(int(number), {})[name] = value
    content["state"] = memory
    optimizer.load_state_dict(content)
