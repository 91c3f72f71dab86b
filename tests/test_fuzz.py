"""The fuzzer itself: a seed makes one file, every kind of damage is there, and what it reads is read or refused in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from places import ROOT
from videos import RECIPES, write_numbered

sys.path.insert(0, str(ROOT / "tests"))

import fuzz

from quickstep.signals.video import VideoReader
from quickstep.types.errors import MediaError

NAMES = ("mp4-h264", "mkv-h264", "avi-mpeg4", "flv-h264", "gif")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("fuzz")
    recipes = [recipe for recipe in RECIPES if recipe.name in NAMES]
    return [write_numbered(folder / f"{recipe.name}{recipe.suffix}", recipe, count=24) for recipe in recipes]


def test_a_seed_makes_one_file_and_every_damage_changes_it(paths: list[Path]) -> None:
    files = [fuzz.damaged(seed, paths) for seed in range(60)]
    assert files == [fuzz.damaged(seed, paths) for seed in range(60)]
    assert {name.split("-")[1] for name, _ in files} == {damage.__name__ for damage in fuzz.DAMAGES}
    changed = sum(content != paths[seed % len(paths)].read_bytes() for seed, (_, content) in enumerate(files))
    assert changed > 50


def test_damaged_videos_are_read_or_refused_in_one_line(paths: list[Path], tmp_path: Path) -> None:
    for seed in range(60):
        name, content = fuzz.damaged(seed, paths)
        path = tmp_path / name
        path.write_bytes(content)
        assert fuzz.read(path)["result"] in ("read", "refused"), name


def test_what_is_neither_is_reported(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(error: Exception) -> str:
        def broken(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(VideoReader, "windows", broken)
        return str(fuzz.read(paths[0])["result"])

    assert "ZeroDivisionError" in fails(ZeroDivisionError())
    assert fails(MediaError("a", "is broken")) == "refused"
    monkeypatch.setattr(fuzz, "SPARE_SECONDS", -100.0)
    assert fails(MediaError("a", "is broken")).startswith("took")
