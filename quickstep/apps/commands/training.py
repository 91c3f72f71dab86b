"""The commands that fit a model to labelled videos: train, finetune, preview-augment and tune."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from quickstep.apps.commands.options import (
    DEFAULT_LISTING,
    DEFAULT_RUN,
    Flag,
    Flat,
    Listing,
    Out,
    Run,
    check_file_target,
    check_model_target,
    print_failures,
    print_notes,
)
from quickstep.apps.terminal import TerminalProgress, print_json, say, show_table
from quickstep.datasets.groups import guess_groups
from quickstep.datasets.manifest import Manifest
from quickstep.evaluation.report import Report
from quickstep.models.model import Model
from quickstep.models.model_files import TUNING_STATE
from quickstep.signals.poses.config import PoseConfig
from quickstep.training.augmentation.augment import Augment
from quickstep.training.finetuning import FinetuneConfig
from quickstep.training.finetuning.augmentation_preview import SheetConfig
from quickstep.training.train import TrainConfig
from quickstep.training.tuning.config import TuneConfig
from quickstep.types.confidence_intervals import between, percent

DEFAULT_TRAIN = TrainConfig()
DEFAULT_POSES = PoseConfig()
DEFAULT_FINETUNE = FinetuneConfig()
DEFAULT_AUGMENT = Augment()
DEFAULT_SHEET = SheetConfig()
DEFAULT_TUNE = TuneConfig()
SHOWN_TRIALS = 12
FEW_GROUPS = 10  # in the test part: with fewer, folds give a narrower interval


def train_command(
    data: Path,
    /,
    *,
    out: Annotated[Path, Out],
    recipe: str | None = None,  # noqa: ARG001 - the command line has filled in its settings already
    listing: Annotated[Listing, Flat] = DEFAULT_LISTING,
    folds: int = 0,
    strict: Annotated[bool, Flag] = False,
    overwrite: Annotated[bool, Flag] = False,
    config: Annotated[TrainConfig, Flat] = DEFAULT_TRAIN,
    poses: Annotated[PoseConfig, Flat] = DEFAULT_POSES,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Train a classifier on a folder or csv of labelled videos.

    Parameters
    ----------
    data
        a folder with one folder of videos (or pose files) per class, or a csv with the columns path,label[,start,end,group,split]
    out
        the folder for the model
    recipe
        a recipe, by its name or as a toml file: settings for the options that you leave out
    folds
        test every video once, in this many folds, and fit the model to all of them: for sets with few groups (0: one test part)
    strict
        stop at the first video that cannot be used, instead of skipping it
    overwrite
        replace the model in the folder
    """
    from quickstep.training.cross_validation import cross_validate
    from quickstep.training.train import train

    check_model_target(out, overwrite=overwrite)
    with TerminalProgress() as progress:
        manifest = listing.read(data)
        if folds:
            validated = cross_validate(manifest, config, folds=folds, poses=poses, cache=run.cache, progress=progress, strict=strict)
            trained, report = validated.trained, validated.report.named(out.resolve().name)
        else:
            trained, report = train(manifest, config, poses=poses, cache=run.cache, progress=progress, strict=strict), None
    page = _save(trained.model, report, out)
    print_failures(trained.failures)
    print_notes(trained.warnings)
    _warn_of_groups(manifest)
    if run.json:
        print_json({"model": str(out), **asdict(trained.model.facts)})
    if report is not None:
        for sentence in report.summary:
            say(sentence)
        say(f"{trained.model} is saved in {out}; the report of its folds: {page}", style="bold")
        return
    if trained.validation is not None:
        say(f"validation: {percent(trained.validation.value)} (95 % interval {between(trained.validation)}); the test part was not used")
    _suggest_folds(trained.model)
    say(f"{trained.model} is saved in {out}; evaluate it: quickstep evaluate {shlex.quote(str(out))}", style="bold")


def _save(model: Model, report: Report | None, out: Path) -> Path:
    """Save a model with its card, or with the report of its folds, which writes the card; return the page to read."""
    from quickstep.evaluation.rendering import write_card, write_report

    model.save(out)
    return write_card(model, out) if report is None else write_report(report, out)


def _warn_of_groups(manifest: Manifest) -> None:
    """Say how groups are named where none are: with the same dancer in several parts, the accuracy is too high."""
    if any(segment.group is not None for segment in manifest.segments):
        return
    guessed = guess_groups(manifest)
    hint = r"add a column `group`, or --groups 'dancer-(\d+)'"
    if guessed is not None:
        hint = f"the names suggest {len(set(guessed[0].groups))} groups ({guessed[1]}): --groups auto uses them"
    say(f"note: each video counts as its own group; if the same people are in several videos, {hint}", style="yellow")


def _suggest_folds(model: Model) -> None:
    """Name the options that test every video, where the test part has too few groups for a useful interval."""
    groups = len(set(model.manifest.part("test").groups)) if model.manifest is not None else FEW_GROUPS
    if groups < FEW_GROUPS:
        few = "group" if groups == 1 else "groups"
        say(
            f"note: the test part has only {groups} {few}, so its interval will be wide; "
            "the same command with --folds 5 --overwrite tests every video",
            style="yellow",
        )


