"""The demo: draw dancers, then check, split, train, evaluate and predict, by the commands that a user would type."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from quickstep.apps.commands.options import DEFAULT_PRINTING, Flat, Printing, print_notes
from quickstep.apps.terminal import TerminalProgress, say
from quickstep.datasets.synthetic import DemoConfig
from quickstep.storage.cache import Cache
from quickstep.storage.model_folder import RECORD
from quickstep.types.errors import MissingExtra

DEFAULT_DEMO = DemoConfig()
FOLDER = Path("demo")


def demo_command(
    folder: Path = FOLDER,
    /,
    *,
    config: Annotated[DemoConfig, Flat] = DEFAULT_DEMO,
    printing: Annotated[Printing, Flat] = DEFAULT_PRINTING,  # noqa: ARG001 - the command line has applied it
) -> None:
    """Draw dancers, then check, split, train, evaluate and predict on them, offline, by the commands you would type.

    Parameters
    ----------
    folder
        the folder for everything that is made
    """
    from quickstep.apps.cli import app
    from quickstep.datasets.synthetic import draw_demo

    with TerminalProgress() as progress:
        videos = draw_demo(folder, config, progress=progress)
    splits, model, cache = folder / "splits.csv", folder / "model", ("--cache", folder / "cache")
    for command in (
        ("check", videos.dataset, *cache),
        # A test part of 0.3 holds three of the ten dancers: fewer give no interval.
        ("split", videos.dataset, "-o", splits, "--val", "0.2", "--test", "0.3", "--overwrite", *cache),
        ("train", splits, "-o", model, "--backbone", "flow-hist", "--overwrite", *cache),
        ("evaluate", model, *cache),
        ("predict", model, videos.new_videos, "--top", "3", *cache),
    ):
        tokens = [str(word) for word in command]
        say(f"\n$ quickstep {shlex.join(tokens)}", style="bold cyan")
        app(tokens, result_action="return_value")
    say(f"\nopen {model / 'report.html'} in a browser; then use your own videos, one folder a class:", style="bold")
    say("  quickstep train MY_VIDEOS/ -o models/mine --backbone flow-hist", style="bold")


@dataclass(frozen=True)
class Demo:
    """What the demo leaves for the web app."""

    model: Path
    library: str | None
    samples: tuple[Path, ...]


def make_demo(folder: Path = FOLDER, *, cache: Path | None = None) -> Demo:
    """Return the demo's model, its library and videos to try; run the demo first where it has not run."""
    if not (folder / "model" / RECORD).is_file():
        say("no model was named: the demo makes one first, in about two minutes (quickstep demo)", style="bold")
        demo_command(folder)
    return Demo(folder / "model", _library(folder, cache), tuple(sorted((folder / "new").glob("*/*.mp4"))))


def _library(folder: Path, cache: Path | None) -> str | None:
    """Index the demo's dancers; return None where the extra for libraries is not installed."""
    place = folder / "library"
    if not place.is_dir():
        try:
            from quickstep.library import IndexConfig, index

            config = IndexConfig(backbone="flow-hist", window=2.0, model=folder / "model")
            with TerminalProgress() as progress:
                index(str(place), [str(folder / "dancers"), str(folder / "new")], config, cache=Cache(cache), progress=progress)
        except MissingExtra as error:
            print_notes([error])
            return None
    return str(place)
