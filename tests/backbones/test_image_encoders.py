"""Image towers against transformers itself: same vectors as the checkpoint's own processor and network, in whatever company."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

from quickstep.backbones import BACKBONES, base_network, open_backbone, weights_available
from quickstep.backbones.image_encoders import ImageEncoder
from quickstep.backbones.precision import SAFE_COSINE, cosine, probe
from quickstep.backbones.preprocessing import read_processor, resize_and_crop
from quickstep.types.errors import ConfigError, MissingExtra, UnknownName, WeightsError
from quickstep.types.signals import Frames
from quickstep.types.view import View

FAMILIES = list(checkpoints.FAMILIES)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {family: checkpoints.save(family, root / family) for family in FAMILIES}


@pytest.fixture(autouse=True)
def one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """Turn sharing of work off: these networks are too small for it; a real width runs as users run it."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if "real_width" in request.node.name else 1)
    yield
    torch.set_num_threads(before)


def frames_of(pixels: NDArray[np.uint8]) -> Frames:
    return Frames(pixels, np.arange(float(len(pixels))))


def pictures(count: int, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth pictures with grain: noise alone would hide a wrong crop, smoothness alone a wrong filter."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, height // 8 + 1, width // 8 + 1, 3)).repeat(8, 1).repeat(8, 2)[:, :height, :width]
    return np.clip(coarse + rng.normal(0, 12, coarse.shape), 0, 255).astype(np.uint8)


def open_folder(folder: Path, **options: Any) -> ImageEncoder:
    backbone = open_backbone(f"hf-image:{folder}", **options)
    assert isinstance(backbone, ImageEncoder)
    return backbone


def own_pixels(folder: Path, pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Preprocess frames with the checkpoint's own processor."""
    config = json.loads((folder / "preprocessor_config.json").read_text())
    if "DINOv3" in config.get("image_processor_type", ""):  # that processor is written in torchvision: its steps, in its order
        values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        values = torch.nn.functional.interpolate(values, tuple(config["size"].values()), mode="bilinear", antialias=True)
        mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("image_mean", "image_std"))
        return (values - mean) / std
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    return torch.cat([processor(frame, return_tensors="pt")["pixel_values"] for frame in pixels])


def own_vectors(folder: Path, pixels: NDArray[np.uint8], embedding: str) -> NDArray[np.float32]:
    """Embed frames with the checkpoint's own processor and network."""
    network = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        values = own_pixels(folder, pixels)
        if embedding == "projected" and hasattr(network, "get_image_features"):
            vectors = network.get_image_features(values).pooler_output
        elif hasattr(network, "vision_model") and hasattr(network, "text_model"):
            vectors = network.vision_model(values).pooler_output
        else:
            vectors = network(values).pooler_output
    return vectors.numpy()


def cosines(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float64]:
    left, right = left.astype(np.float64), right.astype(np.float64)
    return (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "clip-vision-projected"])
def test_same_vectors_as_the_checkpoints_own_processor_and_network(saved: dict[str, Path], family: str) -> None:
    backbone = open_folder(saved[family], precision="fp32")
    for height, width in ((64, 96), (101, 57), (24, 40)):
        frames = pictures(3, height, width)
        vectors = backbone.embed([frames_of(frames)])[0].values
        expected = own_vectors(saved[family], frames, backbone.embedding)
        assert vectors.shape == expected.shape == (3, backbone.width)
        assert cosines(vectors, expected).min() >= 0.9999
    assert cosines(expected[:1], expected[1:]).max() < 0.999, "the network does not tell pictures apart, so this shows nothing"


@pytest.mark.parametrize("family", ["clip", "clip-old-config", "siglip", "siglip2", "dinov2", "dinov3-vit"])
def test_pictures_are_prepared_as_by_the_checkpoints_own_processor(saved: dict[str, Path], family: str) -> None:
    backbone = open_folder(saved[family])
    slope, offset = (np.array(values)[:, None, None] for values in (backbone.processor.slope, backbone.processor.offset))
    for height, width in ((64, 96), (101, 57), (33, 200), (24, 40)):
        frames = pictures(2, height, width)
        ours = resize_and_crop(frames, backbone.view).transpose(0, 3, 1, 2) * slope + offset
        steps = np.abs(ours - own_pixels(saved[family], frames).numpy()) / slope  # in steps of a byte
        assert steps.max() <= 1.01
        assert steps.mean() <= (0.35 if family == "dinov3-vit" else 0.05), "that family's processor does not round to bytes, ours does"


