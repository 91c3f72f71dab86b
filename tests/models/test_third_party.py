"""Third-party classifiers open as models with the scores of the original code, and no code of theirs runs."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import av
import checkpoints
import numpy as np
import pytest
import torch
import toys
import transformers

from quickstep.apps.cli import main
from quickstep.models.model import Model
from quickstep.signals.video import write_video
from quickstep.training.finetuning import FinetuneConfig, finetune
from quickstep.types.errors import ConfigError, ModelError, QuickstepError, WeightsError

LABELS = ["windmill", "halo", "swipe"]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SIZE = checkpoints.SIZE


def publish(folder: Path, clip: Path | None = None, **said: Any) -> Path:
    """Write a folder as such classifiers are published: all of CLIP, a layer in place of the projection, and the training settings."""
    network = transformers.CLIPModel.from_pretrained(clip or checkpoints.save("clip", folder.parent / "small-clip"))
    generator = torch.Generator().manual_seed(3)
    state = {f"clip_model.{name}": value for name, value in network.state_dict().items()}
    state["clip_model.vision_model.embeddings.position_ids"] = torch.arange(17)[None]  # as older transformers save it
    width = network.config.vision_config.hidden_size
    state["visual_projection.weight"] = torch.randn(3, width, generator=generator)
    state["visual_projection.bias"] = torch.randn(3, generator=generator)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "weights.ckpt")
    config = {
        "class_labels": LABELS,
        "num_classes": 3,
        "clip_model": str(clip or folder.parent / "small-clip"),
        "max_frames": 5,
        "sigma": 0.29,
        "image_size": SIZE,
        "normalization_mean": MEAN,
        "normalization_std": STD,
        "unfreeze_layers": 3,
        "learning_rate": 5e-6,
    } | said
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("published") / "classifier")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the network's own size, so that no scaling stands between its pictures and the network."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("videos") / "one.mp4"
    ramp = np.linspace(0, 200, 25)[:, None, None, None] + rng.integers(0, 50, (1, SIZE, SIZE, 3))
    write_video(path, list(ramp.astype(np.uint8)), fps=10, crf=1)
    return path


def plainly(folder: Path, video: Path) -> np.ndarray[Any, Any]:
    """Score five evenly spread frames as the authors' own code does: pooled, averaged, one layer, softmax."""
    config = json.loads((folder / "config.json").read_text())
    state = torch.load(folder / "weights.ckpt", weights_only=True)
    network = transformers.CLIPModel.from_pretrained(config["clip_model"])
    own = {name.removeprefix("clip_model."): value for name, value in state.items() if name.startswith("clip_model.")}
    network.load_state_dict(own, strict=False)
    with av.open(str(video)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    pixels = torch.from_numpy(np.stack([frames[index] for index in (2, 7, 12, 17, 22)])).permute(0, 3, 1, 2) / 255
    pixels = (pixels - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    with torch.inference_mode():
        pooled = network.vision_model(pixels).pooler_output.mean(0)
        return torch.softmax(state["visual_projection.weight"] @ pooled + state["visual_projection.bias"], 0).numpy()


def test_scores_equal_those_of_the_original_code(folder: Path, video: Path) -> None:
    model = Model.load(folder)
    assert model.labels == tuple(LABELS)
    (prediction,) = model.predict([video]).predictions
    assert np.abs(prediction.scores - plainly(folder, video)).max() < 1e-4
    assert prediction.scores.max() > 0.4  # and they do not all say the same


def test_it_is_saved_and_opened_like_any_model(folder: Path, video: Path, tmp_path: Path) -> None:
    model = Model.load(folder)
    model.save(tmp_path / "mine")
    again = Model.load(tmp_path / "mine")
    assert np.array_equal(again.predict([video]).predictions[0].scores, model.predict([video]).predictions[0].scores)


def test_the_command_line_predicts_with_the_folder_itself(folder: Path, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["predict", str(folder), str(video), "--json"])
    assert not end.value.code
    prediction = json.loads(capsys.readouterr().out)["predictions"][0]
    assert set(prediction["scores"]) == set(LABELS)


def test_labels_can_be_given_if_the_config_has_none(folder: Path, video: Path, tmp_path: Path) -> None:
    clip = folder.parent / "small-clip"
    bare = publish(tmp_path / "bare", clip, class_labels=None)
    with pytest.raises(ModelError, match=r"names no class_labels.*import-model"):
        Model.load(bare)
    with pytest.raises(SystemExit) as end:
        main(["import-model", str(bare), "-o", str(tmp_path / "named"), "--labels", "swipe,halo,windmill"])
    assert not end.value.code
    scores = Model.from_third_party(bare, labels=["swipe", "halo", "windmill"]).predict([video]).predictions[0].scores
    shutil.rmtree(bare)  # the imported model is complete in itself
    named = Model.load(tmp_path / "named")
    assert named.labels == ("swipe", "halo", "windmill")
    assert np.allclose(named.predict([video]).predictions[0].scores, scores, atol=1e-6)
    bare = publish(tmp_path / "bare", clip, class_labels=None)
    with pytest.raises(ConfigError, match="2 labels"):
        Model.from_third_party(bare, labels=["a", "b"])


@pytest.mark.parametrize(
    "said",
    [
        {"classes": ["a", "b", "c"]},
        {"id2label": {"0": "a", "1": "b", "2": "c"}},
        {"label2id": {"c": 2, "a": 0, "b": 1}},
        {"class_labels": {"2": "c", "0": "a", "1": "b"}},
    ],
)
def test_labels_are_in_the_order_of_the_layer(folder: Path, tmp_path: Path, said: dict[str, Any]) -> None:
    named = {"class_labels": None} | said
    assert Model.load(publish(tmp_path / "named", folder.parent / "small-clip", **named)).labels == ("a", "b", "c")


@pytest.mark.parametrize("how", ["vision_config", "weights"])
def test_the_shape_of_the_encoder_comes_from_config_or_folder(folder: Path, video: Path, tmp_path: Path, how: str) -> None:
    clip = folder.parent / "small-clip"
    vision = json.loads((clip / "config.json").read_text())["vision_config"]
    settings = {"clip_model": "somebody/unknown-clip", **({"vision_config": vision} if how == "vision_config" else {"clip_model": None})}
    other = publish(tmp_path / "other", clip, **settings)
    if how == "weights":
        with pytest.raises(WeightsError, match="attention heads"):
            Model.load(other)
    model = Model.load(other, clip if how == "weights" else None)
    assert np.allclose(model.predict([video]).predictions[0].scores, plainly(folder, video), atol=1e-4)


def test_without_statistics_frames_are_normalized_as_clip_does(folder: Path, tmp_path: Path) -> None:
    nothing = dict.fromkeys(("image_size", "normalization_mean", "normalization_std", "max_frames"))
    view = Model.load(publish(tmp_path / "plain", folder.parent / "small-clip", **nothing)).view
    assert (view.fit, view.resample, view.frames) == ("crop", "bicubic", 10)
    assert Model.load(folder).view.fit == "stretch"


def _change(folder: Path, tmp_path: Path, change: Any) -> Path:
    other = publish(tmp_path / "changed", folder.parent / "small-clip")
    state = torch.load(other / "weights.ckpt", weights_only=True)
    change(state)
    torch.save(state, other / "weights.ckpt")
    return other


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("clip_model.vision_model.post_layernorm.weight"), "lacks post_layernorm.weight"),
        (lambda state: state.update({"lstm.weight": torch.zeros(2)}), "besides a CLIP classifier: lstm.weight"),
        (lambda state: state.update({"clip_model.vision_model.adapter": torch.zeros(2)}), "besides what its config describes: adapter"),
        (lambda state: state.pop("visual_projection.bias"), "lacks visual_projection.bias"),
        (lambda state: state.update({"clip_model.vision_model.pre_layrnorm.bias": torch.zeros(7)}), "of another shape"),
        (lambda state: state.update({"visual_projection.weight": torch.zeros(4, 32)}), "layer"),
        (lambda state: state.update({"visual_projection.weight": torch.zeros(3, 30)}), "30 inputs"),
    ],
)
def test_wrong_weights_are_refused_by_name(folder: Path, tmp_path: Path, change: Any, said: str) -> None:
    other = _change(folder, tmp_path, change)
    with pytest.raises(QuickstepError, match=said):
        Model.load(other).backbone.load()  # type: ignore[attr-defined]


