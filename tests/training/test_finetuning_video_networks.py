"""Fine-tuning of networks that see motion: windows of video and of flow, from scratch and from checkpoints that have a head."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import checkpoints
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from small_sets import draw

from quickstep.backbones import open_backbone
from quickstep.datasets.manifest import Manifest
from quickstep.evaluation import evaluate
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.training.augmentation.augment import NOTHING, Augment
from quickstep.training.finetuning import FinetuneConfig, finetune
from quickstep.types.errors import ConfigError


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return draw(tmp_path_factory.mktemp("motion"), "motion", count=20)


def config(stream: str, **changes: object) -> FinetuneConfig:
    usual = {"init": "scratch", "width": 0.1, "frames": 9, "fps": 8.0, "size": 32, "epochs": 1, "batch": 6, "workers": 2}
    return FinetuneConfig(backbone=stream, **{**usual, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("stream", ["i3d-rgb", "i3d-flow"])
def test_a_network_of_windows_is_tuned_saved_and_tested_with_many_views(manifest: Manifest, tmp_path: Path, stream: str) -> None:
    result = finetune(manifest, config(stream, windows=2, crops=3), folder=tmp_path / "m", cache=Cache(tmp_path / "s"))
    model = Model.load(tmp_path / "m", cache=Cache(tmp_path / "s"))
    assert (model.view.frames, model.view.size, model.view.windows, model.view.crops) == (9, 32, 2, 3)
    opened = open_backbone(stream, weights=tmp_path / "m" / "backbone")
    assert (opened.view.frames, opened.view.size, opened.view.fps) == (9, 32, model.view.fps)
    report = evaluate(model, split="val", baselines=False, cache=Cache(tmp_path / "other"))
    assert result.validation is not None
    assert report.figures.accuracy.value == result.validation.accuracy


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_flow_from_scratch_tells_left_from_right(manifest: Manifest, tmp_path: Path) -> None:
    result = finetune(
        manifest,
        config("i3d-flow", width=0.2, epochs=25, learning_rate=2e-3, precision="fp32"),
        augment=Augment(augment=0.2),
        folder=tmp_path / "m",
    )
    assert evaluate(result.model, baselines=False).figures.accuracy.value >= 0.95


def test_the_head_of_a_checkpoint_is_kept_where_it_tells_as_many_classes(manifest: Manifest, tmp_path: Path) -> None:
    from quickstep.backbones.i3d.inception import InceptionI3d

    torch.manual_seed(0)
    for classes in (2, 7):
        torch.save(InceptionI3d(3, classes=classes, multiplier=0.1).state_dict(), tmp_path / f"{classes}.pt")
    still = {
        "init": None,
        "frames": 9,
        "size": 32,
        "learning_rate": 1e-12,
        "dropout": 0.0,
        "precision": "fp32",
        "unfreeze": "0",
    }
    result = finetune(manifest, config("i3d-rgb", weights=str(tmp_path / "2.pt"), **still), augment=NOTHING)
    network = open_backbone("i3d-rgb", weights=tmp_path / "2.pt", width=0.1, precision="fp32")
    arrays = result.model.head.weights()
    theirs = network.network.logits.conv3d.weight.detach().numpy().reshape(2, -1)  # type: ignore[attr-defined]
    np.testing.assert_allclose(arrays["weight"].T, theirs, atol=1e-6)
    replaced = finetune(manifest, config("i3d-rgb", weights=str(tmp_path / "7.pt"), **still))
    assert replaced.model.labels == manifest.labels
    assert any("i3d-rgb" in note and "7 classes" in note and "new head" in note for note in replaced.warnings)
    assert not any("new head" in note for note in result.warnings)


def test_a_view_too_short_for_the_network_is_one_line(manifest: Manifest) -> None:
    with pytest.raises(ConfigError, match=r"frames: i3d-r50 needs windows of at least 5 frames"):
        finetune(manifest, config("i3d-r50", frames=3))


@pytest.mark.parametrize("family", ["videomae", "timesformer"])
def test_the_classifier_of_a_transformer_is_kept_too(manifest: Manifest, tmp_path: Path, family: str) -> None:
    folder = checkpoints.save(family, tmp_path / family)
    theirs = load_file(folder / "model.safetensors")["classifier.weight"]  # (5, D)
    still = FinetuneConfig(
        backbone=f"hf-video:{folder}", epochs=1, batch=8, learning_rate=1e-12, dropout=0.0, precision="fp32", unfreeze="0", workers=2
    )
    five = manifest.with_segments(replace(s, label=f"move {n % 5}") for n, s in enumerate(manifest.segments))
    result = finetune(five, still, augment=NOTHING)
    np.testing.assert_allclose(result.model.head.weights()["weight"].T, theirs, atol=1e-6)
    replaced = finetune(manifest, still)
    assert len(replaced.model.labels) == 2
    assert any("5 classes" in note for note in replaced.warnings)