def finetune_command(
    data: Path,
    /,
    *,
    out: Annotated[Path, Out],
    recipe: str | None = None,  # noqa: ARG001 - the command line has filled in its settings already
    listing: Annotated[Listing, Flat] = DEFAULT_LISTING,
    strict: Annotated[bool, Flag] = False,
    overwrite: Annotated[bool, Flag] = False,
    config: Annotated[FinetuneConfig, Flat] = DEFAULT_FINETUNE,
    augment: Annotated[Augment, Flat] = DEFAULT_AUGMENT,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Fine-tune a pretrained network on labelled videos. An interrupted run resumes with the same command.

    Use several GPUs with `accelerate launch -m quickstep finetune ...`.

    Parameters
    ----------
    data
        a folder with one folder of videos per class, or a csv with the columns path,label[,start,end,group,split]
    out
        the folder for the model
    recipe
        a recipe, by its name or as a toml file: settings for the options that you leave out
    strict
        stop at the first video that cannot be used, instead of skipping it
    overwrite
        replace the finished model in the folder
    """
    # Read when torch loads: threads that wait by spinning make a step many times slower as soon as other processes use the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from quickstep.evaluation.rendering import write_card
    from quickstep.training.finetuning import finetune

    check_model_target(out, overwrite=overwrite or (out / TUNING_STATE).exists())  # an unfinished run in the folder is resumed
    with TerminalProgress() as progress:
        manifest = listing.read(data)
        tuned = finetune(
            manifest, config, augment=augment, cache=run.cache, progress=progress, strict=strict, folder=out, tell=lambda text: say(text)
        )
    if not tuned.main:
        return
    write_card(tuned.model, out)
    print_failures(tuned.failures)
    print_notes(tuned.warnings)
    if run.json:
        validation = asdict(tuned.validation) if tuned.validation else None
        print_json({"model": str(out), "validation": validation, **asdict(tuned.model.facts)})
    if tuned.validation is not None:
        say(f"epoch {tuned.history.best_epoch} was the best: {tuned.validation.describe(config.metric)}")
    say(f"{tuned.model} is saved in {out}; evaluate it: quickstep evaluate {shlex.quote(str(out))}", style="bold")


def preview_augment_command(
    data: Path,
    /,
    *,
    out: Annotated[Path, Out],
    listing: Annotated[Listing, Flat] = DEFAULT_LISTING,
    overwrite: Annotated[bool, Flag] = False,
    augment: Annotated[Augment, Flat] = DEFAULT_AUGMENT,
    sheet: Annotated[SheetConfig, Flat] = DEFAULT_SHEET,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Draw augmented training windows: one row per segment, first the unchanged window, then its augmented copies.

    Parameters
    ----------
    data
        a folder or csv of labelled videos
    out
        the image to write
    overwrite
        replace the image if it exists
    """
    from quickstep.training.finetuning.augmentation_preview import draw_sheet

    check_file_target(out, overwrite=overwrite)
    drawn = draw_sheet(listing.read(data), augment, sheet, out=out)
    print_failures(drawn.failures)
    print_notes(drawn.notes)
    if run.json:
        print_json({"sheet": str(drawn.picture), "strengths": augment.strengths, "segments": drawn.segments})
    say(f"written: {drawn.picture}", style="bold")


def tune_command(
    data: Path,
    /,
    *,
    out: Annotated[Path, Out],
    recipe: str | None = None,  # noqa: ARG001 - the command line has filled in its settings already
    listing: Annotated[Listing, Flat] = DEFAULT_LISTING,
    config: Annotated[TuneConfig, Flat] = DEFAULT_TUNE,
    base: Annotated[TrainConfig, Flat] = DEFAULT_TRAIN,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Search for the settings that are best on validation; the test part is used once, at the end.

    Parameters
    ----------
    data
        a folder with one folder of videos per class, or a csv, as `train` takes it
    out
        the folder for the study; an interrupted search resumes with the same command
    recipe
        a recipe, by its name or as a toml file: settings for the options that you leave out
    """
    from quickstep.evaluation.rendering import write_card
    from quickstep.training.tuning import tune
    from quickstep.training.tuning.rendering import write_study

    with TerminalProgress() as progress:
        tuned = tune(listing.read(data), out, config, base, cache=run.cache, progress=progress)
    best = out / "best"
    if tuned.model is not None and not (best / "README.md").is_file():
        write_card(tuned.model, best)
    page = write_study(tuned.board, out)
    if run.json:
        print_json(tuned.board.to_json())
    else:
        show_table(tuned.board.columns, tuned.board.rows(SHOWN_TRIALS))
    for sentence in tuned.board.sentences:
        say(sentence)
    print_notes(tuned.notes)
    say(f"the report: {page}", style="bold")
    if tuned.model is not None:
        say(f"the best model is saved in {best}; use it: quickstep predict {shlex.quote(str(best))} VIDEO", style="bold")
