"""The commands about one model: make it, measure it, use it, hold it against others."""

from __future__ import annotations

import json as jsons
import shlex
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from quickstep.apps.commands.options import DEFAULT_LOOKS, DEFAULT_RUN, Flag, Flat, Looks, Out, Run, open_model
from quickstep.apps.terminal import TerminalProgress, say, show_table
from quickstep.models.ensemble import AnyModel
from quickstep.models.predictions import Predictions
from quickstep.signals.poses.config import PoseConfig
from quickstep.storage.cache import Cache
from quickstep.storage.hub import is_hub_name
from quickstep.training.train import TrainConfig
from quickstep.training.zero_shot import ZeroShotConfig
from quickstep.types.errors import ConfigError
from quickstep.types.segment import Failure

DEFAULT_TRAIN = TrainConfig()
DEFAULT_POSES = PoseConfig()
DEFAULT_WORDS = ZeroShotConfig()


def train(
    data: Path,
    /,
    *,
    out: Annotated[Path, Out],
    recipe: str | None = None,  # noqa: ARG001 - the command line has filled it in already
    classes: Path | None = None,
    official_split: str | None = None,
    strict: Annotated[bool, Flag] = False,
    config: Annotated[TrainConfig, Flat] = DEFAULT_TRAIN,
    poses: Annotated[PoseConfig, Flat] = DEFAULT_POSES,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Make a model of a folder (or csv) of labelled videos.

    Parameters
    ----------
    data
        a folder with one folder of videos (or files of poses) per class, or a csv with the columns path,label[,start,end,group,split]
    out
        the folder of the model
    recipe
        named settings (or a toml file of your own) for what is not said here
    classes
        a file that names the class numbers of the list
    official_split
        which of several official splits, where the list names them (1:train|2:test)
    strict
        stop at the first video that cannot be used, instead of listing it
    """
    from quickstep.datasets.manifest import read_manifest
    from quickstep.evaluation.rendering import write_card
    from quickstep.models.model_files import check_target
    from quickstep.training.train import train as fit

    check_target(out)
    with TerminalProgress() as progress:
        manifest = read_manifest(data, classes=classes, official_split=official_split)
        trained = fit(manifest, config, poses=poses, cache=run.cache, progress=progress, strict=strict)
    trained.model.save(out)
    write_card(trained.model, out)
    for failure in trained.failures:
        say(f"left out: {failure}", style="yellow")
    for warning in trained.warnings:
        say(f"note: {warning}", style="yellow")
    if run.json:
        print(jsons.dumps({"model": str(out), **asdict(trained.model.facts)}, ensure_ascii=False))
    say(f"{trained.model} is in {out}; measure it: quickstep evaluate {shlex.quote(str(out))}", style="bold")


def evaluate(
    model: Path,
    /,
    *,
    data: Path | None = None,
    split: Literal["train", "val", "test", "all"] = "test",
    official_split: str | None = None,
    out: Annotated[Path | None, Out] = None,
    weights: Path | None = None,
    looks: Annotated[Looks, Flat] = DEFAULT_LOOKS,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Measure a model on videos it has not seen, beside plain baselines; writes report.html, report.json, report.md and pictures.

    Parameters
    ----------
    model
        the folder of the model
    data
        other labelled videos to test on (default: the test part of what it was trained on)
    split
        the part to test on
    official_split
        which of several official splits, where the other list names them
    out
        where the report goes (default: into the folder of the model)
    weights
        where the backbone's weights are now, if they moved
    """
    from quickstep.datasets.manifest import read_manifest
    from quickstep.evaluation import evaluate as measure
    from quickstep.evaluation.rendering import write_report

    opened = open_model(model, weights, run, looks)
    folder = out or _place_of(model, data, opened)
    with TerminalProgress() as progress:
        manifest = read_manifest(data, official_split=official_split) if data else None
        report = measure(opened, manifest, split=split, cache=run.cache, progress=progress)
    page = write_report(report, folder)
    for sentence in report.summary:
        say(sentence)
    if run.json:
        print(report.to_json())
    say(f"the report: {page}", style="bold")


def _place_of(model: Path, data: Path | None, opened: AnyModel) -> Path:
    """Where a report goes: into the model's folder; one of other videos, or through another view, into a folder there of its own."""
    if is_hub_name(model):
        raise ConfigError("out", f"{model} comes from the hub: say where its report goes")
    own = model / f"on-{data.stem}" if data else model
    views = [member.view for member in opened.members]
    return own / f"seen-{views[0].windows or 'all'}x{views[0].crops}" if opened.view_note else own


def predict(
    model: str,
    inputs: Annotated[tuple[str, ...], Parameter(allow_leading_hyphen=True)] = (),
    /,
    *,
    out: Annotated[Path | None, Out] = None,
    top: int | None = None,
    person: str | None = None,
    format: Literal["csv", "jsonl"] | None = None,
    strict: Annotated[bool, Flag] = False,
    words: Annotated[ZeroShotConfig, Flat] = DEFAULT_WORDS,
    looks: Annotated[Looks, Flat] = DEFAULT_LOOKS,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> int:
    """Name the move in videos: with a model, or with --labels and no model at all.

    Parameters
    ----------
    model
        the folder of the model; with --labels, the first of the inputs
    inputs
        videos, folders, globs, csv lists, or - for paths on standard input
    out
        a .csv or .jsonl file to write predictions to as they are made; the same command again goes on where it stopped
    top
        how many labels to show (default: one for people, all for programs)
    person
        for models that look at people: auto (the dancer), a number, or all (an answer a person)
    format
        print csv, or jsonl (one JSON object a line); each prediction as soon as it is ready
    strict
        stop at the first video that cannot be read
    """
    from quickstep.evaluation.provenance import model_facts
    from quickstep.inference.predict import predict as name
    from quickstep.inference.predict import to_json

    if top is not None and top < 1:
        raise ConfigError("top", f"at least 1, not {top}")
    opened, inputs = _with_model(model, inputs, words, run, looks)
    asked = _Asked(opened, inputs, run.cache, person, strict, top)
    if out is not None:
        return _into_file(asked, out, run)
    if format is not None:
        return _as_ready(asked, f".{format}")
    with TerminalProgress() as progress:
        found = name(opened, inputs, cache=run.cache, progress=progress, strict=strict, person=person)
    if run.json:
        tried = {"view": model_facts(opened).view} if opened.view_note else {}
        print(jsons.dumps({**to_json(found, top=top or (1 if words.labels else None)), **tried}, ensure_ascii=False, indent=1))
    else:
        _show_predictions(found, top or 1)
    for failure in found.failures:
        say(f"not named: {failure}", style="yellow")
    return 0 if found.predictions else 1


def zero_shot(
    *,
    out: Annotated[Path, Out],
    words: Annotated[ZeroShotConfig, Flat] = DEFAULT_WORDS,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Make a model of words alone: no labelled video is needed.

    Parameters
    ----------
    out
        the folder of the model
    """
    from quickstep.evaluation.rendering import write_card
    from quickstep.models.model_files import check_target
    from quickstep.training.zero_shot import zero_shot as make

    check_target(out)
    model = make(words, cache=run.cache)
    model.save(out)
    write_card(model, out)
    if run.json:
        print(jsons.dumps({"model": str(out), **asdict(model.facts)}, ensure_ascii=False))
    folder = shlex.quote(str(out))
    say(f"{model.backbone.name} reads {len(model.labels)} labels; the model is in {folder}", style="bold")
    say(f"use it: quickstep predict {folder} VIDEO; measure it: quickstep evaluate {folder} --data LABELLED_VIDEOS")


def _with_model(model: str, inputs: tuple[str, ...], words: ZeroShotConfig, run: Run, looks: Looks) -> tuple[AnyModel, tuple[str, ...]]:
    """The model of a folder, or the one that words make; and what is to be named."""
    if words.labels:
        from quickstep.training.zero_shot import zero_shot as make

        return make(words, cache=run.cache).with_view(windows=looks.windows, crops=looks.crops), (model, *inputs)
    for field in fields(words):
        if field.name != "weights" and getattr(words, field.name) != getattr(DEFAULT_WORDS, field.name):
            raise ConfigError(field.name, "belongs to --labels, where words make the model; a model's folder has its own")
    return open_model(Path(model), Path(words.weights) if words.weights else None, run, looks), inputs


def compare(
    models: tuple[Path, ...],
    /,
    *,
    against: Literal["first", "best"] = "first",
    out: Annotated[Path | None, Out] = None,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Say whether one model is really better than another on the same videos.

    Parameters
    ----------
    models
        folders of evaluated models, or their report.json files
    against
        hold the others against the first or the best
    out
        write the comparison as markdown too
    """
    from quickstep.evaluation import compare as hold

    comparison = hold(models, against=against)
    print(comparison.to_json() if run.json else comparison.text)
    if out:
        out.write_text(comparison.markdown, encoding="utf-8")


def _show_predictions(found: Predictions, top: int) -> None:
    """One row a segment; the further labels of `--top` stand beside the first."""
    rows = [(each.segment, *(f"{label} {score:.3f}" for label, score in each.top(top)), each.confidence) for each in found.predictions]
    if rows:
        show_table(("segment", "label", *("" for _ in rows[0][2:-1]), "reading"), rows)


@dataclass(frozen=True)
class _Asked:
    """What `predict` is asked."""

    model: AnyModel
    inputs: tuple[str, ...]
    cache: Cache
    person: str | None
    strict: bool
    top: int | None


def _into_file(asked: _Asked, out: Path, run: Run) -> int:
    """Predictions into a file that grows."""
    from quickstep.inference.prediction_files import write_predictions

    with TerminalProgress() as progress:
        written = write_predictions(
            asked.model, asked.inputs, out, top=asked.top, cache=asked.cache, progress=progress, strict=asked.strict, person=asked.person
        )
    told = {"out": str(out), "named": written.named, "kept": written.kept, "failed": len(written.failures), "replaced": written.replaced}
    if run.json:
        print(jsons.dumps(told, ensure_ascii=False))
    for failure in written.failures:
        say(f"not named: {failure}", style="yellow")
    if written.replaced:
        say(f"{written.replaced} rows were of another model, of changed videos or of failures, and are asked anew", style="yellow")
    say(f"{written.named} named now, {written.kept} were there already, {len(written.failures)} failed: {out}", style="bold")
    return 0 if written.named or written.kept else 1


def _as_ready(asked: _Asked, form: str) -> int:
    """Predictions on stdout, each as soon as it is ready."""
    from quickstep.inference.prediction_files import predict_as_text

    named = 0
    failures: list[Failure] = []
    options = {"top": asked.top, "cache": asked.cache, "strict": asked.strict, "person": asked.person}
    with TerminalProgress() as progress:
        for text, found in predict_as_text(asked.model, asked.inputs, form, progress=progress, **options):  # type: ignore[arg-type]
            sys.stdout.write(text)
            sys.stdout.flush()
            named += len(found.predictions)
            failures += found.failures
    for failure in failures:
        say(f"not named: {failure}", style="yellow")
    return 0 if named else 1
