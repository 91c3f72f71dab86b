"""Atomic writes: the whole new file or the old one, and nothing left behind."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from quickstep.storage import files
from quickstep.storage.files import is_temporary, replacing, write_bytes, write_csv, write_text


def test_bytes_and_text_are_written_as_given_into_new_folders(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b" / "one.bin", b"\x00\r\n")
    write_text(tmp_path / "a" / "two.txt", "Pirouette é\r\n")
    assert (tmp_path / "a" / "b" / "one.bin").read_bytes() == b"\x00\r\n"
    assert (tmp_path / "a" / "two.txt").read_bytes() == "Pirouette é\r\n".encode()
    assert sorted(entry.name for entry in (tmp_path / "a").iterdir()) == ["b", "two.txt"]


def test_a_text_with_a_surrogate_needs_to_be_allowed(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "list.txt", name)
    assert list(tmp_path.iterdir()) == []
    write_text(tmp_path / "list.txt", name, errors="surrogateescape")
    assert (tmp_path / "list.txt").read_bytes() == b"caf\xe9.mp4"


@pytest.mark.parametrize("value", ['plain, "quoted"', "two\nlines", "a\rcarriage return", "", "é"])
def test_csv_is_read_again_as_it_was_written(tmp_path: Path, value: str) -> None:
    write_csv(tmp_path / "rows.csv", ("path", "label"), [("one", value), (2, "x")])
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["path", "label"], ["one", value], ["2", "x"]]


def test_a_failed_write_keeps_the_old_file_and_removes_the_temporary_one(tmp_path: Path) -> None:
    target = tmp_path / "model.bin"
    write_bytes(target, b"old")

    def fail() -> None:
        with replacing(target) as temporary:
            temporary.write_bytes(b"half")
            assert temporary.parent == tmp_path
            assert is_temporary(temporary)
            assert target.read_bytes() == b"old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert target.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.bin"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "nothing.bin"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_on_the_disk_before_it_is_renamed_and_the_folder_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    rename, sync = Path.replace, os.fsync

    def record_rename(source: Path, target: Path) -> Path:
        events.append("rename")
        return rename(source, target)

    def record_sync(handle: int) -> None:
        events.append("sync")
        sync(handle)

    monkeypatch.setattr(Path, "replace", record_rename)
    monkeypatch.setattr(os, "fsync", record_sync)
    write_bytes(tmp_path / "kept.bin", b"1")
    assert events == ["sync", "rename", "sync"]
    events.clear()
    write_bytes(tmp_path / "recomputable.bin", b"1", sync=False)
    assert events == ["rename"]


def test_the_parents_of_new_folders_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync_to_disk", synced.append)
    write_bytes(tmp_path / "a" / "b" / "one.bin", b"1")
    assert {tmp_path, tmp_path / "a", tmp_path / "a" / "b"} <= set(synced)


@pytest.mark.skipif(os.name == "nt", reason="processes are not looked up there")
def test_what_a_killed_process_left_of_the_same_file_is_removed(tmp_path: Path) -> None:
    code = "import os, sys; from quickstep.storage.files import replacing\nwith replacing(sys.argv[1]) as one: one.touch(); os._exit(0)"
    for name in ("model.bin", "other.bin"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True)
    left = {entry.name for entry in tmp_path.iterdir()}
    assert len(left) == 2
    with replacing(tmp_path / "model.bin") as mine:  # by a living process: it stays
        mine.touch()
        write_bytes(tmp_path / "model.bin", b"1")
        assert mine.exists()
    after = {entry.name for entry in tmp_path.iterdir()}
    assert len(after & left) == 1, "the file of the other name stays"
    assert "model.bin" in after
    assert len(after) == 2


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    write_bytes(tmp_path / "one", b"")
    (tmp_path / "two").write_bytes(b"")
    assert (tmp_path / "one").stat().st_mode == (tmp_path / "two").stat().st_mode