def test_vectors_of_a_published_clip_by_its_other_half(saved: dict[str, Path]) -> None:
    projected = open_folder(saved["clip-vision-projected"])
    assert (projected.embedding, projected.width) == ("projected", 24)
    network = transformers.CLIPVisionModelWithProjection.from_pretrained(saved["clip-vision-projected"]).eval()
    frames = pictures(2, 40, 50)
    with torch.inference_mode():
        expected = network(own_pixels(saved["clip-vision-projected"], frames)).image_embeds.numpy()
    assert cosines(projected.embed([frames_of(frames)])[0].values, expected).min() >= 0.9999


def test_pooled_is_what_stands_before_the_projection(saved: dict[str, Path]) -> None:
    backbone = open_folder(saved["clip"], embedding="pooled", precision="fp32")
    frames = pictures(2, 40, 50)
    assert backbone.width == 32
    assert cosines(backbone.embed([frames_of(frames)])[0].values, own_vectors(saved["clip"], frames, "pooled")).min() >= 0.9999
    assert backbone.identity != open_folder(saved["clip"], precision="fp32").identity
    with pytest.raises(WeightsError, match="pooled"):
        open_folder(saved["dinov2"], embedding="projected")
    with pytest.raises(WeightsError, match="no projection"):
        open_folder(saved["clip-vision"], embedding="projected")


