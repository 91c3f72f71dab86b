"""The command line: the table of its verbs, and what happens when a command fails. A command is imported when it is called."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from cyclopts import App, ArgumentCollection, CycloptsError, Group, Parameter

from quickstep.apps.interruption import exit_status, obey_signals
from quickstep.apps.option_names import error_text, options_of_command, translate, usage_error_text
from quickstep.types.errors import QuickstepError
from quickstep.types.escaping import escaped
from quickstep.types.progress import Stopped

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions


DECODING = "QUICKSTEP_DECODING"  # read by signals/video/limits, which is not imported for --help
# Title -> option names, in the order of the help page. An option that is in no group is printed first, under "Options".
OPTION_GROUPS = {
    "Network": "backbone weights embedding flow init width from new-head unfreeze engine precision",
    "Frames of a video": "window stride pace frames fps size edge windows crops height",
    "Head and prompts": "head head-settings template prompts dropout class-weights balanced",
    "Optimization": (
        "epochs batch accumulate auto-batch optimizer learning-rate head-rate layer-decay momentum weight-decay grad-clip schedule warmup "
        "decay step-epochs label-smoothing mixup ema"
    ),
    "Validation": "metric patience",
    "Augmentation": "augment flip mirror-labels vertical-flip crop rotation colour noise erase time-jitter speed",
    "Poses": "estimator pose-model skeleton person people pose-fps",
    "Computation": "device workers frame-cache-gb save-minutes tensorboard seed",
    "Reading videos": "isolate cpu-seconds decoder-mb max-pixels max-hours",
    "General": "json quiet verbose trust cache help version",
}
EMPTY = ("()", "{}", "[]", "''", '""', "None")


class GroupedHelp:
    """Print a help page like cyclopts, with options in groups."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one panel; a panel of options is divided into groups."""
        for part in _parts(panel):
            self._formatter(console, options, part)

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """Print the usage line."""
        self._formatter.render_usage(console, options, usage)

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        """Print the description."""
        self._formatter.render_description(console, options, description)

    @property
    def _formatter(self) -> Any:
        from cyclopts.help import DefaultFormatter

        return DefaultFormatter()


def _parts(panel: HelpPanel) -> Iterator[HelpPanel]:
    if panel.format == "command":
        yield panel
        return
    groups: dict[str, list[Any]] = {}
    options = {name for entry in panel.entries for name in entry.names}
    for entry in panel.entries:
        title = str(panel.title) if entry.positional_label else _group_of(entry.names, options)
        shown = entry.copy(default=None) if entry.default in EMPTY or entry.type is bool else entry
        groups.setdefault(title, []).append(shown)
    for title in sorted(groups, key=_title_rank):
        yield panel.copy(title=title, entries=groups[title])


def _group_of(names: tuple[str, ...], options: set[str]) -> str:
    option = names[0].removeprefix("--").partition(".")[0] if names else ""
    if option == "width" and "--height" in options:  # of frames; alone it is the width of a network
        option = "height"
    return next((title for title, group in OPTION_GROUPS.items() if option in group.split()), "Options")


def _title_rank(title: str) -> int:
    titles = [*OPTION_GROUPS]
    return titles.index(title) if title in titles else -1


_COMMANDS = "quickstep.apps.commands"


@dataclass(frozen=True)
class Verb:
    """A verb of the command line: where its function is, what it does, its group in --help, and examples."""

    target: str  # "module:function", imported when the verb is used
    about: str
    group: str
    examples: tuple[str, ...]


def _verbs(group: str, *verbs: tuple[str, str, str, tuple[str, ...]]) -> dict[str, Verb]:
    return {name: Verb(f"{_COMMANDS}.{target}", about, group, examples) for name, target, about, examples in verbs}


