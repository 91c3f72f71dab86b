"""How the command line spells names: settings in messages as options, and verbs and options of version 0.1 under their new names."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from contextvars import ContextVar
from difflib import get_close_matches

from quickstep.types.errors import ConfigError, QuickstepError

# Each old name works for one more release; a line on stderr names the new one.
RENAMED_VERBS = {
    "augment": "preview-augment",
    "collect": "import-dataset",
    "fuse": "ensemble",
    "motion": "kinematics",
    "publish": "push",
    "scan": "check",
}

# verb -> old option -> what is typed now; a flag may have become an option with a value.
RENAMED_OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "app": {"--address": ("--host",), "--roots": ("--data-folder",)},
    "check": {"--fold": ("--official-split",)},
    "evaluate": {"--fold": ("--official-split",)},
    "export-list": {"--form": ("--format",)},
    "export-tags": {"--least": ("--min-share",)},
    "finetune": {
        "--blocks": ("--unfreeze",),
        "--clip": ("--grad-clip",),
        "--every": ("--step-epochs",),
        "--fold": ("--official-split",),
        "--measure": ("--metric",),
        "--memory": ("--frame-cache-gb",),
        "--output": ("--embedding",),
    },
    "index": {"--hop": ("--stride",)},
    "kinematics": {"--csv": ("--out",), "--hop": ("--stride",), "--plot": ("--draw",)},
    "learning-curve": {"--words": ("--prompts",)},
    "predict": {"--csv": ("--format", "csv"), "--json-lines": ("--format", "jsonl")},
    "preview-augment": {"--fold": ("--official-split",)},
    "search": {"--sheet": ("--draw",)},
    "serve": {"--patience": ("--timeout",), "--workers": ("--decoders",)},
    "split": {"--fold": ("--official-split",)},
    "timeline": {
        "--hop": ("--stride",),
        "--shortest": ("--min-duration",),
        "--steadiness": ("--smoothing",),
        "--unsure": ("--min-confidence",),
    },
    "train": {"--fold": ("--official-split",), "--output": ("--embedding",), "--words": ("--prompts",)},
    "tune": {"--measure": ("--metric",), "--output": ("--embedding",), "--words": ("--prompts",)},
}

# verb -> option -> old value -> new value; the option may have several values, separated by commas.
RENAMED_VALUES = {"tune": {"--over": {"blocks": "unfreeze"}}}

# What other tools call an option, and what it is called here; an unknown option is answered with it.
SYNONYMS = {
    "--arch": "--backbone",
    "--batch-size": "--batch",
    "--bs": "--batch",
    "--checkpoint": "--weights",
    "--gpu": "--device",
    "--lr": "--learning-rate",
    "--model": "--backbone",
    "--num-epochs": "--epochs",
    "--num-frames": "--frames",
    "--num-workers": "--workers",
    "--output": "--out",
    "--output-dir": "--out",
    "--output-file": "--out",
    "--save": "--out",
    "--step": "--stride",
    "--threshold": "--min-confidence",
    "--top-k": "--top",
    "--topk": "--top",
    "--wd": "--weight-decay",
}


def translate(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return a command line in today's names, and one note for each name of version 0.1 that it had."""
    if not arguments:
        return [], []
    if arguments[0] == "help":
        return [*arguments[1:], "--help"], []
    notes = []
    verb = RENAMED_VERBS.get(arguments[0], arguments[0])
    if verb != arguments[0]:
        notes.append(f"`{arguments[0]}` is now `{verb}`")
    renamed, renamed_values = RENAMED_OPTIONS.get(verb, {}), RENAMED_VALUES.get(verb, {})
    tokens = [verb]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    for token in arguments[1:end]:
        option, equals, value = token.partition("=")
        if option in renamed:
            new = renamed[option]
            tokens += [f"{new[0]}={value}"] if equals else new
            notes.append(f"{option} is now {' '.join(new)}")
        elif equals and option in renamed_values:
            tokens.append(f"{option}={_new_values(option, value, renamed_values[option], notes)}")
        elif tokens[-1] in renamed_values:
            tokens.append(_new_values(tokens[-1], token, renamed_values[tokens[-1]], notes))
        elif token == "-" and tokens[-1] == "--access-log":  # cyclopts would take it for an option
            tokens[-1] = "--access-log=-"
        else:
            tokens.append(token)
    return [*tokens, *arguments[end:]], notes


def _new_values(option: str, values: str, renamed: dict[str, str], notes: list[str]) -> str:
    """Return the values of an option in today's names; add a note for each old one."""
    old = values.split(",")
    notes += [f"{option} {value} is now {option} {renamed[value]}" for value in old if value in renamed]
    return ",".join(renamed.get(value, value) for value in old)


_UNKNOWN_OPTION = re.compile(r"Unknown option: (?P<option>--[\w-]+)")
_MISSING_VALUE = re.compile(r'(?:Command ".*?" )?[Pp]arameter "?(?P<name>[^"]+?)"? requires an argument')
_UNUSED = re.compile(r"Unused Tokens: \[(?P<tokens>.*)\]")
_SIMILAR = 0.75  # how like an option what was typed must be to be suggested
_SETTING = re.compile(r"`(?P<name>[a-z][a-z0-9_]*)(=(?P<value>[^`]*))?`")
# The options of the command that runs; `say` and the errors name settings as these.
options_of_command: ContextVar[Callable[[], Collection[str]]] = ContextVar("options_of_command", default=tuple)


def error_text(error: QuickstepError) -> str:
    """Return an error's message with its settings named as options of the command that runs."""
    if not isinstance(error, ConfigError):
        return as_options(str(error))
    return as_options(f"`{error.field}`").strip("`") + as_options(str(error).removeprefix(error.field))


def usage_error_text(message: str, verb: str) -> str:
    """Return what is wrong with a command line, with the option that was meant and where help is."""
    unknown = _UNKNOWN_OPTION.match(message)
    if unknown:
        message = unknown_option_text(unknown["option"])
    missing, unused = _MISSING_VALUE.match(message), _UNUSED.match(message)
    if missing:
        message = f"{missing['name']} is missing{' or has no value' if missing['name'].startswith('-') else ''}"
    elif unused:
        message = f"unexpected argument: {unused['tokens']}"
    first = message[0] if missing else message[:1].lower()  # the name of an argument keeps its capitals
    return f"{first}{message[1:]} (`quickstep {verb}{' ' if verb else ''}--help` explains)"


def unknown_option_text(typed: str) -> str:
    """Return that an option does not exist, with the one that was probably meant."""
    options, meant = options_of_command.get()(), SYNONYMS.get(typed)
    near = [meant] if meant in options else get_close_matches(typed, options, 1, _SIMILAR)
    return f"unknown option: {typed}" + (f". Did you mean {near[0]}?" if near else "")


def as_options(text: str) -> str:
    """Write the settings in a message, `name` or `name=value`, as options of the command that runs: --name value."""
    if "`" not in text:
        return text
    options = options_of_command.get()()

    def option(setting: re.Match[str]) -> str:
        name = f"--{setting['name'].rstrip('_').replace('_', '-')}"
        if name not in options:
            return setting[0]
        value = (setting["value"] or "").strip("\"'")
        return name if value in ("", "True") else f"{name} {value}"

    return _SETTING.sub(option, text)
