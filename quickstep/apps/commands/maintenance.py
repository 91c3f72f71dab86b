"""The commands about quickstep itself: the demo, what it keeps, and whether all it needs is there."""

from __future__ import annotations

import json as jsons
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from quickstep.apps.commands.options import DEFAULT_RUN, Flag, Flat, Run
from quickstep.apps.terminal import TerminalProgress, say, show_table
from quickstep.datasets.synthetic import DemoConfig

DEFAULT_DEMO = DemoConfig()


def demo(
    folder: Path = Path("demo"),
    /,
    *,
    config: Annotated[DemoConfig, Flat] = DEFAULT_DEMO,
) -> None:
    """Draw dancers, then check, split, train, evaluate and predict, each by the command you would type.

    Parameters
    ----------
    folder
        where everything goes
    """
    from dataclasses import replace

    from quickstep.apps.cli import app
    from quickstep.datasets.synthetic import draw_dancers

    with TerminalProgress() as progress:
        dancers = draw_dancers(folder / "dancers", config, progress=progress)
        stranger = replace(config, moves=config.moves[:2], videos=1, dancers=1, seed=config.seed + 1000)
        draw_dancers(folder / "new", stranger, progress=progress)
    splits, model, cache = folder / "splits.csv", folder / "model", ("--cache", folder / "cache")
    for words in (
        ("check", dancers, *cache),
        # A set this small needs a larger test part than usual: three dancers, so that the number has an interval.
        ("split", dancers, "-o", splits, "--val", "0.2", "--test", "0.3", *cache),
        ("train", splits, "-o", model, "--backbone", "flow-hist", *cache),
        ("evaluate", model, *cache),
        ("predict", model, folder / "new", "--top", "3", *cache),
    ):
        tokens = [str(word) for word in words]
        say(f"\n$ quickstep {shlex.join(tokens)}", style="bold cyan")
        app(tokens, result_action="return_value")
    say(f"\nopen {model / 'report.html'} in a browser; then your own videos, one folder per move:", style="bold")
    say("  quickstep train MY_VIDEOS/ -o models/mine --backbone flow-hist", style="bold")


def cache(*, prune: Annotated[bool, Flag] = False, unused_days: float = 0.0, run: Annotated[Run, Flat] = DEFAULT_RUN) -> None:
    """Show what is kept of earlier computations, and prune it.

    Parameters
    ----------
    prune
        remove it
    unused_days
        with --prune, only what was not used for so many days
    """
    cache = run.cache
    if prune:
        count, size = cache.prune(unused_days=unused_days)
        say(f"removed {count} values, {size / 1e6:.1f} MB, from {cache.folder}")
        return
    kinds: dict[tuple[str, str], list[int]] = {}
    for entry in cache.entries():
        backbone = entry.key.get("backbone") or {}
        kinds.setdefault((str(entry.key.get("kind", "")), str(backbone.get("name", ""))), []).append(entry.size)
    rows = [(kind, name, len(sizes), f"{sum(sizes) / 1e6:.1f}") for (kind, name), sizes in sorted(kinds.items())]
    if run.json:
        print(jsons.dumps([dict(zip(("kind", "backbone", "values", "megabytes"), row, strict=True)) for row in rows]))
    else:
        show_table(("kind", "backbone", "values", "MB"), rows, title=str(cache.folder))


def doctor(*, run: Annotated[Run, Flat] = DEFAULT_RUN) -> int:
    """Say what is installed, what is missing and what to do about it."""
    from quickstep.apps.doctor import examine

    findings = examine(run.cache)
    if run.json:
        print(jsons.dumps([asdict(finding) for finding in findings]))
    else:
        show_table(("", "state", "details", "what to do"), [(f.what, f.state, f.details, f.advice) for f in findings])
    return int(any(finding.state == "bad" for finding in findings))