COMMANDS = {
    **_verbs(
        "Core",
        ("check", "datasets:check_command", "Find problems of a dataset before training.", ("check DANCES",)),
        ("split", "datasets:split_command", "Split a dataset into train, val and test without leaks.", ("split DANCES -o splits.csv",)),
        (
            "train",
            "training:train_command",
            "Train a classifier on a folder or csv of labelled videos.",
            ("train DANCES -o models/dances --backbone flow-hist", "train splits.csv -o models/dances --recipe balanced"),
        ),
        (
            "evaluate",
            "evaluation:evaluate_command",
            "Measure a model on unseen videos, compared with baselines, in a report.",
            ("evaluate models/dances", "evaluate models/dances --data OTHERS --split all"),
        ),
        (
            "predict",
            "predict:predict_command",
            "Classify videos.",
            ("predict models/dances new.mp4 --top 3", "predict models/dances VIDEOS -o predictions.csv"),
        ),
        (
            "timeline",
            "timeline:timeline_command",
            "Find which move happens when in long videos.",
            ("timeline models/dances long.mp4", "timeline models/dances long.mp4 -o long.srt --draw long.png"),
        ),
        ("app", "deploy:app_command", "Open the web app: try, search, review, train.", ("app", "app models/dances --library LIBRARY")),
    ),
    **_verbs(
        "Data",
        (
            "import-dataset",
            "import_dataset:import_dataset_command",
            "Import public datasets as one manifest: Kinetics, Let's Dance, MMAction2.",
            (),
        ),
        (
            "export-list",
            "datasets:export_list_command",
            "Write a dataset as annotation lists of MMAction2.",
            ("export-list DANCES -o lists",),
        ),
        (
            "preview-augment",
            "training:preview_augment_command",
            "Draw augmented training samples.",
            ("preview-augment DANCES -o samples.png --augment 0.8",),
        ),
    ),
    **_verbs(
        "Analyze",
        ("compare", "evaluation:compare_command", "Test whether one model is better than another.", ("compare models/a models/b",)),
        (
            "learning-curve",
            "evaluation:learning_curve_command",
            "Measure how accuracy grows with labels, and which class needs more.",
            ("learning-curve DANCES --backbone flow-hist",),
        ),
        (
            "index",
            "library:index_command",
            "Add videos to a library that can be searched.",
            ("index LIBRARY VIDEOS --model models/dances",),
        ),
        (
            "search",
            "library:search_command",
            "Search a library by text, by example or by label.",
            ("search LIBRARY 'spins on the head'", "search LIBRARY --like video.mp4@12.5-16 --draw found.png"),
        ),
        ("duplicates", "library:duplicates_command", "Find the same footage in several videos of a library.", ("duplicates LIBRARY",)),
        (
            "evaluate-retrieval",
            "library:evaluate_retrieval_command",
            "Measure the accuracy of a library's search.",
            ("evaluate-retrieval LIBRARY queries.csv",),
        ),
        ("pose", "signals:pose_command", "Find the keypoints of people in videos.", ("pose new.mp4 -o new.npz --draw skeletons.mp4",)),
        (
            "kinematics",
            "signals:kinematics_command",
            "Measure how people move: speed, amplitude, fluidity, tempo, turns.",
            ("kinematics new.mp4 -o measures.csv --draw chart.png",),
        ),
        ("flow", "signals:flow_command", "Draw the optical flow of a video.", ("flow new.mp4 -o flow.mp4",)),
    ),
    **_verbs(
        "Deploy",
        ("serve", "deploy:serve_command", "Serve models over HTTP.", ("serve models/dances --port 8000",)),
        ("token", "deploy:token_command", "Make a token for a client of the service.", ("token studio --tokens tokens.toml",)),
        ("push", "deploy:push_command", "Push a model to a model hub.", ("push models/dances --to owner/dances --dry-run out",)),
        (
            "export-tags",
            "library:export_tags_command",
            "Write the labels of a library's videos as tags for other programs.",
            ("export-tags LIBRARY -o tags.csv",),
        ),
    ),
    **_verbs(
        "Advanced",
        (
            "finetune",
            "training:finetune_command",
            "Fine-tune a pretrained network on labelled videos.",
            ("finetune splits.csv -o models/tuned --unfreeze 2", "finetune splits.csv -o models/i3d --recipe dance-i3d --weights FILE"),
        ),
        (
            "tune",
            "training:tune_command",
            "Search for the settings that are best on validation.",
            ("tune splits.csv -o study --budget 30m",),
        ),
        (
            "zero-shot",
            "models:zero_shot_command",
            "Make a model from text prompts alone.",
            ("zero-shot -o models/prompts --labels windmill,halo,toprock",),
        ),
        (
            "add-class",
            "models:add_class_command",
            "Add a class to a trained model in seconds.",
            ("add-class models/dances moonwalk VIDEOS -o models/more",),
        ),
        (
            "ensemble",
            "models:ensemble_command",
            "Combine several models into one.",
            ("ensemble models/a models/b -o models/both",),
        ),
        (
            "import-model",
            "models:import_model_command",
            "Convert a published CLIP classifier into a model folder.",
            ("import-model FOLDER -o models/imported",),
        ),
        ("recipes", "maintenance:recipes_command", "List the recipes: named settings.", ("recipes", "recipes balanced > own.toml")),
        ("demo", "demo:demo_command", "Make synthetic videos of dancers and run the core commands on them, offline.", ("demo",)),
        ("cache", "maintenance:cache_command", "Show or prune the cache.", ("cache", "cache --prune --unused-days 30")),
        ("doctor", "maintenance:doctor_command", "Check the installation.", ("doctor",)),
    ),
}
GROUPS = {name: Group(name, sort_key=rank) for rank, name in enumerate(dict.fromkeys(verb.group for verb in COMMANDS.values()))}


