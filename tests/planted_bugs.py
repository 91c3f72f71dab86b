"""Plant bugs, one at a time, in a copy of the code, and report which of them the tests catch: `make planted-bugs`.

A bug is one line of code changed to something that runs and is wrong. Its tests should fail. A bug that survives is a missing test.
`tests/planted_bugs.toml` lists the bugs: file, the text before, the text after, and the tests to run.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_suffix(".toml")
COPIED = ("quickstep", "tests", "containers", "docs", "benchmarks", "pyproject.toml", "README.md", "CONTRIBUTING.md")
TIMEOUT = 1800.0  # seconds: tests that a bug keeps from ending are tests that notice it
OPTIONS = ("-q", "-x", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning", "-m", "not slow and not browser")
BROKEN = 70  # the exit status where pytest itself failed
# Imported once for all bugs.
PRELOADED = ["hypothesis", "numpy", "scipy.stats", "scipy.optimize", "sklearn.linear_model", "torch", "av", "cv2", "PIL.Image"]


@dataclass(frozen=True)
class Bug:
    """One change of the code that a test should notice."""

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]

    def plant(self, tree: Path) -> str:
        """Change the copy and give the text that was there; ValueError where the list no longer fits the code."""
        path = tree / self.file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if text.count(self.before) != 1:
            raise ValueError(f"{self.file} holds {self.before!r} {text.count(self.before)} times, not once")
        write_code(path, text.replace(self.before, self.after))
        return text


def write_code(path: Path, text: str) -> None:
    """Write a module and remove its bytecode, which Python takes for current where both were written within a second."""
    path.write_text(text, encoding="utf-8")
    for file in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        file.unlink()


def read_bugs(names: Sequence[str] = ()) -> list[Bug]:
    """Return the bugs of the list whose names contain one of `names`; all of them by default."""
    rows = tomllib.loads(LIST.read_text(encoding="utf-8"))["bug"]
    bugs = [Bug(row["name"], row["file"], row["before"], row["after"], tuple(row["tests"])) for row in rows]
    return [bug for bug in bugs if not names or any(name in bug.name for name in names)]


def run_tests(tests: Sequence[str], tree: Path) -> int | None:
    """Run the tests of the copy in a process of their own; return pytest's exit status, or None where they do not end."""
    process = multiprocessing.get_context("forkserver").Process(target=_run_pytest, args=(tests, tree))
    process.start()
    process.join(TIMEOUT)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    return process.exitcode


def _run_pytest(tests: Sequence[str], tree: Path) -> None:
    import pytest

    os.setsid()
    os.chdir(tree)
    paths = [str(tree), str(tree / "tests" / "helpers")]
    sys.path[:0] = paths
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - os.devnull is a name, not a path
        os.dup2(nowhere.fileno(), 1)
    try:
        status = int(pytest.main([*OPTIONS, f"--basetemp={tree / 'temporary'}", *tests]))
    except Exception:
        traceback.print_exc()
        status = BROKEN
    sys.exit(status)


def outcome(bug: Bug, tree: Path) -> str:
    """Plant the bug, run its tests and take it out again: caught, survived or out of date."""
    try:
        text = bug.plant(tree)
    except ValueError as error:
        return f"out of date: {error}"
    try:
        status = run_tests(bug.tests, tree)
    finally:
        write_code(tree / bug.file, text)
    if status not in (0, 1, None):
        return f"out of date: pytest ended with {status}"
    return "survived" if status == 0 else "caught"


def main() -> int:
    """Print one line a bug and the sum; 1 where a bug survived, the list is out of date or the tests fail without a bug."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only bugs whose name contains one of these")
    parser.add_argument("--trust", action="store_true", help="do not run the tests without a bug first")
    arguments = parser.parse_args()
    bugs = read_bugs(arguments.names)
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    os.environ["OMP_NUM_THREADS"] = "1"
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="planted-bugs-") as place:
        tree = Path(place)
        for name in COPIED:
            source = ROOT / name
            shutil.copytree(source, tree / name) if source.is_dir() else shutil.copy(source, tree / name)
        if not arguments.trust and run_tests(sorted({test for bug in bugs for test in bug.tests}), tree) != 0:
            print("the tests fail without a bug: mend them first")
            return 1
        for bug in bugs:
            start = time.monotonic()
            result = outcome(bug, tree)
            counts[result.split(":")[0]] = counts.get(result.split(":")[0], 0) + 1
            print(f"{result:<10}  {bug.name}  ({time.monotonic() - start:.0f} s)", flush=True)
    print("; ".join(f"{count} {result}" for result, count in sorted(counts.items())))
    return int(set(counts) != {"caught"})


if __name__ == "__main__":
    sys.exit(main())
