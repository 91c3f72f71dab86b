"""VideoMAE, TimeSformer, ViViT and V-JEPA 2 against transformers itself, on small checkpoints in the form they are published in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from small_sets import draw

from quickstep.backbones import check_view, is_trainable, open_backbone, view_for, weights_available
from quickstep.inference.predict import predict
from quickstep.models.model import Model
from quickstep.training.train import TrainConfig, train
from quickstep.types.errors import ConfigError, WeightsError
from quickstep.types.signals import Frames

FRAMES = 4
CLASSIFIERS = {
    "videomae": "VideoMAEForVideoClassification",
    "videomae-first-token": "VideoMAEForVideoClassification",
    "timesformer": "TimesformerForVideoClassification",
    "vivit": "VivitForVideoClassification",
    "vjepa2": "VJEPA2ForVideoClassification",
}
BARE = {
    "videomae-pretraining": "VideoMAEModel",
    "timesformer-bare": "TimesformerModel",
    "vivit-bare": "VivitModel",
    "vjepa2-bare": "VJEPA2Model",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("videos")
    return {name: checkpoints.save(name, folder / name) for name in checkpoints.VIDEOS}


def opened(folder: Path, **options: Any) -> Any:
    return open_backbone(f"hf-video:{folder}", **{"precision": "fp32", **options})


def frames_of(seed: int, count: int = FRAMES, height: int = checkpoints.SIZE, width: int = checkpoints.SIZE) -> Frames:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return Frames(pixels, np.arange(count) / 4 + 1)


def normalised(family: str, pixels: np.ndarray) -> torch.Tensor:
    """(1, F, 3, H, W) as each family's processor is documented to make it of pictures of the right size."""
    picture = checkpoints.VIDEOS[family][1]
    scaled = pixels / 127.5 - 1 if picture.get("offset") else pixels / 255
    values = (scaled - np.array(picture["image_mean"])) / np.array(picture["image_std"])
    return torch.from_numpy(values).float().permute(0, 3, 1, 2)[None]


def network_inputs(family: str, values: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"pixel_values_videos" if "vjepa2" in family else "pixel_values": values}


@pytest.mark.parametrize("family", CLASSIFIERS)
def test_a_classifiers_vector_gives_its_own_logits(saved: dict[str, Path], family: str) -> None:
    """Whatever stands for the window: the checkpoint's own last layer must make its own logits of it."""
    window = frames_of(0)
    reference = getattr(transformers, CLASSIFIERS[family]).from_pretrained(saved[family]).eval()
    with torch.no_grad():
        expected = reference(**network_inputs(family, normalised(family, window.pixels))).logits
        logits = reference.classifier(torch.from_numpy(opened(saved[family]).embed([window])[0].values))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 1e-3


@pytest.mark.parametrize("family", BARE)
def test_a_bare_networks_vector_is_that_of_its_tokens(saved: dict[str, Path], family: str) -> None:
    window = frames_of(1)
    reference = getattr(transformers, BARE[family]).from_pretrained(saved[family]).eval()
    with torch.no_grad():
        tokens = reference(**network_inputs(family, normalised(family, window.pixels))).last_hidden_state
    expected = tokens[:, 0] if family.startswith(("timesformer", "vivit")) else tokens.mean(dim=1)
    features = opened(saved[family]).embed([window])[0]
    torch.testing.assert_close(torch.from_numpy(features.values), expected, rtol=1e-4, atol=1e-5)
    assert features.times.tolist() == [1.375]


@pytest.mark.parametrize("family", ["videomae", "timesformer", "vivit"])
def test_pictures_of_other_sizes_are_prepared_as_by_the_processor(saved: dict[str, Path], family: str) -> None:
    window = frames_of(2, height=48, width=70)
    if family == "vivit":
        processor = transformers.VivitImageProcessor.from_pretrained(saved[family])
    else:
        processor = transformers.VideoMAEImageProcessorPil(**checkpoints.VIDEOS[family][1])
    values = torch.from_numpy(np.array(processor(list(window.pixels), return_tensors="np")["pixel_values"])).float()
    reference = getattr(transformers, CLASSIFIERS[family]).from_pretrained(saved[family]).eval()
    backbone = opened(saved[family])
    with torch.no_grad():
        expected = reference(values).logits
        logits = reference.classifier(torch.from_numpy(backbone.embed([window])[0].values))
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)


def test_vjepas_short_edge_follows_from_its_crop(saved: dict[str, Path]) -> None:
    backbone = opened(saved["vjepa2"])
    assert (backbone.view.size, backbone.view.edge, backbone.view.resample) == (32, int(32 * 256 / 224), "bilinear")
    window = frames_of(3, height=72, width=72)
    by_hand = [np.asarray(Image.fromarray(frame).resize((36, 36), Image.Resampling.BILINEAR))[2:34, 2:34] for frame in window.pixels]
    expected = backbone.embed([Frames(np.stack(by_hand), window.times)])[0].values
    np.testing.assert_array_equal(backbone.embed([window])[0].values, expected)


@pytest.mark.parametrize("family", checkpoints.VIDEOS)
def test_what_they_say_of_themselves(saved: dict[str, Path], family: str) -> None:
    backbone = opened(saved[family])
    assert (backbone.unit, backbone.width, backbone.view.fps) == ((FRAMES, 32, 32, 3), 32, None)
    assert backbone.view.frames == FRAMES
    assert is_trainable(backbone)
    assert not backbone.capabilities.embeds_text


