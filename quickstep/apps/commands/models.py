"""The commands that make a model from text or from other models: zero-shot, add-class, ensemble and import-model."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from quickstep.apps.commands.options import (
    DEFAULT_RUN,
    Flag,
    Flat,
    Inputs,
    Out,
    Run,
    check_model_target,
    print_failures,
    print_notes,
    with_cautions,
)
from quickstep.apps.terminal import TerminalProgress, print_json, say, show_table
from quickstep.models.model import Model
from quickstep.storage.serialization import to_plain
from quickstep.training.ensemble import EnsembleConfig
from quickstep.training.zero_shot import ZeroShotConfig

if TYPE_CHECKING:
    from quickstep.training.add_class import Added

DEFAULT_ENSEMBLE = EnsembleConfig()
DEFAULT_PROMPTS = ZeroShotConfig()


def zero_shot_command(
    *,
    out: Annotated[Path, Out],
    overwrite: Annotated[bool, Flag] = False,
    prompts: Annotated[ZeroShotConfig, Flat] = DEFAULT_PROMPTS,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Make a model from text prompts alone: no labelled video is needed.

    Parameters
    ----------
    out
        the folder for the model
    overwrite
        replace the model in the folder
    """
    from quickstep.evaluation.rendering import write_card
    from quickstep.training.zero_shot import zero_shot

    check_model_target(out, overwrite=overwrite)
    model = zero_shot(prompts, cache=run.cache)
    model.save(out)
    write_card(model, out)
    if run.json:
        print_json({"model": str(out), **asdict(model.facts)})
    folder = shlex.quote(str(out))
    say(f"a model of {len(model.labels)} labels by {model.backbone.name} is saved in {folder}", style="bold")
    say(f"use it: quickstep predict {folder} VIDEO; evaluate it: quickstep evaluate {folder} --data LABELLED_VIDEOS")


def add_class_command(
    model: Path,
    name: str,
    videos: Annotated[tuple[str, ...], Inputs] = (),
    /,
    *,
    out: Annotated[Path | None, Out] = None,
    strict: Annotated[bool, Flag] = False,
    overwrite: Annotated[bool, Flag] = False,
    weights: Path | None = None,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Add a class to a trained model in seconds, and report how the other classes changed.

    Parameters
    ----------
    model
        the folder of the model
    name
        the new class; for a zero-shot or few-shot model also 'name: a sentence; another'
    videos
        videos of the new class, folders, globs or csv lists; a zero-shot model needs none
    out
        the folder for the new model (default: the model's own folder)
    strict
        stop at the first video that cannot be used, instead of skipping it
    overwrite
        replace another model in the folder given with --out
    weights
        the folder of the backbone's weights, if they were moved
    """
    from quickstep.evaluation.rendering import write_card
    from quickstep.training.add_class import add_class, set_reports_aside

    target = check_model_target(out or model, overwrite=overwrite or out is None or out.resolve() == model.resolve())
    opened = with_cautions(Model.load(model, weights, cache=run.cache))
    with TerminalProgress() as progress:
        added = add_class(opened, name, videos, cache=run.cache, progress=progress, strict=strict)
    grown = replace(added.model, folder=target)
    grown.save(target)
    aside = set_reports_aside(target)
    write_card(grown, target)
    if run.json:
        print_json({"model": str(target), **added.to_json()})
    else:
        _show_recalls(added)
    print_failures(added.failures)
    print_notes((*added.notes, *aside))
    say(f"{grown} is saved in {target}; evaluate it: quickstep evaluate {shlex.quote(str(target))}", style="bold")


def ensemble_command(
    models: tuple[Path, ...],
    /,
    *,
    out: Annotated[Path, Out],
    overwrite: Annotated[bool, Flag] = False,
    config: Annotated[EnsembleConfig, Flat] = DEFAULT_ENSEMBLE,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Combine several models into one, and report whether it is better than its best member.

    Parameters
    ----------
    models
        the folders of two or more models with the same labels
    out
        the folder for the ensemble: it holds copies of its members, and is used like any model
    overwrite
        replace the model in the folder
    """
    from quickstep.evaluation.rendering import write_card
    from quickstep.training.ensemble import ensemble

    check_model_target(out, overwrite=overwrite)
    with TerminalProgress() as progress:
        combined = ensemble(models, config, cache=run.cache, progress=progress)
    combined.ensemble.save(out)
    write_card(combined.ensemble, out)
    print_failures(combined.failures)
    if run.json:
        weights = dict(zip(combined.ensemble.names, combined.ensemble.weights, strict=True))
        result = {"model": str(out), "weights": weights, "best": combined.best}
        print_json(result | {"standings": to_plain(combined.standings), "gain": to_plain(combined.gain)})
    for sentence in combined.sentences:
        say(sentence)
    say(f"{combined.ensemble} is saved in {out}; evaluate it: quickstep evaluate {shlex.quote(str(out))}", style="bold")


def import_model_command(
    folder: Path,
    /,
    *,
    out: Annotated[Path, Out],
    labels: str | None = None,
    weights: Path | None = None,
    overwrite: Annotated[bool, Flag] = False,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Convert a published CLIP classifier (weights.ckpt and config.json) into a model folder.

    Parameters
    ----------
    folder
        the published folder; `quickstep predict FOLDER VIDEO` takes it without conversion too
    out
        the folder for the model
    labels
        the names of its classes in their order, a,b,c or a file, where its config.json has none
    weights
        the folder of the CLIP it was made of, where its config.json names none that is known
    overwrite
        replace the model in the folder
    """
    from quickstep.datasets.class_prompts import read_class_prompts
    from quickstep.evaluation.rendering import write_card
    from quickstep.models.third_party_import import import_model

    check_model_target(out, overwrite=overwrite)
    names = read_class_prompts(labels).labels if labels else None
    model = import_model(folder, out, labels=names, weights=weights, cache=run.cache)
    write_card(model, out)
    if run.json:
        print_json({"model": str(out), "labels": model.labels})
    say(f"{model} is saved in {out}; use it: quickstep predict {shlex.quote(str(out))} VIDEO", style="bold")


def _show_recalls(added: Added) -> None:
    """Print the recall of each class before and after the new one, then the conclusions."""
    rows = [(one.label, one.count, f"{one.before:.2f}", f"{one.after:.2f}", one.taken) for one in added.effects.recalls]
    if rows:
        show_table(("class", "test segments", "recall before", "recall after", f"now predicted {added.name}"), rows)
    for sentence in added.sentences:
        print(sentence)
