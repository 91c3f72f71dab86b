"""A name in somebody's file is looked up in the tables and nowhere else, unless a person trusts its module."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from places import FIXTURES, HELPERS, ROOT
from toys import Colours, draw_colours

import quickstep
from quickstep.inference.predict import predict
from quickstep.models.ensemble import load_model
from quickstep.storage import model_folder
from quickstep.storage.serialization import to_plain
from quickstep.training.recipes import read_recipe
from quickstep.training.train import TrainConfig, train
from quickstep.training.tuning.trial import Candidate
from quickstep.types import registry
from quickstep.types.errors import ConfigError, ModelError, QuickstepError

MODELS = FIXTURES / "v0.1" / "models"
GADGET = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n\n\nclass Class:\n    pass\n"
RECORDS = {  # every kind of text in the records of 0.1: a tuned network, joints, flow, words, an ensemble
    name: MODELS / name for name in ("clip-finetuned", "clip-prompts", "joints-lstm", "motion-attention", "fused")
}


@pytest.fixture
def gadget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a module `gadget` that leaves a file when it is imported; return the file."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "gadget.py").write_text(GADGET)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.setattr(registry, "_trusted", set())
    sys.modules.pop("gadget", None)
    yield tmp_path / "modules" / "ran"
    sys.modules.pop("gadget", None)


def text_places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every text and every null in a record: both can name something."""
    items = content.items() if isinstance(content, Mapping) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from text_places(value, (*path, key))
    if content is None or isinstance(content, str):
        yield path


def changed(content: Any, place: tuple[Any, ...], value: str) -> Any:
    content = json.loads(json.dumps(content))
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return content


def reseal(folder: Path, record: dict[str, Any]) -> None:
    record.pop("seal")
    (folder / "model.json").write_text(json.dumps({**record, "seal": model_folder._seal(record)}))


@pytest.mark.parametrize("name", RECORDS)
def test_no_text_of_a_record_imports_a_module(name: str, tmp_path: Path, gadget: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes a record can seal it again: the seal has no key."""
    monkeypatch.chdir(FIXTURES / "v0.1")  # where its relative paths lead
    folder = Path(shutil.copytree(RECORDS[name], tmp_path / "model"))
    members = [path.parent for path in sorted(folder.rglob("model.json"))]
    video = next((FIXTURES / "v0.1").glob("poses/*.npz" if "joints" in name else "videos/**/*.mp4"))
    tried = refused = 0
    for member in members:
        record = json.loads((member / "model.json").read_text())
        for place in text_places(record):
            if place[0] in ("files", "seal", "rows"):
                continue
            for value in ("gadget:Class", "gadget:Class,fine"):
                reseal(member, changed(record, place, value))
                try:
                    model = load_model(folder)
                    if {"backbone", "opening", "head"} & set(map(str, place)):
                        predict(model, [video])
                except QuickstepError:
                    refused += 1
                assert not gadget.exists(), place
                tried += 1
        (member / "model.json").write_text(json.dumps(record))
    assert tried > 40
    assert refused > tried / 10  # not every text decides whether the model opens


@pytest.mark.parametrize("place", [("backbone", "name"), ("head",), ("backbone", "flow"), ("backbone", "poses", "estimator")])
def test_a_model_that_names_code_says_what_it_is_and_how_to_trust_it(place: tuple[str, ...], tmp_path: Path, gadget: Path) -> None:
    folder = Path(shutil.copytree(MODELS / ("joints-linear" if "poses" in place else "motion-linear"), tmp_path / "model"))
    record = json.loads((folder / "model.json").read_text())
    if "poses" in place:
        record["backbone"]["poses"].setdefault("estimator", None)
    reseal(folder, changed(record, place, "gadget:Class"))
    with pytest.raises(ConfigError, match=r"^trust: .*'gadget:Class' .*trust the module gadget$"):
        load_model(folder)
    assert not gadget.exists()
    if place in (("backbone", "name"), ("head",)):
        with pytest.raises((ConfigError, ModelError)):  # the class is neither, but as its module is trusted, it was imported
            load_model(folder, trust=("gadget",))
        assert gadget.exists()


def test_recipes_and_studies_are_files_of_strangers_too(tmp_path: Path, gadget: Path) -> None:
    recipe = tmp_path / "mine.toml"
    for line in ('backbone = "gadget:Class"', 'head = "gadget:Class"', 'flow = "gadget:Class,fine"'):
        recipe.write_text(line)
        with pytest.raises(ConfigError, match=r"^trust: "):
            read_recipe(str(recipe))
    candidate = to_plain(Candidate(replace(TrainConfig(), backbone="gadget:Class")))
    with pytest.raises(ConfigError, match=r"^trust: "):
        Candidate.from_json(candidate)
    assert not gadget.exists()
    quickstep.trust("gadget")
    assert Candidate.from_json(candidate).train.backbone == "gadget:Class"


def run(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(HELPERS), str(folder / "modules")])}
    command = [sys.executable, "-P", "-m", "quickstep", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


def test_what_a_person_types_runs_and_its_model_asks_for_trust(tmp_path: Path, gadget: Path) -> None:
    videos = draw_colours(tmp_path / "videos")
    quickstep.write_manifest(videos, tmp_path / "videos.csv")
    trained = run("train", tmp_path / "videos.csv", "-o", tmp_path / "m", "--backbone", "toys:Colours", folder=tmp_path)
    assert trained.returncode == 0, trained.stderr
    video = videos.segments[0].path
    refused = run("predict", tmp_path / "m", video, folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("quickstep: --trust: ")
    assert "toys:Colours" in refused.stderr
    trusted = run("predict", tmp_path / "m", video, "--trust", "toys", folder=tmp_path)
    assert trusted.returncode == 0, trusted.stderr
    assert not gadget.exists()


def test_a_model_made_from_an_instance_opens_in_the_same_program(tmp_path: Path, gadget: Path) -> None:
    videos = draw_colours(tmp_path / "videos")
    train(videos, backbone=Colours()).model.save(tmp_path / "m")
    assert load_model(tmp_path / "m").labels == videos.labels


@pytest.mark.parametrize("module", ["", "a b", "a:b", "../a", "a.", "os;x"])
def test_only_the_name_of_a_module_is_trusted(module: str) -> None:
    with pytest.raises(ConfigError, match=r"^trust: "):
        quickstep.trust(module)
