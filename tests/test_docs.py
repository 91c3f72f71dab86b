"""The commands of every documentation page run as written, on synthetic dancers; links and commands exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import checkpoints
import pytest

from quickstep.apps.cli import COMMANDS
from quickstep.apps.option_names import RENAMED_VERBS
from quickstep.datasets.synthetic import DemoConfig, draw_dancers

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Make the folder that the pages assume: DANCES/ with a folder for each move, dances.csv beside it, and a tiny network in clip/."""
    config = DemoConfig(moves=("windmill", "halo", "toprock"), videos=7, dancers=7, seconds=1.2, width=160, height=120)
    listing = draw_dancers(tmp_path / "DANCES", config)
    rows = listing.read_text(encoding="utf-8").splitlines()
    listing.unlink()
    (tmp_path / "dances.csv").write_text("\n".join([rows[0], *(f"DANCES/{row}" for row in rows[1:])]) + "\n", encoding="utf-8")
    checkpoints.save("clip", tmp_path / "clip")
    return tmp_path


def runnable() -> list[Any]:
    """Return the pages with commands; running them is slow."""
    return [pytest.param(page, id=page.name, marks=[pytest.mark.slow, pytest.mark.timeout(900)]) for page in PAGES if blocks(page, "sh")]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", runnable())
def test_the_commands_of_a_page_run_as_written(page: Path, workspace: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for script in [
        *(["bash", "-euo", "pipefail", "-c", block] for block in blocks(page, "sh")),
        *([sys.executable, "-c", b] for b in blocks(page, "python")),
    ]:
        result = subprocess.run(script, cwd=workspace, capture_output=True, text=True, env={**os.environ, "PATH": path})
        assert result.returncode == 0, f"{script[-1]}\n{result.stdout}\n{result.stderr}"
        assert result.stdout or result.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_exist(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_a_page_exists(page: Path) -> None:
    commands = set(
        re.findall(
            r"\bquickstep ([a-z][a-z-]+)(?= |`|$)",
            "\n".join(re.findall(r"`[^`\n]+`|^ {4}quickstep .*$", page.read_text(encoding="utf-8"), re.M)),
        )
    )
    earlier = RENAMED_VERBS.keys() if page.name == "CHANGELOG.md" else set()
    assert commands <= COMMANDS.keys() | earlier
