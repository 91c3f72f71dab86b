"""Commands that are killed or whose disk fails at any change of a file: nothing is lost, nothing half-written is taken for whole.

`tests/kill_test.py` (`make kill-test`) kills more often. A failure names the change; `Killer(name, ...).kill(at, how)` repeats it.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import FAIL, FAIL_FROM, KILLS, Faults
from kill_scenarios import SCENARIOS, Killer, stage

KILLED = 20  # times each command
FAILED = 6  # moments for each error, once and lasting
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE)

# Each writes the word in `word` to durable files, and prints nothing. READ prints what is there.
WRITE = {
    "file": "from quickstep.storage.files import write_text; write_text('new/one.txt', open('word').read() * 9000)",
    "folder": """
from quickstep.storage.model_folder import FolderLayout, write
word = open('word').read()
write('model', {'a.bin': word.encode() * 5, 'sub/b.bin': word.encode() * 9}, {'word': word}, FolderLayout(subfolders=('sub',)))
""",
    "predictions": """
from quickstep.storage.files import write_csv
write_csv('rows.csv', ('path', 'label'), [(str(number), open('word').read()) for number in range(500)])
""",
}
READ = {
    "file": "import pathlib; print(set(pathlib.Path('new/one.txt').read_text().split()))",
    "folder": """
