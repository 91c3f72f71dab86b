"""What the commands share: the options that all understand, and how a model is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from quickstep.model import Model
from quickstep.settings import setting
from quickstep.store import Store
from quickstep.terminal import say

Flat = Parameter(name="*")  # a dataclass whose fields are options of the command itself
Out = Parameter(name=("--out", "-o"))
Flag = Parameter(negative="")  # an option that is there or not


@dataclass(frozen=True, kw_only=True)
class Run:
    """What every command understands."""

    json: Annotated[bool, Flag] = setting(False, "print the result as JSON")
    cache: Path | None = setting(None, "folder of computed arrays (default: $QUICKSTEP_CACHE, else the user's cache folder)")

    @property
    def store(self) -> Store:
        """The store that the command uses."""
        return Store(self.cache)


DEFAULT_RUN = Run()


def open_model(model: Path, weights: Path | None, run: Run) -> Model:
    """The model of a folder; what is computed otherwise here than where it was trained is said."""
    opened = Model.load(model, weights, store=run.store)
    for caution in opened.cautions:
        say(f"note: {caution}", style="yellow")
    return opened
