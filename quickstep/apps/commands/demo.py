"""The demo: draw dancers, then use every main command on them, as a user would type it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from quickstep.apps.commands.options import DEFAULT_PRINTING, Flag, Flat, Printing, print_notes
from quickstep.apps.terminal import TerminalProgress, say
from quickstep.apps.web.config import Sample
from quickstep.datasets.manifest import read_manifest
from quickstep.datasets.synthetic import HARD_MOVES, DemoConfig, DemoVideos
from quickstep.models.ensemble import load_model
from quickstep.storage.cache import Cache
from quickstep.storage.model_folder import RECORD
from quickstep.types.errors import ConfigError

DEFAULT_DEMO = DemoConfig()
FOLDER = Path("demo")
HARD_CLUTTER = 0.15
FOLDS = 5


def demo_command(
    folder: Path = FOLDER,
    /,
    *,
    hard: Annotated[bool, Flag] = False,
    config: Annotated[DemoConfig, Flat] = DEFAULT_DEMO,
    printing: Annotated[Printing, Flat] = DEFAULT_PRINTING,  # noqa: ARG001 - the command line has applied it
) -> None:
    """Draw dancers, then check, split, train, evaluate, predict, find moves in a long video and search, by the commands you would type.

    Parameters
    ----------
    folder
        the folder for everything that is made
    hard
        draw moves that are easily confused, and more people and posts in the way
    """
    from quickstep.datasets.synthetic import draw_demo

    if hard:
        if config.moves != DEFAULT_DEMO.moves:
            raise ConfigError("hard", "chooses the moves itself: leave out moves, or leave out hard")
        config = replace(config, moves=HARD_MOVES, clutter=max(config.clutter, HARD_CLUTTER))
    with TerminalProgress() as progress:
        videos = draw_demo(folder, config, progress=progress)
    splits, model, timeline = folder / "splits.csv", folder / "model", folder / "class.png"
    _run(folder, "check", videos.dataset)
    _run(folder, "split", videos.dataset, "-o", splits, "--val", "0.2", "--test", "0.3", "--overwrite")
    say(f"\nOne test part holds few dancers. In {FOLDS} folds each of them is tested once:")
    _run(folder, "train", videos.dataset, "-o", model, "--backbone", "flow-hist", "--folds", str(FOLDS), "--overwrite")
    _run(folder, "evaluate", model)
    _run(folder, "predict", model, videos.new_videos, "--top", "3")
    _run(folder, "timeline", model, videos.class_video, "--truth", videos.class_spans, "--draw", timeline)
    searched = _search(folder, videos)
    say("\nopen in a browser or viewer:", style="bold")
    for path, about in (
        (model / "report.html", "how good the model is, and its mistakes"),
        (timeline, "which move happens when in the class, compared with the truth"),
        *([(folder / "search.png", "the moments that resemble the example")] if searched else []),
        (videos.class_video, "the class itself"),
    ):
        say(f"  {path}  {about}")
    say("then use your own videos, one folder a class:", style="bold")
    say("  quickstep train MY_VIDEOS/ -o models/mine --backbone flow-hist")


def _run(folder: Path, *command: str | Path) -> None:
    """Print a command and run it, with the demo's own cache."""
    from quickstep.apps.cli import app

    tokens = [str(word) for word in (*command, "--cache", folder / "cache")]
    say(f"\n$ quickstep {shlex.join(tokens)}", style="bold cyan")
    app(tokens, result_action="return_value")


def _search(folder: Path, videos: DemoVideos) -> bool:
    """Index the demo's videos and search them by an example; return False where the extra for libraries is not installed."""
    if find_spec("lancedb") is None:
        print_notes(["the demo's search is left out: pip install 'quickstep[search]', and run the demo again"])
        return False
    library, example = folder / "library", read_manifest(videos.new_videos).segments[0].path
    _run(folder, "index", library, videos.dataset, videos.class_video, "--backbone", "flow-hist", "--model", folder / "model", "--prune")
    _run(folder, "search", library, "--like", example, "--top", "5", "--all", "--draw", folder / "search.png")
    return True


@dataclass(frozen=True)
class Demo:
    """What the demo leaves for the web app."""

    model: Path
    library: str | None
    samples: tuple[Sample, ...]


def make_demo(folder: Path = FOLDER) -> Demo:
    """Return the demo's model, its library and videos to try; run the demo first where it has not run."""
    if not (folder / "model" / RECORD).is_file():
        say("no model was named: the demo makes one first, in about two minutes (quickstep demo)", style="bold")
        demo_command(folder)
    library = folder / "library"
    return Demo(folder / "model", str(library) if library.is_dir() else None, _samples(folder))


def _samples(folder: Path) -> tuple[Sample, ...]:
    """Return the videos of people who are not in the dataset; those that the model gets wrong are marked as hard."""
    answers = load_model(folder / "model").predict(read_manifest(folder / "new" / "dancers.csv").segments, cache=Cache(folder / "cache"))
    named = [(answer.segment, "new" if answer.label == answer.segment.label else "hard") for answer in answers.predictions]
    return tuple(Sample(segment.path, f"{kind}: {segment.label}") for segment, kind in named)
