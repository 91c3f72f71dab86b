"""What the documents tell people to type works, in the order they tell it, on drawn dancers."""

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
from quickstep.datasets.synthetic import DemoConfig, draw_dancers

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder as the pages assume it: DANCES/ with a folder per move, dances.csv beside it, and a tiny network in clip/."""
    drawn = DemoConfig(moves=("windmill", "halo", "toprock"), videos=7, dancers=7, seconds=1.2, width=160, height=120)
    listed = draw_dancers(tmp_path / "DANCES", drawn)
    rows = listed.read_text(encoding="utf-8").splitlines()
    listed.unlink()
    (tmp_path / "dances.csv").write_text("\n".join([rows[0], *(f"DANCES/{row}" for row in rows[1:])]) + "\n", encoding="utf-8")
    checkpoints.save("clip", tmp_path / "clip")
    return tmp_path


def runnable() -> list[Any]:
    """The pages with commands; they take their time."""
    return [pytest.param(page, id=page.name, marks=pytest.mark.slow) for page in PAGES if blocks(page, "sh")]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", runnable())
def test_what_a_page_tells_to_type_runs_as_written(page: Path, desk: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for script in [
        *(["bash", "-euo", "pipefail", "-c", block] for block in blocks(page, "sh")),
        *([sys.executable, "-c", b] for b in blocks(page, "python")),
    ]:
        done = subprocess.run(script, cwd=desk, capture_output=True, text=True, env={**os.environ, "PATH": path})
        assert done.returncode == 0, f"{script[-1]}\n{done.stdout}\n{done.stderr}"
        assert done.stdout or done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_only_commands_that_exist(page: Path) -> None:
    named = set(
        re.findall(
            r"\bquickstep ([a-z][a-z-]+)(?= |`|$)",
            "\n".join(re.findall(r"`[^`\n]+`|^ {4}quickstep .*$", page.read_text(encoding="utf-8"), re.M)),
        )
    )
    assert named <= COMMANDS.keys()
