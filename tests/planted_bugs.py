"""Plant bugs, one at a time, in a copy of the code, and report which of them the tests catch: `make planted-bugs`.

A bug is one line of code changed to something that runs and is wrong. Its tests should fail. A bug that survives is a missing test.
`tests/planted_bugs.toml` lists the bugs: file, the text before, the text after, and the tests to run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_suffix(".toml")
COPIED = ("quickstep", "tests", "containers", "docs", "benchmarks", "pyproject.toml", "README.md", "CONTRIBUTING.md")


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
        path.write_text(text.replace(self.before, self.after), encoding="utf-8")
        return text


def read_bugs(names: Sequence[str] = ()) -> list[Bug]:
    """Return the bugs of the list whose names contain one of `names`; all of them by default."""
    rows = tomllib.loads(LIST.read_text(encoding="utf-8"))["bug"]
    bugs = [Bug(row["name"], row["file"], row["before"], row["after"], tuple(row["tests"])) for row in rows]
    return [bug for bug in bugs if not names or any(name in bug.name for name in names)]


def outcome(bug: Bug, tree: Path, environment: dict[str, str]) -> str:
    """Plant the bug, run its tests and take it out again: caught, survived or out of date."""
    try:
        text = bug.plant(tree)
    except ValueError as error:
        return f"out of date: {error}"
    try:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow and not browser", *bug.tests]
        run = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    finally:
        (tree / bug.file).write_text(text, encoding="utf-8")
    if run.returncode not in (0, 1):
        return f"out of date: pytest ended with {run.returncode}: {run.stdout.strip().splitlines()[-1:]}"
    return "caught" if run.returncode == 1 else "survived"


def main() -> int:
    """Print one line a bug and the sum; 1 where a bug survived or the list is out of date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only bugs whose name contains one of these")
    bugs = read_bugs(parser.parse_args().names)
    counts: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="planted-bugs-") as place:
        tree = Path(place)
        for name in COPIED:
            source = ROOT / name
            shutil.copytree(source, tree / name) if source.is_dir() else shutil.copy(source, tree / name)
        environment = {**os.environ, "PYTHONPATH": f"{tree}{os.pathsep}{tree / 'tests' / 'helpers'}", "OMP_NUM_THREADS": "1"}
        for bug in bugs:
            start = time.monotonic()
            result = outcome(bug, tree, environment)
            counts[result.split(":")[0]] = counts.get(result.split(":")[0], 0) + 1
            print(f"{result:<10}  {bug.name}  ({time.monotonic() - start:.0f} s)", flush=True)
    print("; ".join(f"{count} {result}" for result, count in sorted(counts.items())))
    return int(set(counts) != {"caught"})


if __name__ == "__main__":
    sys.exit(main())
