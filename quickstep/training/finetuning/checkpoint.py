"""State: how far a run is, on disk, so that a run that was killed at any moment goes on to the same end. Safetensors, no pickles.

Two files, each written aside and renamed: `last` after every epoch (and every few minutes), `best` when an epoch is the best so far.
Only what training changes is kept: what is closed comes from the checkpoint again.
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
    """What is on disk: plain data about the run, and its tensors by name."""

    about: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors under `name/`, without it."""
        return {key.removeprefix(f"{name}/"): value for key, value in self.tensors.items() if key.startswith(f"{name}/")}


def write(folder: Path, name: str, about: Mapping[str, Any], parts: Mapping[str, Mapping[str, Tensor]], *, what: str) -> None:
    """Puts a state in place of the one before; where the disk refuses, that one stays."""
    tensors = {
        f"{part}/{key}": value.detach().to("cpu").contiguous().clone() for part, values in parts.items() for key, value in values.items()
    }
    try:
        with replacing(folder / name) as temporary:
            save_file(tensors, temporary, metadata={_ABOUT: json.dumps(about)})
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        kept = "the last good state before it is kept" if (folder / LAST).exists() else "there was none before it"
        raise ModelError(
            folder.parent, f"the state of {what} cannot be written ({why}); {kept}: mend that, and the same command goes on from there"
        ) from error


def read(folder: Path, name: str) -> State | None:
    """A state, or None where there is none; a file that is not whole is as good as none."""
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
    """Removes a run that has come to its end."""
    shutil.rmtree(folder, ignore_errors=True)


def of_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimizer remembers, by the number of the weight and the name of the memory."""
    found = {}
    for number, memory in optimizer.state_dict()["state"].items():
        for name, value in memory.items():
            if isinstance(value, Tensor):
                found[f"{number}.{name}"] = value
    return found


def into_optimizer(optimizer: torch.optim.Optimizer, kept: Mapping[str, Tensor]) -> None:
    """Gives it its memory back."""
    content = optimizer.state_dict()
    memory: dict[int, dict[str, Tensor]] = {}
    for key, value in kept.items():
        number, name = key.split(".", 1)
        memory.setdefault(int(number), {})[name] = value
    content["state"] = memory
    optimizer.load_state_dict(content)
