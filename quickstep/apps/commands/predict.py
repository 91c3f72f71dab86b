"""The command that classifies videos: predict."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from quickstep.apps.commands.options import (
    DEFAULT_RUN,
    DEFAULT_VIEW,
    Flag,
    Flat,
    Inputs,
    Out,
    Run,
    TrialView,
    open_model,
    print_failures,
)
from quickstep.apps.terminal import TerminalProgress, print_json, say, show_table
from quickstep.models.classifier import Predictions
from quickstep.models.ensemble import AnyModel
from quickstep.storage.cache import Cache
from quickstep.storage.output_locks import reserve
from quickstep.training.zero_shot import ZeroShotConfig
from quickstep.types.errors import ConfigError
from quickstep.types.segment import Failure

DEFAULT_PROMPTS = ZeroShotConfig()
FAILED = "could not classify"


def predict_command(
    model: str,
    inputs: Annotated[tuple[str, ...], Inputs] = (),
    /,
    *,
    out: Annotated[Path | None, Out] = None,
    format: Literal["csv", "jsonl"] | None = None,
    top: int | None = None,
    person: str | None = None,
    strict: Annotated[bool, Flag] = False,
    prompts: Annotated[ZeroShotConfig, Flat] = DEFAULT_PROMPTS,
    view: Annotated[TrialView, Flat] = DEFAULT_VIEW,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> int:
    """Classify videos with a model, or with text labels (--labels) and no model at all.

    Parameters
    ----------
    model
        the folder of the model; with --labels, the first of the inputs
    inputs
        videos, folders, globs, csv lists, or - for paths on standard input
    out
        a .csv or .jsonl file to write each prediction to as it is made; an interrupted run resumes with the same command
    format
        print csv, or jsonl (one JSON object a line); each prediction as it is made
    top
        how many labels to show (default: 1 in a table, all in JSON and csv)
    person
        for models that read poses: auto (the dancer), a number, or all (a prediction a person)
    strict
        stop at the first video that cannot be read
    """
    from quickstep.evaluation.provenance import model_facts
    from quickstep.inference.predict import predict, to_json

    if top is not None and top < 1:
        raise ConfigError("top", f"must be at least 1, not {top}")
    if out is not None and format is not None and out.suffix.lower() != f".{format}":
        raise ConfigError("format", f"{format} does not fit the file {out.name}: leave out one of the two")
    opened, inputs = _open(model, inputs, prompts, run, view)
    request = _Request(opened, inputs, run.cache, person, strict, top)
    if out is not None:
        reserve(out)
        return _write_file(request, out, run)
    if format is not None:
        return _print_as_made(request, f".{format}")
    with TerminalProgress() as progress:
        result = predict(opened, inputs, cache=run.cache, progress=progress, strict=strict, person=person)
    if run.json:
        trial = {"view": model_facts(opened).view} if opened.view_note else {}
        count = top or (1 if prompts.labels else None)
        print_json({**to_json(result, top=count), **trial})
    else:
        _show_predictions(result, top or 1)
    print_failures(result.failures, FAILED)
    return 0 if result.predictions else 1


@dataclass(frozen=True)
class _Request:
    """What is to be classified, by which model, and how."""

    model: AnyModel
    inputs: tuple[str, ...]
    cache: Cache
    person: str | None
    strict: bool
    top: int | None


def _open(model: str, inputs: tuple[str, ...], prompts: ZeroShotConfig, run: Run, view: TrialView) -> tuple[AnyModel, tuple[str, ...]]:
    """Open the model of a folder, or make one from --labels; return it with the inputs."""
    if prompts.labels:
        from quickstep.training.zero_shot import zero_shot

        return zero_shot(prompts, cache=run.cache).with_view(windows=view.windows, crops=view.crops), (model, *inputs)
    for field in fields(prompts):
        if field.name != "weights" and getattr(prompts, field.name) != getattr(DEFAULT_PROMPTS, field.name):
            raise ConfigError(field.name, "belongs to `labels`, which make a model of prompts; a model's folder has its own")
    return open_model(Path(model), Path(prompts.weights) if prompts.weights else None, run, view), inputs


def _show_predictions(found: Predictions, top: int) -> None:
    """Print one row a segment: the labels with their scores, best first, and the confidence."""
    rows = [
        (prediction.segment, *(f"{label} {score:.3f}" for label, score in prediction.top(top)), prediction.confidence)
        for prediction in found.predictions
    ]
    if rows:
        show_table(("segment", "label", *("" for _ in rows[0][2:-1]), "confidence"), rows)


def _write_file(request: _Request, out: Path, run: Run) -> int:
    """Append predictions to a file; rows that it has already are kept."""
    from quickstep.inference.prediction_files import write_predictions

    with TerminalProgress() as progress:
        written = write_predictions(
            request.model,
            request.inputs,
            out,
            top=request.top,
            cache=request.cache,
            progress=progress,
            strict=request.strict,
            person=request.person,
        )
    failed = len(written.failures)
    if run.json:
        counts = {"named": written.predicted, "kept": written.kept, "failed": failed, "replaced": written.replaced}
        print_json({"out": str(out), **counts})
    print_failures(written.failures, FAILED)
    if written.replaced:
        say(f"{written.replaced} rows of another model, of changed videos or of failures were computed again", style="yellow")
    say(f"{out}: {written.predicted} new predictions, {written.kept} kept, {failed} failures", style="bold")
    return 0 if written.predicted or written.kept else 1


def _print_as_made(request: _Request, format: str) -> int:
    """Print each prediction as soon as it is made."""
    from quickstep.inference.prediction_files import predict_as_text

    count = 0
    failures: list[Failure] = []
    with TerminalProgress() as progress:
        for text, batch in predict_as_text(
            request.model,
            request.inputs,
            format,
            top=request.top,
            cache=request.cache,
            progress=progress,
            strict=request.strict,
            person=request.person,
        ):
            sys.stdout.write(text)
            sys.stdout.flush()
            count += len(batch.predictions)
            failures += batch.failures
    print_failures(failures, FAILED)
    return 0 if count else 1
