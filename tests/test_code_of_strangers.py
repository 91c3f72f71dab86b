"""No code runs that somebody else wrote: not what lies in the current directory, not what a checkpoint or an array brings along."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

import quickstep
from quickstep.apps.web import jobs
from quickstep.training.tuning.worker import Limits

PACKAGE = Path(quickstep.__file__).parent
# The keyword that each call needs, so that a file which it reads cannot bring code.
REQUIRED = {"from_pretrained": ("trust_remote_code", False), "torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
FORBIDDEN = {"eval", "exec", "compile", "__import__", "yaml.load", "yaml.unsafe_load", "os.system", "os.popen"}
FORBIDDEN |= {f"{module}.{name}" for module in ("pickle", "marshal", "joblib", "cloudpickle", "dill") for name in ("load", "loads")}
# Calls that import by a name, with the reason why each may.
IMPORTS_BY_NAME = {
    "__init__.py": "the public names, from a literal table",
    "apps/server/__init__.py": "the public names, from a literal table",
    "apps/web/page_elements.py": "our own pages",
    "evaluation/__init__.py": "the public names, from a literal table",
    "library/__init__.py": "the public names, from a literal table",
    "signals/video/decoder_process.py": "every module of PyAV, before the process may open no more files",
    "training/recipes/__init__.py": "the classes of the configs, from a literal table",
    "types/registry.py": "the one place that looks a name up",
}


def unclear(call: ast.Call) -> set[str | None]:
    """Return the keywords of a call of subprocess whose value is no constant."""
    if not ast.unparse(call.func).startswith("subprocess."):
        return set()
    return {word.arg for word in call.keywords if not isinstance(word.value, ast.Constant)}


def problems(tree: ast.AST) -> Iterator[str]:
    """Yield each call that may run code of others, in words."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        keywords = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
        if name in FORBIDDEN:
            yield f"line {node.lineno}: {name}"
        if (name.startswith("subprocess.") and keywords.get("shell", False) is not False) or "shell" in unclear(node):
            yield f"line {node.lineno}: shell="
        for call, (keyword, value) in REQUIRED.items():
            if (name == call or name.endswith(f".{call}")) and keywords.get(keyword) is not value:
                yield f"line {node.lineno}: {name} without {keyword}={value}"


def test_no_call_in_the_package_runs_code_from_a_file() -> None:
    found = {str(file.relative_to(PACKAGE)): list(problems(ast.parse(file.read_text("utf-8")))) for file in PACKAGE.rglob("*.py")}
    assert len(found) > 200
    assert {file: lines for file, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "code",
    [
        "AutoModel.from_pretrained(folder)",
        "AutoModel.from_pretrained(folder, trust_remote_code=True)",
        "AutoModel.from_pretrained(folder, trust_remote_code=answer)",
        "torch.load(file)",
        "np.load(file, allow_pickle=True)",
        "eval(text)",
        "yaml.load(text)",
        "subprocess.run(text, shell=True)",
        "subprocess.run(text, shell=wanted)",
        "pickle.loads(data)",
    ],
)
def test_the_check_finds(code: str) -> None:
    assert len(list(problems(ast.parse(code)))) == 1


def test_only_named_files_import_by_name() -> None:
    importing = {str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py") if "import_module(" in file.read_text("utf-8")}
    assert importing == set(IMPORTS_BY_NAME)


# -- the current directory ----------------------------------------------------------------------------------------------------


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """Return a folder with files under the names of libraries that quickstep imports; each leaves a trace when it runs."""
    for name in ("cyclopts", "numpy", "rich", "typing", "errno", "json", "optuna", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\nraise SystemExit(9)\n")
    return tmp_path


@pytest.fixture
def whole_trap(trap: Path) -> Path:
    """Return the same with what Python itself imports for `-m`, before any file of ours: only its option -P helps there."""
    (trap / "importlib.py").write_text((trap / "cyclopts.py").read_text())
    return trap


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *filter(None, sys.path)])}


CONSOLE_SCRIPT = (
    "import sys; sys.path[0:1] = [sys.prefix + '/bin']; sys.argv = ['quickstep', '--version']; from quickstep.apps.cli import main; main()"
)


@pytest.mark.parametrize("start", [["-m", "quickstep", "--version"], ["-c", CONSOLE_SCRIPT]], ids=["module", "script"])
def test_a_start_runs_nothing_of_the_current_directory(trap: Path, start: list[str]) -> None:
    ended = subprocess.run([sys.executable, *start], cwd=trap, env=environment(), capture_output=True, text=True)
    assert not (trap / "ran").exists(), ended.stderr
    assert ended.stdout.strip() == quickstep.__version__


def test_a_job_of_the_app_runs_nothing_of_the_current_directory(whole_trap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = whole_trap
    monkeypatch.chdir(trap)
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    job = jobs.Job("version", [["--version"]], trap)
    job._run()
    assert not (trap / "ran").exists()
    assert job.status == 0, job.log


def test_a_worker_of_tune_runs_nothing_of_the_current_directory(whole_trap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = whole_trap
    started: list[list[str]] = []
    module = import_module("quickstep.training.tuning.tune")  # the package gives the function of that name
    monkeypatch.setattr(module, "subprocess", SimpleNamespace(Popen=lambda command, env: started.append(command)))
    module._start_worker(trap, 1, Limits(), 1)
    ended = subprocess.run([*started[0][:-2], str(trap / "missing"), "{}"], cwd=trap, env=environment(), capture_output=True, text=True)
    assert not (trap / "ran").exists()
    assert "there is no study" in ended.stderr  # our own words: the worker came as far as looking for it