def test_the_old_names_of_videomaes_biases_are_understood(saved: dict[str, Path], tmp_path: Path) -> None:
    """Published checkpoints hold q_bias and v_bias; a release of transformers left them out and said nothing."""
    state = load_file(saved["videomae"] / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    for name in state:
        if name.endswith(("query.bias", "value.bias", "q_bias", "v_bias")):
            state[name] = torch.randn(state[name].shape, generator=generator)
    folders = []
    for number, (q, v) in enumerate((("query.bias", "value.bias"), ("q_bias", "v_bias"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        for file in ("config.json", "preprocessor_config.json"):
            (folder / file).write_text((saved["videomae"] / file).read_text())
        pairs = (("query.bias", q), ("value.bias", v), ("q_bias", q), ("v_bias", v))
        save_file({_renamed(name, pairs): value for name, value in state.items()}, folder / "model.safetensors", {"format": "pt"})
        folders.append(folder)
    newer, older = (opened(folder).embed([frames_of(0)])[0].values for folder in folders)
    np.testing.assert_allclose(older, newer, rtol=1e-5, atol=1e-6)
    assert np.abs(newer - opened(saved["videomae"]).embed([frames_of(0)])[0].values).max() > 1e-3


def _renamed(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    return next((name.removesuffix(old) + new for old, new in pairs if name.endswith(f".{old}")), name)


@pytest.mark.parametrize("family", ["videomae", "timesformer", "vivit", "vjepa2"])
def test_missing_and_unexpected_weights_are_refused(saved: dict[str, Path], tmp_path: Path, family: str) -> None:
    state = load_file(saved[family] / "model.safetensors")
    lost = next(name for name in state if "0." in name and name.endswith("weight") and "predictor" not in name)
    for number, changed in enumerate(({k: v for k, v in state.items() if k != lost}, {**state, "stray.weight": torch.zeros(2)})):
        folder = tmp_path / str(number)
        folder.mkdir()
        for file in saved[family].glob("*.json"):
            (folder / file.name).write_text(file.read_text())
        save_file(changed, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises(WeightsError, match="lacks" if number == 0 else "besides") as caught:
            opened(folder).embed([frames_of(0)])
        assert "\n" not in str(caught.value)


def test_a_predictor_that_is_not_there_is_not_missed(saved: dict[str, Path], tmp_path: Path) -> None:
    """V-JEPA 2's predictor of hidden parts has no share in what it sees."""
    for file in saved["vjepa2"].glob("*.json"):
        (tmp_path / file.name).write_text(file.read_text())
    state = {name: value for name, value in load_file(saved["vjepa2"] / "model.safetensors").items() if "predictor" not in name}
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    np.testing.assert_array_equal(opened(tmp_path).embed([frames_of(0)])[0].values, opened(saved["vjepa2"]).embed([frames_of(0)])[0].values)


def test_windows_of_another_length(saved: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="exactly 4 frames, not 8"):
        view_for(opened(saved["videomae"]), frames=8)
    with pytest.raises(ConfigError, match="exactly 4 frames, not 6"):
        opened(saved["vivit"]).embed([frames_of(0, 6)])
    vjepa = opened(saved["vjepa2"])
    check_view(vjepa, view_for(vjepa, frames=8))
    with pytest.raises(ConfigError, match="multiple"):
        view_for(vjepa, frames=5)
    four, eight = frames_of(0), frames_of(1, 8)
    together = vjepa.embed([four, eight, four])
    assert np.array_equal(together[0].values, vjepa.embed([four])[0].values)
    assert np.array_equal(together[1].values, vjepa.embed([eight])[0].values)


def test_other_networks_are_refused(saved: dict[str, Path], tmp_path: Path) -> None:
    for family, line in (("clip", "hf-image:NAME"), ("xclip", "hf-xclip:NAME"), ("dinov2", "video networks that can be used")):
        with pytest.raises(WeightsError, match=line):
            opened(checkpoints.save(family, tmp_path / family))
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    for file in saved["videomae"].iterdir():
        (wrong / file.name).write_bytes(file.read_bytes())
    config = json.loads((wrong / "config.json").read_text())
    (wrong / "config.json").write_text(json.dumps({**config, "num_frames": "many"}))
    with pytest.raises(WeightsError, match=r"num_frames.*'many'"):
        opened(wrong)
    (wrong / "config.json").write_text(json.dumps({**config, "image_size": 64}))
    with pytest.raises(WeightsError, match="contradicts itself"):
        opened(wrong)
    (wrong / "model.safetensors").write_bytes((wrong / "model.safetensors").read_bytes()[:500])
    (wrong / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="cut short"):
        opened(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["videomae", "vivit", "vjepa2"])
def test_openvino_gives_the_same_vectors(saved: dict[str, Path], family: str) -> None:
    pytest.importorskip("openvino")
    expected, vectors = (opened(saved[family], engine=engine).embed([frames_of(0)])[0].values for engine in ("torch", "openvino"))
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)


def test_openvino_is_refused_where_it_gives_others(saved: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="TimeSformer"):
        opened(saved["timesformer"], engine="openvino")


def test_at_hand(saved: dict[str, Path]) -> None:
    assert weights_available(f"hf-video:{saved['videomae']}")
    assert not weights_available("hf-video:some/videomae")
    assert not weights_available("i3d-rgb")


@pytest.mark.slow
def test_a_model_on_frozen_features_is_trained_saved_and_opened_again(saved: dict[str, Path], tmp_path: Path) -> None:
    manifest = draw(tmp_path / "videos", "motion", count=20, groups=5)
    model = train(manifest, TrainConfig(backbone="hf-video:x", weights=str(saved["videomae"]), precision="fp32")).model
    expected = predict(model, manifest.segments[:2]).predictions
    model.save(tmp_path / "model")
    again = predict(Model.load(tmp_path / "model"), manifest.segments[:2]).predictions
    for loaded_prediction, prediction in zip(again, expected, strict=True):
        assert np.array_equal(loaded_prediction.scores, prediction.scores)
