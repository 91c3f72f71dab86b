"""The commands: each parses, calls the function of its name and prints; data to stdout, words to stderr."""

from __future__ import annotations

import csv
import json as jsons
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from quickstep.demo import DemoConfig
from quickstep.errors import ConfigError
from quickstep.model import Model, Predictions
from quickstep.settings import setting
from quickstep.splits import SplitConfig, SplitResult
from quickstep.store import Store
from quickstep.terminal import TerminalProgress, say, show_table
from quickstep.training import TrainConfig

Flat = Parameter(name="*")  # a dataclass whose fields are options of the command itself
Out = Parameter(name=("--out", "-o"))


@dataclass(frozen=True, kw_only=True)
class Run:
    """What every command understands."""

    json: Annotated[bool, Parameter(negative="")] = setting(False, "print the result as JSON")
    cache: Path | None = setting(None, "folder of computed arrays (default: $QUICKSTEP_CACHE, else the user's cache folder)")

    @property
    def store(self) -> Store:
        """The store that the command uses."""
        return Store(self.cache)


DEFAULT_RUN = Run()
DEFAULT_TRAIN = TrainConfig()
DEFAULT_SPLIT = SplitConfig()
DEFAULT_DEMO = DemoConfig()


def train(
    data: Path,
    /,
    *,
    out: Annotated[Path, Out],
    classes: Path | None = None,
    strict: Annotated[bool, Parameter(negative="")] = False,
    config: Annotated[TrainConfig, Flat] = DEFAULT_TRAIN,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Make a model of a folder (or csv) of labelled videos.

    Parameters
    ----------
    data
        a folder with one folder of videos per class, or a csv with the columns path,label[,start,end,group,split]
    out
        the folder of the model
    classes
        a file that names the class numbers of the list
    strict
        stop at the first video that cannot be used, instead of listing it
    """
    from quickstep.manifest import read_manifest
    from quickstep.reporting import write_card
    from quickstep.sealed import check_target
    from quickstep.training import train as fit

    check_target(out)
    with TerminalProgress() as progress:
        trained = fit(read_manifest(data, classes=classes), config, store=run.store, progress=progress, strict=strict)
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
    out: Annotated[Path | None, Out] = None,
    weights: Path | None = None,
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
    out
        where the report goes (default: into the folder of the model)
    weights
        where the backbone's weights are now, if they moved
    """
    from quickstep.evaluation import evaluate as measure
    from quickstep.manifest import read_manifest
    from quickstep.reporting import write_report

    opened = _open(model, weights, run)
    with TerminalProgress() as progress:
        manifest = read_manifest(data) if data else None
        report = measure(opened, manifest, split=split, store=run.store, progress=progress)
    folder = out or (model / f"on-{data.stem}" if data else model)
    page = write_report(report, folder)
    for sentence in report.summary:
        say(sentence)
    if run.json:
        print(report.to_json())
    say(f"the report: {page}", style="bold")


def predict(
    model: Path,
    inputs: Annotated[tuple[str, ...], Parameter(allow_leading_hyphen=True)],
    /,
    *,
    top: int = 1,
    csv: Annotated[bool, Parameter(negative="")] = False,
    strict: Annotated[bool, Parameter(negative="")] = False,
    weights: Path | None = None,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> int:
    """Name the move in videos.

    Parameters
    ----------
    model
        the folder of the model
    inputs
        videos, folders, globs, csv lists, or - for paths on standard input
    top
        how many labels to show
    csv
        print csv with every score
    strict
        stop at the first video that cannot be read
    weights
        where the backbone's weights are now, if they moved
    """
    from quickstep.prediction import predict as name
    from quickstep.prediction import to_json, to_rows

    if top < 1:
        raise ConfigError("top", f"at least 1, not {top}")
    opened = _open(model, weights, run)
    with TerminalProgress() as progress:
        found = name(opened, inputs, store=run.store, progress=progress, strict=strict)
    if run.json:
        print(jsons.dumps(to_json(found), ensure_ascii=False, indent=1))
    elif csv:
        _print_csv(to_rows(found))
    else:
        _show_predictions(found, top)
    for failure in found.failures:
        say(f"not named: {failure}", style="yellow")
    return 0 if found.predictions else 1


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


def scan(data: Path, /, *, classes: Path | None = None, run: Annotated[Run, Flat] = DEFAULT_RUN) -> None:
    """Look for what is wrong with a set of videos before training on it.

    Parameters
    ----------
    data
        a folder or csv of labelled videos
    classes
        a file that names the class numbers of the list
    """
    from quickstep.audit import scan as look
    from quickstep.manifest import read_manifest

    with TerminalProgress() as progress:
        audit = look(read_manifest(data, classes=classes), store=run.store, progress=progress)
    print(audit.to_json() if run.json else audit.text)


def split(
    data: Path,
    /,
    *,
    out: Annotated[Path, Out],
    classes: Path | None = None,
    config: Annotated[SplitConfig, Flat] = DEFAULT_SPLIT,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Divide a set into train, val and test (or folds) so that nothing leaks; writes a csv and prints the proof.

    Parameters
    ----------
    data
        a folder or csv of labelled videos
    out
        the csv to write; with folds, one csv for each is written beside it
    classes
        a file that names the class numbers of the list
    """
    from quickstep.manifest import read_manifest, write_manifest
    from quickstep.splits import split as divide

    with TerminalProgress() as progress:
        result = divide(read_manifest(data, classes=classes), config, store=run.store, progress=progress)
    write_manifest(result.manifest, out)
    for number, fold in enumerate(result.folds):
        write_manifest(fold, out.with_stem(f"{out.stem}-{number}"))
    _show_split(result, as_json=run.json)
    for warning in result.warnings:
        say(f"note: {warning}", style="yellow")


def demo(
    folder: Path = Path("demo"),
    /,
    *,
    config: Annotated[DemoConfig, Flat] = DEFAULT_DEMO,
) -> None:
    """Draw dancers, then scan, split, train, evaluate and predict, each by the command you would type.

    Parameters
    ----------
    folder
        where everything goes
    """
    from dataclasses import replace

    from quickstep.cli import app
    from quickstep.demo import draw_dancers

    with TerminalProgress() as progress:
        dancers = draw_dancers(folder / "dancers", config, progress=progress)
        stranger = replace(config, moves=config.moves[:2], videos=1, dancers=1, seed=config.seed + 1000)
        draw_dancers(folder / "new", stranger, progress=progress)
    splits, model, cache = folder / "splits.csv", folder / "model", ("--cache", folder / "cache")
    for words in (
        ("scan", dancers, *cache),
        # A set this small needs a larger test part than usual: three dancers, so that the number has an interval.
        ("split", dancers, "-o", splits, "--val", "0.2", "--test", "0.3", *cache),
        ("train", splits, "-o", model, "--backbone", "motion", *cache),
        ("evaluate", model, *cache),
        ("predict", model, folder / "new", "--top", "3", *cache),
    ):
        tokens = [str(word) for word in words]
        say(f"\n$ quickstep {shlex.join(tokens)}", style="bold cyan")
        app(tokens, result_action="return_value")
    say(f"\nopen {model / 'report.html'} in a browser; then your own videos, one folder per move:", style="bold")
    say("  quickstep train MY_VIDEOS/ -o models/mine --backbone motion", style="bold")


def cache(
    *, prune: Annotated[bool, Parameter(negative="")] = False, unused_days: float = 0.0, run: Annotated[Run, Flat] = DEFAULT_RUN
) -> None:
    """Show what is kept of earlier computations, and prune it.

    Parameters
    ----------
    prune
        remove it
    unused_days
        with --prune, only what was not used for so many days
    """
    store = run.store
    if prune:
        count, size = store.prune(unused_days=unused_days)
        say(f"removed {count} values, {size / 1e6:.1f} MB, from {store.folder}")
        return
    kinds: dict[tuple[str, str], list[int]] = {}
    for entry in store.entries():
        backbone = entry.key.get("backbone") or {}
        kinds.setdefault((str(entry.key.get("kind", "")), str(backbone.get("name", ""))), []).append(entry.size)
    rows = [(kind, name, len(sizes), f"{sum(sizes) / 1e6:.1f}") for (kind, name), sizes in sorted(kinds.items())]
    if run.json:
        print(jsons.dumps([dict(zip(("kind", "backbone", "values", "megabytes"), row, strict=True)) for row in rows]))
    else:
        show_table(("kind", "backbone", "values", "MB"), rows, title=str(store.folder))


def doctor(*, run: Annotated[Run, Flat] = DEFAULT_RUN) -> int:
    """Say what is installed, what is missing and what to do about it."""
    from quickstep.doctor import examine

    findings = examine(run.store)
    if run.json:
        print(jsons.dumps([asdict(finding) for finding in findings]))
    else:
        show_table(("", "state", "details", "what to do"), [(f.what, f.state, f.details, f.advice) for f in findings])
    return int(any(finding.state == "bad" for finding in findings))


def _open(model: Path, weights: Path | None, run: Run) -> Model:
    opened = Model.load(model, weights, store=run.store)
    for caution in opened.cautions:
        say(f"note: {caution}", style="yellow")
    return opened


def _show_predictions(found: Predictions, top: int) -> None:
    """One row a segment; the further labels of `--top` stand beside the first."""
    rows = [(each.segment, *(f"{label} {score:.3f}" for label, score in each.top(top)), each.reading) for each in found.predictions]
    if rows:
        show_table(("segment", "label", *("" for _ in rows[0][2:-1]), "reading"), rows)


def _show_split(result: SplitResult, *, as_json: bool) -> None:
    table = [(share.label, *share.segments) for share in result.table]
    if as_json:
        told: dict[str, Any] = {"parts": result.parts, "table": table, "proof": result.proof.sentences, "clean": result.proof.clean}
        told["leaks"] = [str(leak) for leak in result.proof.leaks]
        print(jsons.dumps({**told, "warnings": result.warnings}, ensure_ascii=False))
        return
    show_table(("class", *result.parts), table)
    for sentence in result.proof.sentences:
        print(sentence)


def _print_csv(rows: Sequence[dict[str, str]]) -> None:
    writer = csv.DictWriter(sys.stdout, rows[0].keys() if rows else ["path"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