def _apply_recipe(command: App, names: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in the settings of the recipe that is named, for the options that were left out."""
    recipe = next((argument.tokens[0].value for argument in arguments if argument.name == "--recipe" and argument.tokens), None)
    if recipe is not None:
        from cyclopts.config import Dict

        from quickstep.training.recipes import read_recipe

        settings = read_recipe(recipe, verb=names[-1] if names else None)
        content: dict[str, Any] = {key.rstrip("_").replace("_", "-"): value for key, value in settings.items()}
        for name in reversed(names):  # nested, because a setting may be called like a command
            content = {name: content}
        Dict(content, source=f"the recipe {recipe}")(command, names, arguments)


def _apply_verbosity(command: App, names: tuple[str, ...], arguments: ArgumentCollection) -> None:  # noqa: ARG001 - cyclopts calls it so
    """Set how much is printed, before the command begins."""
    from quickstep.apps.terminal import set_verbosity

    typed = {argument.name for argument in arguments if argument.tokens}
    set_verbosity(quiet="--quiet" in typed, verbose="--verbose" in typed)


def _apply_decoding(command: App, names: tuple[str, ...], arguments: ArgumentCollection) -> None:  # noqa: ARG001 - cyclopts calls it so
    """Set what reading a video may cost, in this process and in those that it starts."""
    options = {f"--{name}": name.replace("-", "_") for name in OPTION_GROUPS["Reading videos"].split()}
    typed = [
        f"{options[argument.name]}={argument.tokens[0].value}" for argument in arguments if argument.name in options and argument.tokens
    ]
    os.environ[DECODING] = ",".join(["isolate=auto", *filter(None, [os.environ.get(DECODING)]), *typed])


def _apply_trust(command: App, names: tuple[str, ...], arguments: ArgumentCollection) -> None:  # noqa: ARG001 - cyclopts calls it so
    """Trust the modules of --trust, and of the classes that a person typed; what a recipe names is not typed."""
    from quickstep.types.registry import SETTINGS_WITH_NAMES, trust, trust_typed

    for argument in arguments:
        typed = [part.strip() for token in argument.tokens for part in token.value.split(",")]
        if argument.name == "--trust":
            trust(*typed)
        elif argument.name.removeprefix("--") in SETTINGS_WITH_NAMES:
            trust_typed(*typed)


app = App(
    name="quickstep",
    version_flags=("--version", "-v"),
    config=(_apply_trust, _apply_recipe, _apply_verbosity, _apply_decoding),
    default_parameter=Parameter(negative_iterable=()),  # an empty list is typed by leaving the option out
    suppress_keyboard_interrupt=False,  # main() handles it, with a message
    help_format="plaintext",  # Markdown would take a third of the time that --help takes
    help_formatter=GroupedHelp(),
    group_commands=Group("General", sort_key=len(GROUPS)),
    help="Recognize moves in video with your own labels: from a folder of labelled videos to a measured classifier.",
    help_epilogue="`quickstep COMMAND --help` explains a command; `quickstep --install-completion` completes commands in your shell.",
)
for _rank, (_name, _verb) in enumerate(COMMANDS.items()):
    _epilogue = "\n".join(("Examples:", *(f"    quickstep {example}" for example in _verb.examples)))
    _more = {"help_epilogue": _epilogue, "version_flags": ()} if _verb.examples else {}
    app.command(_verb.target, name=_name, help=_verb.about, group=GROUPS[_verb.group], sort_key=_rank, **_more)


@app.command(name="--install-completion")
def _install_completion(
    *,
    shell: Literal["zsh", "bash", "fish", "powershell"] | None = None,
    output: Annotated[Path | None, Parameter(name=("--out", "-o"))] = None,
) -> None:
    """Install shell completion for this application.

    Parameters
    ----------
    shell
        the shell (default: the one that runs this command)
    output
        the file to write (default: where the shell looks for it)
    """
    from cyclopts.completion.install import create_install_completion_command  # imported here: it would slow down every command

    create_install_completion_command(app.install_completion, add_to_startup=True)(shell=shell, output=output)


# Errors of a disk, of a folder that cannot be written, or of too many open files: the user's to repair, so no traceback.
_DISK = {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}
_DISK |= {errno.EIO, errno.EMFILE, errno.ENFILE, errno.EFBIG, errno.ESTALE}


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run one command. A user's mistake is one line and exit status 1; a bug keeps its traceback."""
    obey_signals()
    tokens, notes = translate(sys.argv[1:] if arguments is None else arguments)
    for note in notes:
        print(f"note: {note}; the old name works in this release only", file=sys.stderr)
    options_of_command.set(cache(partial(_options, tuple(tokens))))
    try:
        result = app(tokens, result_action="return_value", print_error=False, exit_on_error=False)
        sys.stdout.flush()
    except CycloptsError as error:
        _stop(f"quickstep: {usage_error_text(str(error), ' '.join(_command(tokens)))}", 1)
    except (QuickstepError, ImportError) as error:
        known = error if isinstance(error, QuickstepError) else error.__cause__  # cyclopts wraps the errors of a command's module
        if not isinstance(known, QuickstepError):
            raise
        _stop(f"quickstep: {error_text(known)}", 1)
    except (KeyboardInterrupt, Stopped):
        sys.exit(exit_status())
    except BrokenPipeError:  # the reader of our output went away (quickstep ... | head)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.errno not in _DISK:
            raise
        _stop(f"quickstep: {error.filename or 'the disk'}: {error.strerror}; what was computed is kept", 1)
    finally:
        from quickstep.storage.output_locks import release_all  # imported here: --help of a single command needs nothing of storage

        release_all()
    sys.exit(result if isinstance(result, int) else 0)


def _command(tokens: Sequence[str]) -> tuple[str, ...]:
    """Return the verb, and subcommand, that these tokens call."""
    return tuple(app.parse_commands(tokens)[0])


def _options(tokens: tuple[str, ...]) -> frozenset[str]:
    """Return the names of the options of the command that these tokens call."""
    command: App = app
    for name in _command(tokens):
        command = command[name]
    if command.default_command is None:
        return frozenset()
    return frozenset(name for argument in command.assemble_argument_collection() for name in argument.names if name.startswith("--"))


def _stop(message: str, status: int) -> NoReturn:
    print(escaped(message), file=sys.stderr)
    sys.exit(status)
