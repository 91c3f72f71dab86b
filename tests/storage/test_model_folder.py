"""Opening a folder of a stranger writes nothing outside of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from places import FIXTURES

import quickstep
from quickstep.types.errors import ModelError

MODEL = FIXTURES / "v0.1" / "models" / "motion-linear"


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Copy a model whose record waits to be renamed, as after a kill, into home/downloads/model."""
    folder = Path(shutil.copytree(MODEL, tmp_path / "home" / "downloads" / "model"))
    shutil.copy(folder / "model.json", folder / ".saving-model.json")
    (tmp_path / "home" / "profile").write_text("own")
    return folder


@pytest.mark.parametrize("name", ["..%2F..%2Fprofile", "..%2Fnew", "{root}%2Fabsolute", "a%2F..%2F..%2Fnew", "..%2F..%2Fnewfolder%2Fx"])
def test_a_pending_file_is_renamed_to_no_place_outside_the_folder(name: str, folder: Path, tmp_path: Path) -> None:
    (folder / f".saving-{name.format(root=str(tmp_path).replace('/', '%2F'))}").write_text("theirs")
    before = everything_in(tmp_path)
    with pytest.raises(ModelError, match="leads out of the folder"):
        quickstep.load_model(folder)
    assert everything_in(tmp_path) == before


def test_a_pending_file_follows_no_link_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "best").symlink_to(tmp_path / "home")
    (folder / ".saving-best%2Fprofile").write_text("theirs")
    with pytest.raises(ModelError, match="leads out of the folder"):
        quickstep.load_model(folder)
    assert (tmp_path / "home" / "profile").read_text() == "own"


def test_what_a_killed_save_left_is_still_finished(folder: Path) -> None:
    head = (folder / "head.safetensors").read_bytes()
    (folder / "head.safetensors").rename(folder / ".saving-head.safetensors")
    assert quickstep.load_model(folder).labels == ("halo", "toprock")
    assert (folder / "head.safetensors").read_bytes() == head
    assert not list(folder.glob(".saving-*"))
