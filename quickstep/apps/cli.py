"""The command line: which commands there are, and what happens when one goes wrong; imports a command only when it is called."""

from __future__ import annotations

import errno
import os
import signal
import sys
from functools import cache, partial
from types import FrameType
from typing import Any, NoReturn

from cyclopts import App, ArgumentCollection, Parameter
from cyclopts.config import Dict

from quickstep.apps.option_names import error_text, options_of_command, translate
from quickstep.types.errors import QuickstepError
from quickstep.types.registry import Entry

_ROOM = "quickstep.apps.commands"

COMMANDS = {
    "train": Entry(f"{_ROOM}.models:train", "Make a model of a folder (or csv) of labelled videos."),
    "evaluate": Entry(f"{_ROOM}.models:evaluate", "Measure a model on videos it has not seen, beside plain baselines, in a report."),
    "finetune": Entry(f"{_ROOM}.finetune:finetune", "Train a network further on your videos, and make a model of it."),
    "preview-augment": Entry(f"{_ROOM}.finetune:preview_augment", "Draw a sheet of what a network is shown in training."),
    "predict": Entry(f"{_ROOM}.models:predict", "Name the move in videos."),
    "timeline": Entry(f"{_ROOM}.timeline:timeline", "Say what is danced when in long videos: spans with labels, subtitles, pictures."),
    "import-model": Entry(f"{_ROOM}.import_dataset:import_model", "Make a model of a classifier that others published."),
    "zero-shot": Entry(f"{_ROOM}.models:zero_shot", "Make a model of words alone: no labelled video is needed."),
    "add-class": Entry(f"{_ROOM}.learning_curve:add_class", "Teach a finished model one more move, and say what that did to the others."),
    "learning-curve": Entry(f"{_ROOM}.learning_curve:learning_curve", "Say what more labels are worth, and for which move."),
    "ensemble": Entry(f"{_ROOM}.ensemble:ensemble_command", "Let several models answer together, and say whether that is really better."),
    "tune": Entry(f"{_ROOM}.tune:tune", "Search for the settings that do best on validation; the test part stays locked."),
    "compare": Entry(f"{_ROOM}.models:compare", "Say whether one model is really better than another on the same videos."),
    "check": Entry(f"{_ROOM}.datasets:check_command", "Look for what is wrong with a set of videos before training on it."),
    "split": Entry(f"{_ROOM}.datasets:split", "Divide a set into train, val and test (or folds) so that nothing leaks, with the proof."),
    "import-dataset": Entry(
        f"{_ROOM}.import_dataset:import_dataset", "Make one manifest of public sets on this disk: Kinetics, Let's Dance, MMAction2."
    ),
    "export-list": Entry(f"{_ROOM}.import_dataset:export_list", "Write a set as MMAction2's annotation lists."),
    "index": Entry(f"{_ROOM}.library:index", "Bring a library up to date with videos: moments that can be searched."),
    "search": Entry(f"{_ROOM}.library:search", "Find moments in a library by words, by example or by name."),
    "duplicates": Entry(f"{_ROOM}.library:duplicates", "Find the same footage in several videos of a library."),
    "evaluate-retrieval": Entry(f"{_ROOM}.library:evaluate_retrieval", "Measure how well a library is searched."),
    "export-tags": Entry(f"{_ROOM}.library:export_tags", "Write what was named in each video as tags for other programs."),
    "push": Entry(f"{_ROOM}.push:push", "Put a model on a model hub with its card, without what tells of people."),
    "pose": Entry(f"{_ROOM}.pose:pose", "Find the bodies in videos, keep them and draw them."),
    "kinematics": Entry(f"{_ROOM}.kinematics:kinematics", "Say in numbers how people move: speed, amplitude, fluidity, tempo, turns."),
    "recipes": Entry(f"{_ROOM}.recipes:recipes", "List named settings: for systems people come from, and fast, balanced, best."),
    "flow": Entry(f"{_ROOM}.flow:flow", "Draw how the points of a video move: colour is direction, brightness is speed."),
    "serve": Entry(f"{_ROOM}.serve:serve", "Let other programs name videos, over HTTP."),
    "app": Entry(f"{_ROOM}.app:app", "Open the web app: try a model, search, look over labels, train."),
    "demo": Entry(f"{_ROOM}.maintenance:demo", "Draw dancers and do all of it on them, offline."),
    "cache": Entry(f"{_ROOM}.maintenance:cache", "Show what is kept of earlier computations, and prune it."),
    "doctor": Entry(f"{_ROOM}.maintenance:doctor", "Say what is installed, what is missing and what to do about it."),
}


def _recipe(command: App, names: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fills in what the named recipe says of options that were left out."""
    named = next((argument.tokens[0].value for argument in arguments if argument.name == "--recipe" and argument.tokens), None)
    if named is not None:
        from quickstep.training.recipes import read_recipe

        said = read_recipe(named, verb=names[-1] if names else None)
        settings: dict[str, Any] = {key.rstrip("_").replace("_", "-"): value for key, value in said.items()}
        for name in reversed(names):  # else a setting that is called as a command is (augment) would be passed over
            settings = {name: settings}
        Dict(settings, source=f"the recipe {named}")(command, names, arguments)


app = App(
    name="quickstep",
    config=_recipe,
    default_parameter=Parameter(negative_iterable=()),  # an empty list is said by leaving it out
    suppress_keyboard_interrupt=False,  # main() ends it, with a word about what is kept
    help="Names the moves in video, in your words: a folder of labelled videos in, a classifier with honest numbers out.",
    help_epilogue="`quickstep COMMAND --help` explains a command; `quickstep --install-completion` teaches your shell the names.",
)
for _name, _entry in COMMANDS.items():
    app.command(_entry.target, name=_name, help=_entry.about)
app.register_install_completion_command()

# What an operating system says when a disk or a folder does not let us write: the person's to mend, so no traceback.
_DISK = {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}


class _Terminated(KeyboardInterrupt):
    """SIGTERM ends as Ctrl-C does, so that half-written files are removed and threads joined."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run one command; a person's mistake is one line and exit status 1, a bug keeps its traceback."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        tokens, notes = translate(sys.argv[1:] if arguments is None else arguments)
        for note in notes:
            print(f"note: {note}; the old name works in this release only", file=sys.stderr)
        options_of_command.set(cache(partial(_options, tuple(tokens))))
        result = app(tokens, result_action="return_value")
        sys.stdout.flush()
    except QuickstepError as error:
        _stop(f"quickstep: {error_text(error)}", 1)
    except KeyboardInterrupt as interrupt:
        status = 143 if isinstance(interrupt, _Terminated) else 130
        _stop("quickstep: stopped; what was computed is kept, so the same command goes on from here", status)
    except BrokenPipeError:  # the reader of our output went away (quickstep ... | head)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.errno not in _DISK:
            raise
        _stop(f"quickstep: {error.filename or 'the disk'}: {error.strerror}; what was computed is kept", 1)
    sys.exit(result if isinstance(result, int) else 0)


def _options(tokens: tuple[str, ...]) -> frozenset[str]:
    """Return the names of the options of the command that these tokens call."""
    command, _, _ = app.parse_commands(tokens)
    named: App = app
    for name in command:
        named = named[name]
    return frozenset(name for argument in named.assemble_argument_collection() for name in argument.names if name.startswith("--"))


def _stop(message: str, status: int) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(status)


def _terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise _Terminated
