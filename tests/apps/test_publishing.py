"""A model is pushed without personal data, and comes back by its name with the same answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import yaml
from checkpoints import save
from toys import draw_colours

from quickstep.apps.cli import app
from quickstep.apps.publishing import PushConfig, push
from quickstep.backbones import BackboneSpec
from quickstep.datasets.manifest import Manifest
from quickstep.evaluation import evaluate
from quickstep.evaluation.rendering import write_card, write_report
from quickstep.models.ensemble import Ensemble, load_model
from quickstep.models.model import Model
from quickstep.training.train import TrainConfig, train
from quickstep.types.errors import ConfigError, ModelError

FAST = TrainConfig(backbone="toys:Colours", epochs=15)


@pytest.fixture(scope="module")
def somebody(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """Train and evaluate a model of videos in somebody's folder."""
    place = tmp_path_factory.mktemp("home") / "anna-secret"
    manifest = draw_colours(place / "videos")
    trained = train(manifest, FAST)
    folder = place / "model"
    trained.model.save(folder)
    write_card(trained.model, folder)
    write_report(evaluate(Model.load(folder)), folder)
    return folder, manifest


def test_strangers_get_the_same_answers_and_nobody_s_name(somebody: tuple[Path, Manifest], tmp_path: Path) -> None:
    folder, manifest = somebody
    pushed = push(folder, PushConfig("anna/colours", dry_run=tmp_path / "out"))
    assert set(pushed.files) == {file.name for file in (tmp_path / "out").iterdir()}
    assert {"model.json", "head.safetensors", "README.md", "confusion.png"} <= set(pushed.files)
    assert not {"manifest.csv", "history.json", "report.html", "report.json"} & set(pushed.files)
    here, there = Model.load(folder), Model.load(tmp_path / "out")
    segments = manifest.part("test").segments
    for own, theirs in zip(here.predict(segments).predictions, there.predict(segments).predictions, strict=True):
        assert np.array_equal(own.scores, theirs.scores)
        assert own.confidence == theirs.confidence
    content = b"".join((tmp_path / "out" / name).read_bytes() for name in pushed.files)
    assert b"anna-secret" not in content
    assert str(tmp_path).encode() not in content
    for segment in manifest.segments:
        assert f"{segment.label}/{segment.path.name}".encode() not in content
        assert f"{segment.group}".encode() not in content


def test_the_card_of_a_pushed_model_has_every_figure(somebody: tuple[Path, Manifest], tmp_path: Path) -> None:
    folder, _ = somebody
    push(folder, PushConfig("anna/colours", dry_run=tmp_path / "out", license="cc-by-4.0"))
    card = huggingface_hub.ModelCard.load(tmp_path / "out" / "README.md")
    report = json.loads((folder / "report.json").read_text())
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert results["accuracy"] == pytest.approx(report["figures"]["accuracy"]["value"], abs=1e-6)
    assert {"balanced_accuracy", "f1", "log_loss", "expected_calibration_error"} <= set(results)
    assert card.data.license == "cc-by-4.0"
    assert card.data.model_name == "colours"
    assert 'load_model("anna/colours")' in card.text
    front = yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("---")[1])
    assert front["model-index"][0]["results"][0]["metrics"][0]["args"]["interval_95"]


def test_a_model_comes_back_from_the_hub_by_its_name(
    somebody: tuple[Path, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, manifest = somebody
    hub, commit = tmp_path / "hub", "0123456789abcdef0123456789abcdef01234567"
    stored = hub / "models--anna--colours"
    push(folder, PushConfig("anna/colours", dry_run=stored / "snapshots" / commit))
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    segment = manifest.part("test").segments[0]
    for name in ("anna/colours", "anna/colours@main", f"anna/colours@{commit}"):
        assert Model.load(name).predict([segment]).predictions[0].label == segment.label
    with pytest.raises(ConfigError, match=r"out: .* comes from the hub"):
        app(["evaluate", "anna/colours"], result_action="return_value")
    with pytest.raises(ModelError, match=r"anna/others: there is no such folder, and .*give the folder of a model"):
        Model.load("anna/others")
    with pytest.raises(ModelError, match=r"there is no such folder"):  # a path of ours that was mistyped asks nobody
        Model.load(f"{folder.parent}/modell")


def test_an_ensemble_goes_out_with_its_members(somebody: tuple[Path, Manifest], tmp_path: Path) -> None:
    folder, manifest = somebody
    one = Model.load(folder)
    Ensemble((one, replace(one, temperature=2.0)), (0.7, 0.3), ("a", "b"), manifest=one.manifest).save(tmp_path / "both")
    pushed = push(tmp_path / "both", PushConfig("anna/both", dry_run=tmp_path / "out"))
    assert not [name for name in pushed.files if "manifest" in name or "history" in name]
    segments = manifest.part("test").segments
    own, theirs = (load_model(place).predict(segments).predictions for place in (tmp_path / "both", tmp_path / "out"))
    assert all(np.array_equal(a.scores, b.scores) for a, b in zip(own, theirs, strict=True))
    assert not any(b"anna-secret" in (tmp_path / "out" / name).read_bytes() for name in pushed.files)


def test_sending_needs_a_hub(somebody: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, object]] = []
    folder, _ = somebody

    class Hub:
        endpoint = "https://hub"

        def __init__(self, **_: object) -> None: ...

        def create_repo(self, name: str, **options: object) -> None:
            sent.append({"made": name, **options})

        def upload_folder(self, *, folder_path: Path, **options: object) -> None:
            sent.append({"files": sorted(file.name for file in Path(folder_path).iterdir()), **options})

    with monkeypatch.context() as patched:
        patched.setattr("huggingface_hub.HfApi", Hub)
        pushed = push(folder, PushConfig("anna/colours", private=True))
    assert pushed.where == "https://hub/anna/colours"
    assert sent[0] == {"made": "anna/colours", "private": True, "exist_ok": True}
    assert sent[1]["files"] == sorted(pushed.files)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"was not pushed: .*`dry_run=FOLDER`"):
        push(folder, PushConfig("anna/colours"))


def test_what_strangers_could_not_open_is_not_pushed(somebody: tuple[Path, Manifest], tmp_path: Path) -> None:
    folder, manifest = somebody
    weights = save("clip", tmp_path / "clip")
    trained = train(manifest, TrainConfig(backbone=f"hf-image:{weights}", epochs=2))
    trained.model.save(tmp_path / "local")
    with pytest.raises(ModelError, match=r"where nobody else finds them; .*finetune"):
        push(tmp_path / "local", PushConfig("anna/colours", dry_run=tmp_path / "out"))
    with pytest.raises(ConfigError, match=r"dry_run: .*own folder"):
        push(folder, PushConfig("anna/colours", dry_run=folder))
    for name in ("colours", "a/b/c", "/x", "an na/x", ""):
        with pytest.raises(ConfigError, match="to"):
            PushConfig(name)
    with pytest.raises(ModelError, match="new folder"):
        push(folder, PushConfig("anna/colours", dry_run=manifest.segments[0].path.parent))
    bare = replace(Model.load(folder), spec=BackboneSpec("toys:Colours"))
    bare.save(tmp_path / "bare")
    assert any("never evaluated" in note for note in push(tmp_path / "bare", PushConfig("a/b", dry_run=tmp_path / "bare-out")).notes)
