"""The commands about fine-tuning: train a network further, and look at what it is shown."""

from __future__ import annotations

import json as jsons
import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from quickstep.apps.commands.options import DEFAULT_RUN, Flag, Flat, Out, Run
from quickstep.apps.terminal import TerminalProgress, say
from quickstep.training.augmentation.augment import Augment
from quickstep.training.finetuning import FinetuneConfig
from quickstep.training.finetuning.augmentation_preview import SheetConfig

DEFAULT_FINETUNE = FinetuneConfig()
DEFAULT_AUGMENT = Augment()
DEFAULT_SHEET = SheetConfig()


def finetune(
    data: Path,
    /,
    *,
    out: Annotated[Path, Out],
    recipe: str | None = None,  # noqa: ARG001 - the command line has filled it in already
    classes: Path | None = None,
    official_split: str | None = None,
    strict: Annotated[bool, Flag] = False,
    config: Annotated[FinetuneConfig, Flat] = DEFAULT_FINETUNE,
    augment: Annotated[Augment, Flat] = DEFAULT_AUGMENT,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Train a network further on a folder (or csv) of labelled videos; killed, the same command goes on. `accelerate launch -m quickstep
    finetune ...` uses several GPUs.

    Parameters
    ----------
    data
        a folder with one folder of videos per class, or a csv with the columns path,label[,start,end,group,split]
    out
        the folder of the model
    recipe
        named settings (or a toml file of your own) for what is not said here
    classes
        a file that names the class numbers of the list
    official_split
        which of several official splits, where the list names them (1:train|2:test)
    strict
        stop at the first video that cannot be used, instead of leaving it out
    """
    # Read when torch loads: threads that wait by spinning make a step many times slower as soon as others want the cores too.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from quickstep.datasets.manifest import read_manifest
    from quickstep.evaluation.rendering import write_card
    from quickstep.training.finetuning import finetune as tune

    with TerminalProgress() as progress:
        manifest = read_manifest(data, classes=classes, official_split=official_split)
        tuned = tune(
            manifest, config, augment=augment, cache=run.cache, progress=progress, strict=strict, folder=out, tell=lambda text: say(text)
        )
    if not tuned.main:
        return
    write_card(tuned.model, out)
    for failure in tuned.failures:
        say(f"left out: {failure}", style="yellow")
    for warning in tuned.warnings:
        say(f"note: {warning}", style="yellow")
    if run.json:
        validation = asdict(tuned.validation) if tuned.validation else None
        print(jsons.dumps({"model": str(out), "validation": validation, **asdict(tuned.model.facts)}, ensure_ascii=False))
    if tuned.validation is not None:
        say(f"epoch {tuned.history.best_epoch} is kept: {tuned.validation.told(config.metric)}")
    say(f"{tuned.model} is in {out}; measure it: quickstep evaluate {shlex.quote(str(out))}", style="bold")


def preview_augment(
    data: Path,
    /,
    *,
    out: Annotated[Path, Out],
    classes: Path | None = None,
    official_split: str | None = None,
    augment: Annotated[Augment, Flat] = DEFAULT_AUGMENT,
    sheet: Annotated[SheetConfig, Flat] = DEFAULT_SHEET,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Draw a sheet of what a network is shown in training: a row a segment, as tested and then as drawn.

    Parameters
    ----------
    data
        a folder or csv of labelled videos
    out
        the picture to write
    classes
        a file that names the class numbers of the list
    official_split
        which of several official splits, where the list names them (1:train|2:test)
    """
    from quickstep.datasets.manifest import read_manifest
    from quickstep.training.finetuning.augmentation_preview import draw_sheet

    drawn = draw_sheet(read_manifest(data, classes=classes, official_split=official_split), augment, sheet, out=out)
    for failure in drawn.failures:
        say(f"not drawn: {failure}", style="yellow")
    for note in drawn.notes:
        say(f"note: {note}")
    if run.json:
        print(jsons.dumps({"sheet": str(drawn.picture), "strengths": augment.strengths, "segments": drawn.segments}, ensure_ascii=False))
    say(f"the sheet: {drawn.picture}", style="bold")
