"""Models, a library, predictions and a recipe that version 0.1 wrote give the same results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from places import FIXTURES

from quickstep.datasets.manifest import read_manifest
from quickstep.inference.prediction_files import write_predictions
from quickstep.models.ensemble import load_model
from quickstep.storage.cache import Cache
from quickstep.training.recipes import read_recipe

FILES = FIXTURES / "v0.1"
EXPECTED = json.loads((FILES / "expected_scores.json").read_text())


def weights_of(name: str) -> Path | None:
    """Where the checkpoint lies that a model was trained on, for those that were not trained with a path of their own."""
    return FILES / "clip" if name.startswith("clip-") and name != "clip-finetuned" else None


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_model_of_version_0_1_has_the_same_scores(name: str) -> None:
    model = load_model(FILES / "models" / name, weights_of(name))
    poses = name.startswith(("joints", "motion-numbers"))
    manifest = read_manifest(FILES / ("poses.csv" if poses else "videos.csv"))
    answered = model.predict(manifest.segments)
    assert not answered.failures
    assert list(model.labels) == EXPECTED[name]["labels"]
    expected = EXPECTED[name]["scores"]
    for prediction in answered.predictions:
        # Equal to the bit on the machine that wrote them; another processor's arithmetic may differ in the last places.
        np.testing.assert_allclose(prediction.scores, expected[Path(prediction.segment.path).name], rtol=0, atol=2e-5)


def test_a_saved_copy_gives_the_same_scores(tmp_path: Path) -> None:
    """What is written today is read today, whatever the names in the old record were."""
    manifest = read_manifest(FILES / "videos.csv")
    first = load_model(FILES / "models" / "motion-linear")
    first.save(tmp_path / "copy")
    again = load_model(tmp_path / "copy")
    for before, after in zip(first.predict(manifest.segments).predictions, again.predict(manifest.segments).predictions, strict=True):
        np.testing.assert_array_equal(before.scores, after.scores)


def test_a_recipe_with_old_names_opens() -> None:
    assert read_recipe(str(FILES / "recipe.toml"), verb="train")["frames"] == 16


def test_a_file_of_predictions_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FILES)  # the paths in the file are relative
    for name in ("predictions.csv", "predictions.jsonl"):
        out = Path(shutil.copy(FILES / name, tmp_path))
        written = write_predictions(FILES / "models" / "motion-linear", "videos/halo-dancer-0[1-4]-01.mp4", out, cache=Cache(tmp_path))
        assert (written.kept, written.predicted, written.replaced) == (4, 0, 0)
        assert out.read_text().count("uncalibrated") == 4  # today's name for what 0.1 wrote as sure: null


def test_a_library_gives_the_same_search_results(tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    from quickstep.library import Library, SearchConfig, search

    library = Library.open(shutil.copytree(FILES / "library", tmp_path / "library"))
    video = min((FILES / "videos").glob("*.mp4"))
    answered = search(library, config=SearchConfig(like=str(video), all=True, top=4))
    itself, *others = answered.moments  # the library knows the example under the path that it had when the library was made
    assert Path(itself.path).name == video.name
    expected = json.loads((FILES / "search.json").read_text())["moments"]
    assert [Path(moment.path).name for moment in others] == [Path(moment["path"]).name for moment in expected]
    np.testing.assert_allclose([moment.score for moment in others], [moment["score"] for moment in expected], atol=1e-4)