@pytest.mark.parametrize("family_precision", ["clip fp32", "siglip bf16", "dinov3-vit bf16", "dinov3-convnext fp32"])
def test_a_frames_vector_is_the_same_bits_in_any_company(saved: dict[str, Path], family_precision: str) -> None:
    family, precision = family_precision.split()
    backbone = open_folder(saved[family], precision=precision)
    frames = pictures(21, 32, 32)
    alone = np.concatenate([backbone.embed([frames_of(frames[i : i + 1])])[0].values for i in range(len(frames))])
    rng = np.random.default_rng(1)
    for _ in range(8):
        order = rng.permutation(len(frames))[: rng.integers(1, len(frames) + 1)]
        cuts = np.unique(rng.integers(1, len(order) + 1, 3)).tolist()
        groups = [part for part in np.split(order, cuts) if len(part)]
        grouped = backbone.embed([frames_of(frames[group]) for group in groups])
        for group, features in zip(groups, grouped, strict=True):
            assert np.array_equal(features.values, alone[group])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_frames_vector_is_the_same_bits_in_any_company_at_a_real_width(tmp_path: Path, precision: str) -> None:
    config = transformers.CLIPVisionConfig(num_hidden_layers=1, patch_size=32, projection_dim=512)  # else as ViT-B/32
    torch.manual_seed(0)
    transformers.CLIPVisionModelWithProjection(config).save_pretrained(tmp_path)
    picture = {**checkpoints.CLIP_PICTURE, "size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(picture))
    backbone = open_folder(tmp_path, precision=precision)
    frames = pictures(8, 224, 224)
    whole = backbone.embed([frames_of(frames)])[0].values
    rng = np.random.default_rng(2)
    for size in (1, 3, 7):
        some = rng.permutation(8)[:size]
        assert np.array_equal(backbone.embed([frames_of(frames[some])])[0].values, whole[some])
    fp32 = open_folder(tmp_path, precision="fp32").embed([frames_of(frames)])[0].values
    assert cosines(whole, fp32).min() >= 0.9999


def test_openvino_gives_the_same_vectors_and_says_what_is_missing(saved: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    frames = pictures(11, 32, 32)
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "quickstep.backbones.engines.openvino_engine", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'quickstep\[openvino\]'"):
        open_folder(saved["clip"], engine="openvino", precision="fp32").embed([frames_of(frames)])
    monkeypatch.undo()
    pytest.importorskip("openvino")
    torch_vectors = open_folder(saved["clip"], precision="fp32").embed([frames_of(frames)])[0].values
    for _ in range(2):  # translated, then from the kept translation
        backbone = open_folder(saved["clip"], engine="openvino", precision="fp32")
        vectors = backbone.embed([frames_of(frames)])[0].values
        assert cosines(vectors, torch_vectors).min() >= 0.99999
    lower = open_folder(saved["clip"], engine="openvino", precision="bf16")
    assert {backbone.identity["precision"], lower.identity["precision"]} == {"fp32", "bf16"}
    for encoder in (backbone, lower):
        whole = encoder.embed([frames_of(frames)])[0].values
        assert np.array_equal(encoder.embed([frames_of(frames[4:7])])[0].values, whole[4:7])


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_openvino_gives_the_same_vectors_in_every_family(saved: dict[str, Path], family: str) -> None:
    pytest.importorskip("openvino")
    frames = pictures(9, 48, 64)
    expected = open_folder(saved[family], precision="fp32").embed([frames_of(frames)])[0].values
    vectors = open_folder(saved[family], engine="openvino", precision="fp32").embed([frames_of(frames)])[0].values
    assert cosines(vectors, expected).min() >= 0.99999


def test_automatic_precision_follows_the_trial_which_is_made_once(saved: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_network, "_MIN_WIDTH_FOR_BF16", 0)
    monkeypatch.setattr(base_network, "fast_in_bf16", lambda engine: True)
    trials = []

    def trial(expected: Any, actual: Any) -> float:
        trials.append(cosine(expected, actual))
        return outcome

    monkeypatch.setattr(base_network, "cosine", trial)
    outcome = SAFE_COSINE - 1e-5
    assert open_folder(saved["clip"]).precision == "fp32"
    assert open_folder(saved["clip"]).precision == "fp32"
    assert len(trials) == 1, "the verdict is kept"
    assert 0.999 < trials[0] < 1, "bf16 was really tried"
    outcome = 1.0
    assert open_folder(saved["dinov2"]).precision == "bf16"
    monkeypatch.setattr(base_network, "fast_in_bf16", lambda engine: False)
    assert open_folder(saved["siglip"]).precision == "fp32"
    assert open_folder(saved["siglip"], precision="bf16").precision == "bf16", "a precision that was set is used on any machine"


def test_small_networks_are_left_in_fp32(saved: dict[str, Path]) -> None:
    assert open_folder(saved["clip"]).identity["precision"] == "fp32"


def test_broken_vectors_are_not_called_safe() -> None:
    good = np.ones((2, 4), np.float32)
    assert cosine(good, good) == pytest.approx(1)
    assert cosine(good, np.full((2, 4), np.nan, np.float32)) == 0
    assert cosine(good, np.zeros((2, 4), np.float32)) == 0
    assert len({frame.tobytes() for frame in probe(8, 32)}) == 8


def test_identity_is_of_the_content_and_needs_no_network(saved: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = checkpoints.save("clip", tmp_path / "moved")
    other = checkpoints.save("clip", tmp_path / "other", seed=1)
    wider = checkpoints.save("clip", tmp_path / "wider", picture={**checkpoints.CLIP_PICTURE, "size": {"shortest_edge": 40}})
    monkeypatch.setattr(ImageEncoder, "_load_engine", lambda *_: pytest.fail("the network was loaded"))
    identity = open_folder(saved["clip"]).identity
    json.dumps(identity)
    assert open_folder(moved).identity == identity
    assert open_folder(other).identity != identity
    assert open_folder(wider).identity != identity
    assert open_folder(moved, precision="bf16").identity != identity
    assert open_folder(moved, engine="openvino").identity != identity


@pytest.mark.parametrize("name", ["flow-hist", "joints", "kinematics", "hf-image"])
def test_identity_and_view_import_no_network_library(saved: dict[str, Path], name: str) -> None:
    code = (
        "import sys, quickstep.backbones.precision as p; p._may_have_gpu = lambda: False; from quickstep.backbones import open_backbone;"
        "b = open_backbone(sys.argv[1], **eval(sys.argv[2])); b.view, b.width, b.license, b.identity, b.capabilities;"
        "sys.exit(bool({'torch', 'transformers', 'openvino'} & set(sys.modules)))"
    )
    settings: dict[str, Any] = {"hf-image": {"precision": "fp32"}, "flow-hist": {}}.get(name, {"poses": {"skeleton": "coco-17"}})
    name = f"{name}:{saved['clip']}" if name == "hf-image" else name
    assert subprocess.run([sys.executable, "-c", code, name, repr(settings)]).returncode == 0


def test_views_come_from_the_checkpoint(saved: dict[str, Path]) -> None:
    assert open_folder(saved["clip-old-config"]).view == View(frames=8, size=32, edge=32, fit="crop", resample="bicubic")
    assert open_folder(saved["dinov2"]).view == View(frames=8, size=32, edge=40, fit="crop", resample="bicubic")
    assert open_folder(saved["siglip2"]).view == View(frames=8, size=32, fit="stretch", resample="bilinear")


def test_newer_processor_files_are_read(saved: dict[str, Path], tmp_path: Path) -> None:
    folder = checkpoints.save("clip", tmp_path)
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(
        json.dumps({"image_processor": checkpoints.CLIP_PICTURE, "processor_class": "CLIPProcessor"})
    )
    assert open_folder(folder).processor == open_folder(saved["clip"]).processor
    transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    (folder / "processor_config.json").unlink()
    assert open_folder(folder).processor == open_folder(saved["clip"]).processor


@pytest.mark.parametrize("resample", ["nearest", "lanczos", "area"])
def test_rarer_filters_are_pillows_own(resample: Any) -> None:
    frames = pictures(2, 40, 60)
    scaled = resize_and_crop(frames, View(size=16, fit="stretch", resample=resample))
    assert scaled.shape == (2, 16, 16, 3)
    assert np.abs(scaled.mean((1, 2)) - frames.mean((1, 2))).max() < 8


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"size": {"height": 32, "width": 64}, "do_center_crop": False}, "not square"),
        ({"crop_size": {"height": 32, "width": 24}}, "not square"),
        ({"do_center_crop": False}, "one square size"),
        ({"size": {"longest_edge": 32}}, "one square size"),
        ({"size": {"shortest_edge": 16}}, "crops 32 pixels from a short edge of 16"),
        ({"do_resize": False}, "does not resize"),
        ({"do_pad": True}, "pads"),
        ({"resample": 5}, "filter 5"),
        ({"image_std": [0.1, 0, 0.1]}, "zero"),
        ({"image_mean": [0.1]}, "three numbers"),
        ({"rescale_factor": "x"}, "not a number"),
        ({"size": 10**9}, "not a size from 8 to 4096"),
        ({"image_processor_type": "Siglip2ImageProcessor"}, "NaFlex"),
        ({"image_processor_type": "BeitImageProcessor"}, "BeitImageProcessor"),
    ],
)
def test_preparation_that_cannot_be_followed_is_one_clear_error(change: dict[str, Any], says: str) -> None:
    with pytest.raises(WeightsError, match=says) as caught:
        read_processor({**checkpoints.CLIP_PICTURE, **change}, "a/checkpoint")
    assert str(caught.value).startswith("a/checkpoint ")