from quickstep.storage.model_folder import FolderLayout, read
record, files = read('model', FolderLayout(subfolders=('sub',)))
print(record['word'], files['a.bin'], open('model/sub/b.bin').read())
""",
    "predictions": "import csv; print({row['label'] for row in csv.DictReader(open('rows.csv'))})",
}


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faults]:
    with Faults(tmp_path_factory.mktemp("faults"), light=True) as running:
        yield running


def old_content(faults: Faults, name: str, root: Path) -> tuple[Path, str]:
    """Write "old ", and leave the word for the next write."""
    root.mkdir()
    (root / "word").write_text("old ")
    ended = faults.run(["-c", WRITE[name]], root)
    assert ended.status == 0, ended.message()
    (root / "word").write_text("new ")
    return root, faults.run(["-c", READ[name]], root).out


def check_kill(faults: Faults, name: str, root: Path, at: int, how: str) -> None:
    """Kill the write of "new " over "old " at one change; read, write again, read."""
    root, old = old_content(faults, name, root)
    new = old.replace("old", "new")
    killed = faults.run(["-c", WRITE[name]], root, mode=KILLS[how], at=at)
    what = f"killed {how} change {at}: {killed.log[-1:]}"
    assert killed.was_killed, f"{what}: {killed.message()}"
    assert faults.run(["-c", READ[name]], root).out in (old, new), what
    again = faults.run(["-c", WRITE[name]], root)
    assert again.status == 0, f"{what}: {again.message()}"
    assert faults.run(["-c", READ[name]], root).out == new, what
    assert [path.name for path in root.rglob(".*")] == [], f"{what}: files are left"


def log_of(faults: Faults, name: str, root: Path) -> tuple[str, ...]:
    """Return the changes that a write over an older one makes."""
    root, _ = old_content(faults, name, root)
    return faults.run(["-c", WRITE[name]], root).log


@pytest.mark.parametrize("name", sorted(WRITE))
def test_a_kill_leaves_the_old_content_or_the_new(faults: Faults, tmp_path: Path, name: str) -> None:
    calls = len(log_of(faults, name, tmp_path / "undisturbed"))
    assert calls >= 5, "the library does not see the changes"
    for at in range(1, calls + 1, max(1, calls // 5)):
        check_kill(faults, name, tmp_path / str(at), at, sorted(KILLS)[at % len(KILLS)])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(WRITE))
def test_a_kill_at_every_moment_leaves_the_old_content_or_the_new(faults: Faults, tmp_path: Path, name: str) -> None:
    for at in range(1, len(log_of(faults, name, tmp_path / "undisturbed")) + 1):
        for how in KILLS:
            check_kill(faults, name, tmp_path / f"{at}-{how}", at, how)


def check_error(faults: Faults, name: str, root: Path, at: int, *, error: int, mode: int) -> None:
    """Let a change of the write of "new " over "old " fail: it raises, or it is complete; the old content stays or the new is there."""
    root, old = old_content(faults, name, root)
    new = old.replace("old", "new")
    ended = faults.run(["-c", WRITE[name]], root, mode=mode, at=at, error=error)
    found = faults.run(["-c", READ[name]], root).out
    what = f"{errno.errorcode[error]} at change {at}: {ended.log[at - 1 : at]}"
    assert found in (old, new), what
    assert found == new or os.strerror(error) in ended.err, f"{what}: no error was raised, and the old content is there"


@pytest.mark.parametrize("name", sorted(WRITE))
def test_a_write_that_fails_raises_and_keeps_the_old_content(faults: Faults, tmp_path: Path, name: str) -> None:
    calls = len(log_of(faults, name, tmp_path / "undisturbed"))
    for at in range(1, calls + 1, max(1, calls // 5)):
        check_error(faults, name, tmp_path / str(at), at, error=ERRORS[at % 3], mode=(FAIL, FAIL_FROM)[at % 2])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(WRITE))
def test_no_write_that_fails_loses_the_old_content(faults: Faults, tmp_path: Path, name: str) -> None:
    for at in range(1, len(log_of(faults, name, tmp_path / "undisturbed")) + 1):
        for error in ERRORS:
            for mode in (FAIL, FAIL_FROM):
                check_error(faults, name, tmp_path / f"{at}-{error}-{mode}", at, error=error, mode=mode)


# -- order of the calls ------------------------------------------------------------------------------------------------------


def check_order(log: tuple[str, ...]) -> int:
    """Check that what is renamed was synced before, and its folder afterwards; return how often files were renamed."""
    calls = [(words[1], words[2]) for line in log if len(words := line.split(" ", 2)) == 3]
    calls = [(call, path.removesuffix("/")) for call, path in calls if not path.startswith("cache/")]
    renamed = 0
    for place, (call, path) in enumerate(calls):
        if call != "rename":
            continue
        folder = os.path.dirname(path)  # noqa: PTH120 - a path in the log, with "." for the root
        synced_before = [os.path.dirname(one) for did, one in calls[:place] if did == "fsync"]  # noqa: PTH120
        synced_after = [one for did, one in calls[place:] if did == "fsync"]
        assert folder in synced_before or os.path.dirname(folder) in synced_before, f"{path} was renamed before it was synced"  # noqa: PTH120
        assert folder in synced_after, f"the folder {folder or '.'} was not synced after {path} was renamed"
        renamed += 1
    return renamed


@pytest.mark.parametrize("name", sorted(WRITE))
def test_files_are_synced_then_renamed_then_their_folder_is_synced(faults: Faults, tmp_path: Path, name: str) -> None:
    assert check_order(log_of(faults, name, tmp_path / "root")) > 0


# -- whole commands ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stage(tmp_path_factory.mktemp("stage") / "stage")


@pytest.fixture
def killer(request: pytest.FixtureRequest, staged: Path, tmp_path: Path) -> Iterator[Killer]:
    made = Killer(request.param, staged, tmp_path)
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("killer", SCENARIOS, indirect=True)
def test_a_killed_command_comes_to_the_same_end(killer: Killer, capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("KILL_SEED") or random.randrange(2**32))
    with capsys.disabled():
        print(f"\n{killer.scenario.words[0]}: KILL_SEED={seed}")
    for number in range(KILLED):
        killer.random_kill(seed, number)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("killer", SCENARIOS, indirect=True)
def test_a_command_whose_disk_fails_says_so_and_loses_nothing(killer: Killer) -> None:
    for error in ERRORS:
        for lasting in (False, True):
            for at in range(1, killer.calls + 1, max(1, killer.calls // FAILED)):
                killer.fail(at, error, lasting=lasting)


@pytest.mark.slow
@pytest.mark.parametrize("killer", ["train", "predict -o", "timeline", "import-dataset", "review", "finetune"], indirect=True)
def test_the_files_of_a_command_are_synced_before_and_after_they_are_renamed(killer: Killer) -> None:
    assert check_order(killer.log) > 0
