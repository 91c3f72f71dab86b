"""Two commands at once: the second one is told, and nothing is left of the lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import call

from quickstep.storage.output_locks import release_all, reserve
from quickstep.types.errors import ConfigError

HOLD = "import sys; from quickstep.storage.output_locks import reserve\nreserve(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


@pytest.fixture(autouse=True)
def nothing_held() -> Iterator[None]:
    yield
    release_all()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Reserve new/out.csv in another process, until its stdin is closed."""
    place = str(tmp_path / "new" / "out.csv")
    with subprocess.Popen([sys.executable, "-c", HOLD, place], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("spelling", ["new/out.csv", "new/../new/out.csv", "link/out.csv"])
def test_the_second_process_is_told_under_every_spelling(tmp_path: Path, holder: subprocess.Popen[str], spelling: str) -> None:
    (tmp_path / "link").symlink_to("new")
    with pytest.raises(ConfigError, match="another quickstep is writing"):
        reserve(tmp_path / spelling)
    reserve(tmp_path / "new" / "other.csv")


@pytest.mark.skipif(os.name == "nt", reason="sends a signal")
def test_a_killed_process_holds_nothing(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    reserve(tmp_path / "new" / "out.csv")
    release_all()
    assert list((tmp_path / "new").iterdir()) == []


def test_nothing_is_left_of_a_lock_and_the_folders_made_for_it(tmp_path: Path) -> None:
    reserve(tmp_path / "a" / "b" / "out.csv")
    reserve(tmp_path / "a" / "b" / "out.csv")  # by the same process
    release_all()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_left_to_the_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    reserve(tmp_path / "file" / "out.csv")
    reserve("/dev/null")


IMPORT = ("import-dataset", "mmaction", "list.txt", "--classes", "classes.txt")


@pytest.mark.parametrize("words", [IMPORT, ("timeline", "model", "x.mp4")])
def test_a_command_is_told_that_another_one_writes_there(
    tmp_path: Path, holder: subprocess.Popen[str], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, error = call(capsys, *words, "-o", tmp_path / "new" / "out.csv")
    assert status == 1
    assert "another quickstep is writing" in error
