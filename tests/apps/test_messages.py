"""Messages name only options and settings that exist, in the notation that the command line can translate."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import quickstep
from quickstep.apps.cli import COMMANDS, app

PACKAGE = Path(quickstep.__file__).parent
OPTION = re.compile(r"(?<![\w-])--(?P<name>[a-z][a-z0-9-]*)")
SETTING = re.compile(r"`(?P<name>[a-z][a-z0-9_]*)=[^`]*`")
OF_OTHER_PROGRAMS = {"force-reinstall", "no-deps", "token-file"}  # pip
PYTHON_ONLY = {
    "limit",
    "manifest",
    "query",
    "name",
    "reports",
    "models",
    "inputs",
    "pictures",
    "videos",
    "moves",
    "data",
    "mapping",
    "signals",
}
OF_HEADS = {"streams", "steps"}  # given as --head-settings.NAME


@cache
def options() -> frozenset[str]:
    """Every option and argument of every verb, without its dashes."""
    names: set[str] = {"help", "version", "install-completion"}
    for verb in COMMANDS:
        command = app[verb]
        for part in [command[name] for name in ("kinetics", "lets-dance", "mmaction", "merge")] if verb == "import-dataset" else [command]:
            for argument in part.assemble_argument_collection():
                names |= {name.lstrip("-").lower() for name in argument.names}
    return frozenset(names)


def strings() -> Iterator[tuple[str, str]]:
    """Every string of the package that is not a docstring, with its place."""
    for file in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                yield f"{file.relative_to(PACKAGE)}:{node.lineno}", node.value


def test_every_option_in_a_message_exists() -> None:
    skipped = ("apps/option_names.py", "apps/web/")
    wrong = [
        (place, name)
        for place, text in strings()
        for name in OPTION.findall(text)
        if not place.startswith(skipped) and name not in options() | OF_OTHER_PROGRAMS and not name.startswith("no-")
    ]
    assert not wrong


def test_every_setting_in_a_message_exists() -> None:
    wrong = [
        (place, name) for place, text in strings() for name in SETTING.findall(text) if name.rstrip("_").replace("_", "-") not in options()
    ]
    assert not wrong


def test_every_config_error_names_a_setting_or_an_argument() -> None:
    wrong = []
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ConfigError" and node.args
            if named and isinstance(first := node.args[0], ast.Constant):  # type: ignore[attr-defined]
                name = str(first.value).replace("_", "-")
                if name not in options() | PYTHON_ONLY | OF_HEADS:
                    wrong.append((f"{file.relative_to(PACKAGE)}:{node.lineno}", name))  # type: ignore[attr-defined]
    assert not wrong