def test_switches_of_the_processor_are_followed() -> None:
    plain = read_processor({**checkpoints.CLIP_PICTURE, "do_rescale": False, "do_normalize": False}, "x")
    assert (plain.slope, plain.offset) == ((1, 1, 1), (0, 0, 0))
    assert read_processor({"image_processor_type": "CLIPImageProcessorFast"}, "x").view == View(size=224, edge=224)


def test_no_windows_and_empty_windows(saved: dict[str, Path]) -> None:
    backbone = open_folder(saved["clip"])
    assert backbone.embed([]) == []
    with pytest.raises(ValueError, match="without frames"):
        backbone.embed([frames_of(np.zeros((0, 32, 32, 3), np.uint8))])


def test_names_and_options_that_do_not_fit() -> None:
    with pytest.raises(UnknownName, match="clip-vit-b32"):
        open_backbone("clip-vit-b23")
    with pytest.raises(UnknownName, match="hf-image:NAME"):
        open_backbone("hf-image")
    with pytest.raises(ConfigError, match=r"weights.*flow-hist"):
        open_backbone("flow-hist", weights="somewhere")
    with pytest.raises(ConfigError, match="precision"):
        open_backbone("clip-vit-b32", precision="fp8")
    assert open_backbone("flow-hist").name == "flow-hist"
    assert weights_available("flow-hist")
    ready = open_backbone("flow-hist")
    assert open_backbone(ready) is ready
    assert BACKBONES.keys() >= {"flow-hist", "clip-vit-b32", "clip-vit-b16", "clip-vit-l14", "siglip2-b16", "hf-image:NAME"}