def test_a_clip_of_another_size_is_refused(folder: Path, tmp_path: Path) -> None:
    wrong = {
        "hidden_size": 64,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "intermediate_size": 64,
        "patch_size": 8,
        "image_size": 32,
    }
    with pytest.raises(WeightsError, match="hidden_size 32 and not 64"):
        Model.load(publish(tmp_path / "wrong", folder.parent / "small-clip", vision_config=wrong))


class _Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("sprung"),))


def test_code_in_the_weights_is_not_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    other = publish(tmp_path / "trap", folder.parent / "small-clip")
    for write in (lambda file: torch.save({"a": _Trap()}, file), lambda file: file.write_bytes(pickle.dumps(_Trap()))):
        write(other / "weights.ckpt")
        with pytest.raises(WeightsError, match=r"code in it is not run|may be broken"):
            Model.load(other)
        assert not (tmp_path / "sprung").exists()
    (other / "weights.ckpt").write_bytes(b"")
    with pytest.raises(WeightsError, match="may be broken"):
        Model.load(other)
    (other / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json cannot be read"):
        Model.load(other)


@pytest.mark.slow
def test_a_known_encoder_needs_no_clip_folder(tmp_path: Path, video: Path) -> None:
    """The tower of CLIP ViT-B/32 is known by its name, so nothing is fetched."""
    vision = transformers.CLIPVisionConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, patch_size=32
    )
    network = transformers.CLIPVisionModel(vision)
    state = {f"clip_model.vision_model.{name}": value for name, value in network.state_dict().items()}
    state |= {"visual_projection.weight": torch.randn(2, 768), "visual_projection.bias": torch.zeros(2)}
    (tmp_path / "big").mkdir()
    torch.save(state, tmp_path / "big" / "weights.ckpt")
    config = {"clip_model": "openai/clip-vit-base-patch32", "class_labels": ["a", "b"], "num_classes": 2}
    (tmp_path / "big" / "config.json").write_text(json.dumps(config))
    model = Model.load(tmp_path / "big")
    assert model.backbone.checkpoint.config["num_attention_heads"] == 12  # type: ignore[attr-defined]
    assert model.predict([video]).predictions


@pytest.mark.slow
def test_it_can_be_fine_tuned(folder: Path, tmp_path: Path) -> None:
    manifest = toys.draw_colours(tmp_path / "set", labels=("blue", "red"))
    config = FinetuneConfig(from_=str(folder), new_head=True, epochs=1, batch=4, device="cpu", precision="fp32")
    tuned = finetune(manifest, config, folder=tmp_path / "tuned").model
    again = Model.load(tmp_path / "tuned")
    paths = [segment.path for segment in manifest.part("test").segments]
    assert again.labels == ("blue", "red")
    assert np.allclose(*([one.scores for one in classifier.predict(paths).predictions] for classifier in (tuned, again)), atol=1e-6)
