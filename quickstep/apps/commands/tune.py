"""The command that searches for settings."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from quickstep.apps.commands.options import DEFAULT_RUN, Flat, Out, Run
from quickstep.apps.terminal import TerminalProgress, say, show_table
from quickstep.training.train import TrainConfig
from quickstep.training.tuning.config import TuneConfig

DEFAULT_TUNE = TuneConfig()
DEFAULT_TRAIN = TrainConfig()
SHOWN = 12


def tune(
    data: Path,
    /,
    *,
    out: Annotated[Path, Out],
    recipe: str | None = None,  # noqa: ARG001 - the command line has filled it in already
    config: Annotated[TuneConfig, Flat] = DEFAULT_TUNE,
    base: Annotated[TrainConfig, Flat] = DEFAULT_TRAIN,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Search for the settings that do best on validation; the test part stays locked until the end, and is looked at once.

    Parameters
    ----------
    data
        a folder with one folder of videos per class, or a csv, as `train` takes it
    out
        the folder of the study: stopped or killed, the same command goes on from there
    recipe
        named settings (or a toml file of your own) for what is not said here
    """
    from quickstep.datasets.manifest import read_manifest
    from quickstep.evaluation.rendering import write_card
    from quickstep.training.tuning import tune as search
    from quickstep.training.tuning.rendering import write_study

    with TerminalProgress() as progress:
        tuned = search(read_manifest(data), out, config, base, cache=run.cache, progress=progress)
    best = out / "best"
    if tuned.model is not None and not (best / "README.md").is_file():
        write_card(tuned.model, best)
    page = write_study(tuned.board, out)
    if run.json:
        print(tuned.board.to_json())
    else:
        rows = tuned.board.rows(SHOWN)
        show_table(tuned.board.columns, rows)
    for sentence in (*tuned.board.sentences, *(f"note: {note}" for note in tuned.notes)):
        say(sentence)
    say(f"the report: {page}", style="bold")
    if tuned.model is not None:
        say(f"the best is in {best}; use it: quickstep predict {shlex.quote(str(best))} VIDEO", style="bold")
