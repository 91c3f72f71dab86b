"""I3D networks against their descriptions: names, values, weights in files and folders, what they are shown, and what goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_sets import draw
from video_references import filled, inception_map, inception_scores, resnet_map, resnet_scores

from quickstep.backbones import check_view, is_trainable, open_backbone, view_for
from quickstep.backbones.i3d.inception import InceptionI3d
from quickstep.backbones.i3d.resnet import ResnetI3d
from quickstep.inference.predict import predict
from quickstep.models.feature_extraction import extract
from quickstep.models.model import Model
from quickstep.training.train import TrainConfig, train
from quickstep.types.errors import ConfigError, QuickstepError, WeightsError
from quickstep.types.signals import Flow, Frames
from quickstep.types.view import View

NAMES = {
    "i3d-rgb": "inception_i3d_rgb",
    "i3d-flow": "inception_i3d_flow",
    "i3d-r50": "i3d_r50",
    "i3d-r50-nl": "i3d_r50_nl_dot",
}
CLASSES = 5
NARROW = 0.25  # most tests use networks of an eighth of the size


def shapes_of(name: str, shared_data: Path, classes: int = CLASSES) -> dict[str, list[int]]:
    """Return the names and shapes of the public weights, with a head of a few classes."""
    shapes: dict[str, list[int]] = json.loads((shared_data / "state_dicts" / f"{NAMES[name]}.json").read_text())
    if "r50" in name:
        return {**shapes, "cls_head.fc_cls.weight": [classes, 2048], "cls_head.fc_cls.bias": [classes]}
    assert shapes["logits.conv3d.weight"] == [400, 1024, 1, 1, 1]
    return {**shapes, "logits.conv3d.weight": [classes, 1024, 1, 1, 1], "logits.conv3d.bias": [classes]}


def saved(name: str, state: dict[str, torch.Tensor], folder: Path) -> Path:
    """Save a file as its publisher saves it."""
    noted = {"state_dict": state, "meta": {"epoch": 100, "CLASSES": ["a", "b", "c", "d", "e"]}} if "r50" in name else state
    torch.save(noted, folder / f"{name}.pth")
    return folder / f"{name}.pth"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Save weights for each network, narrow, drawn from a seeded generator."""
    folder = tmp_path_factory.mktemp("weights")
    paths = {}
    for seed, name in enumerate(NAMES):
        network = opened(name, init="scratch", width=NARROW).network
        shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
        head, point = ("cls_head.fc_cls", []) if "r50" in name else ("logits.conv3d", [1, 1, 1])
        shapes |= {f"{head}.weight": [CLASSES, network.width, *point], f"{head}.bias": [CLASSES]}
        paths[name] = saved(name, filled(shapes, seed), folder)
    return paths


def state_in(file: Path) -> dict[str, torch.Tensor]:
    loaded = torch.load(file, weights_only=True)
    return loaded.get("state_dict", loaded)  # type: ignore[no-any-return]


def opened(name: str, **options: Any) -> Any:
    return open_backbone(name, precision="fp32", **options)


def filed(name: str, file: Path) -> Any:
    """Build a narrow network with the weights of a file."""
    return opened(name, weights=file, width=NARROW)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """To a relative 1e-4 of the largest value."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def reference(name: str, state: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    features = (resnet_map if "r50" in name else inception_map)(state, x)
    return features, (resnet_scores if "r50" in name else inception_scores)(state, features)


# -- values ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(16, 64, 64), (19, 70, 45)], ids=str)  # uneven ones need uneven padding
@pytest.mark.parametrize("name", NAMES)
def test_equal_to_the_published_networks(files: dict[str, Path], name: str, size: tuple[int, int, int]) -> None:
    backbone = filed(name, files[name])
    x = torch.randn(1, backbone.unit[-1], *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features, scores = reference(name, state_in(files[name]), x)
        close(backbone.network(x), features)
        close(backbone.classify(x), scores)
    assert features.std() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_equal_to_the_published_networks_at_full_size(shared_data: Path, tmp_path: Path, name: str) -> None:
    state = filled(shapes_of(name, shared_data), 9)
    backbone = opened(name, weights=saved(name, state, tmp_path))
    tensors = backbone.network.state_dict()
    assert all(torch.equal(tensors[key], value) for key, value in state.items())
    frames, height, width, channels = backbone.unit
    x = torch.rand(2, channels, frames, height, width, generator=torch.Generator().manual_seed(2)) * 2 - 1
    with torch.no_grad():
        features, scores = reference(name, state, x)
        close(backbone.network(x), features)
        close(backbone.classify(x), scores)
    assert features.shape[1:] == ((2048, 4, 7, 7) if "r50" in name else (1024, 8, 7, 7))


@pytest.mark.parametrize("name", NAMES)
def test_the_network_has_the_names_of_the_public_weights(shared_data: Path, name: str) -> None:
    with torch.device("meta"):
        network: Any = (
            ResnetI3d(classes=CLASSES, non_local="nl" in name)
            if "r50" in name
            else InceptionI3d(2 if name == "i3d-flow" else 3, classes=CLASSES)
        )
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == shapes_of(name, shared_data)


def test_a_checkpoint_without_its_head_opens_and_says_so(files: dict[str, Path], tmp_path: Path) -> None:
    trunk = {key: value for key, value in state_in(files["i3d-r50"]).items() if key.startswith("backbone.")}
    torch.save({"state_dict": trunk, "meta": {}}, tmp_path / "trunk.pth")
    backbone = filed("i3d-r50", tmp_path / "trunk.pth")
    x = torch.zeros(1, 3, 8, 32, 32)
    assert torch.equal(backbone.network(x), filed("i3d-r50", files["i3d-r50"]).network(x))
    with pytest.raises(WeightsError, match="have no head"):
        backbone.classify(x)


def test_what_the_file_notes_of_its_classes_is_kept(files: dict[str, Path]) -> None:
    assert filed("i3d-r50", files["i3d-r50"]).labels == ("a", "b", "c", "d", "e")
    assert filed("i3d-rgb", files["i3d-rgb"]).labels is None


# -- what it is shown -----------------------------------------------------------------------------------------------------


def frames_of(count: int, size: int = 48, seed: int = 0) -> Frames:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return Frames(pixels, np.arange(count) / 25 + 3)


def test_bytes_become_what_the_networks_were_trained_on(files: dict[str, Path]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    plain = torch.from_numpy(pixels).float().permute(3, 0, 1, 2)[None]
    mean, std = (torch.tensor(values).view(1, 3, 1, 1, 1) for values in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))
    for name, x in (("i3d-rgb", plain / 127.5 - 1), ("i3d-r50", (plain - mean) / std)):
        backbone = filed(name, files[name])
        features = backbone.network(x)  # (1, D, 1, 1, 1)
        vectors = backbone.load()(torch.from_numpy(pixels)[None])
        close(vectors[0], features.mean(dim=(3, 4))[0].T)
    motion = np.random.default_rng(1).uniform(-30, 30, (8, 32, 32, 2)).astype(np.float32)
    flow = Flow.of(motion, np.arange(8) / 25)
    backbone = filed("i3d-flow", files["i3d-flow"])
    x = torch.from_numpy(np.clip(flow.pixels / 20, -1, 1)).permute(3, 0, 1, 2)[None]
    close(torch.from_numpy(backbone.embed([flow])[0].values), backbone.network(x).mean(dim=(3, 4))[0].T)


def test_flow_of_another_bound_is_brought_to_twenty_pixels(files: dict[str, Path]) -> None:
    motion = np.full((8, 32, 32, 2), 10.0, np.float32)
    backbone = filed("i3d-flow", files["i3d-flow"])
    usual, other = (backbone.embed([Flow.of(motion, np.arange(8.0), bound=bound)])[0].values for bound in (20, 12))
    assert np.abs(usual - other).max() <= 0.02 * np.abs(usual).max()  # 10 pixels are not to the last bit the same in both


def test_how_motion_is_found_decides_the_values_and_is_remembered(tmp_path: Path) -> None:
    usual = opened("i3d-flow", init="scratch", width=0.1)
    other = opened("i3d-flow", init="scratch", width=0.1, flow="tvl1,fine,camera")
    assert (usual.flow_config.method, usual.flow_config.camera) == ("dis", False)
    assert (other.flow_config.method, other.flow_config.preset, other.flow_config.camera) == ("tvl1", "fine", True)
    assert usual.identity != other.identity
    assert opened("i3d-flow", init="scratch", width=0.1, flow="dis").identity == usual.identity
    for name, flow, message in (("i3d-rgb", "dis", "flow"), ("i3d-flow", "raft", "there are: dis"), ("i3d-flow", "dis,slow", "'slow'")):
        with pytest.raises(QuickstepError, match=message):
            opened(name, init="scratch", width=0.1, flow=flow)


def test_flow_wants_flow_and_frames_want_frames() -> None:
    with pytest.raises(TypeError, match="reads flow"):
        opened("i3d-flow", init="scratch", width=0.1).embed([frames_of(8)])
    with pytest.raises(TypeError, match="reads frames"):
        opened("i3d-rgb", init="scratch", width=0.1).embed([Flow.of(np.zeros((8, 32, 32, 2), np.float32), np.arange(8.0))])


@pytest.mark.parametrize(
    ("name", "frames", "fps", "vectors"),
    [("i3d-rgb", 64, 25, 7), ("i3d-flow", 64, 25, 7), ("i3d-r50", 32, 15, 4), ("i3d-r50-nl", 32, 15, 4)],
)
def test_views_and_vectors_in_time(name: str, frames: int, fps: float, vectors: int) -> None:
    backbone = opened(name, init="scratch", width=0.1)
    assert (backbone.view.frames, backbone.view.fps, backbone.view.size, backbone.view.edge) == (frames, fps, 224, 256)
    assert backbone.unit == (frames, 224, 224, 2 if name == "i3d-flow" else 3)
    assert backbone.capabilities.reads == ("flow" if name == "i3d-flow" else "frames")
    assert is_trainable(backbone)
    times = np.arange(frames) / fps
    window: Any = Flow.of(np.zeros((frames, 32, 32, 2), np.float32), times) if name == "i3d-flow" else frames_of(frames, 32)
    window = window if name == "i3d-flow" else Frames(window.pixels, times)
    features = backbone.embed([window])[0]
    assert features.values.shape == (vectors, backbone.width)
    assert np.allclose(np.diff(features.times), 8 / fps)
    assert features.times.mean() == pytest.approx(times.mean())


def test_at_full_width_there_are_1024_and_2048_numbers() -> None:
    assert [opened(name, init="scratch").width for name in NAMES] == [1024, 1024, 2048, 2048]


def test_company_changes_no_bit() -> None:
    backbone = opened("i3d-rgb", init="scratch", width=0.1)
    windows = [frames_of(16, seed=1), frames_of(24, seed=2), frames_of(16, 40, seed=3), frames_of(16, seed=4)]
    together = backbone.embed(windows)
    for window, features in zip(windows, together, strict=True):
        alone = backbone.embed([window])[0]
        assert np.array_equal(alone.values, features.values)
        assert np.array_equal(alone.times, features.times)


def test_pictures_that_are_not_square_are_prepared_by_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = opened("i3d-rgb", init="scratch", width=0.05)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 30, 40, 3), dtype=np.uint8)
    assert backbone._pixels_of(Frames(pixels, np.arange(8.0))).shape == (8, 224, 224, 3)


def test_views_too_short_or_small_are_refused() -> None:
    backbone = opened("i3d-r50-nl", init="scratch", width=0.1)
    with pytest.raises(ConfigError, match="at least 5 frames"):
        view_for(backbone, frames=4)
    with pytest.raises(ConfigError, match="at least 32 pixels"):
        check_view(backbone, View(frames=8, size=16))
    check_view(backbone, View(frames=5, size=32))
    backbone.load()(torch.zeros((1, 5, 32, 32, 3), dtype=torch.uint8))


# -- from scratch ---------------------------------------------------------------------------------------------------------


def test_scratch_is_the_seed_and_nothing_else() -> None:
    def weights(init: str) -> dict[str, torch.Tensor]:
        return dict(opened("i3d-r50-nl", init=init, width=0.1).network.state_dict())

    first, second, other = weights("scratch"), weights("scratch:0"), weights("scratch:7")
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["backbone.conv1.conv.weight"], other["backbone.conv1.conv.weight"])
    identities = [opened("i3d-r50", init=init, width=0.1).identity for init in ("scratch", "scratch:0", "scratch:7")]
    assert identities[0] == identities[1] != identities[2]
    assert opened("i3d-r50", init="scratch", width=0.2).identity != identities[0]


def test_a_quarter_of_the_width_is_at_most_an_eighth_of_the_weights() -> None:
    def size(width: float) -> int:
        return sum(weight.numel() for weight in opened("i3d-rgb", init="scratch", width=width).network.parameters())

    assert size(0.25) <= size(1) / 8


def test_signals_neither_die_nor_explode_from_scratch() -> None:
    for name in NAMES:
        backbone = opened(name, init="scratch", width=0.25)
        x = torch.randn(2, backbone.unit[-1], 16, 64, 64, generator=torch.Generator().manual_seed(0))
        assert 0.05 < backbone.network(x).std() < 50


# -- files, folders and what is wrong with them -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_was_written_opens_again(files: dict[str, Path], tmp_path: Path, name: str) -> None:
    backbone = filed(name, files[name])
    backbone.write(backbone.network, tmp_path / "whole", view=backbone.view)
    again = opened(name, weights=tmp_path / "whole")
    x = torch.randn(1, backbone.unit[-1], 8, 48, 48, generator=torch.Generator().manual_seed(3))
    assert torch.equal(again.classify(x), backbone.classify(x))
    assert (again.view, again.labels, again.width) == (backbone.view, backbone.labels, backbone.width)
    other = "i3d-r50" if name != "i3d-r50" else "i3d-rgb"
    with pytest.raises(WeightsError, match=f"holds {name}, not {other}"):
        opened(other, weights=tmp_path / "whole")


def test_a_narrow_network_remembers_its_width_and_view(tmp_path: Path) -> None:
    backbone = opened("i3d-rgb", init="scratch:3", width=0.25)
    view = View(frames=16, fps=10, size=64)
    module = backbone.load()
    backbone.write(module, tmp_path, view=view)
    again = opened("i3d-rgb", weights=tmp_path)
    assert (again.view, again.width, again.unit) == (view, backbone.width, (16, 64, 64, 3))
    windows = torch.randint(0, 256, (1, 16, 64, 64, 3), dtype=torch.uint8)
    assert torch.equal(again.load()(windows), module(windows))
    with pytest.raises(ConfigError, match=r"width 0\.25"):
        opened("i3d-rgb", weights=tmp_path, width=0.5)


def test_safetensors_parallel_prefixes_and_old_files_without_counters(files: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = state_in(files["i3d-rgb"])
    expected = filed("i3d-rgb", files["i3d-rgb"]).classify(x := torch.randn(1, 3, 8, 32, 32))
    save_file(state, tmp_path / "a.safetensors")
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "b.pt")
    torch.save({key: value for key, value in state.items() if "num_batches" not in key}, tmp_path / "c.pt")
    torch.save({"state_dict": state, "meta": {"best": np.float64(0.5), "count": np.int64(3)}}, tmp_path / "d.pt")
    for file in ("a.safetensors", "b.pt", "c.pt", "d.pt"):
        assert torch.equal(filed("i3d-rgb", tmp_path / file).classify(x), expected)


MMACTION_CONFIG = """model = dict(backbone=dict(type='ResNet3d', non_local_cfg=dict(
    sub_sample=True, use_scale=True, norm_cfg=dict(type='BN3d', requires_grad=True), mode='{}')))"""


def test_a_non_local_checkpoint_with_other_attention_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    """Its tensors have the names of the dot product's; its config, its file name or values that overflow tell them apart."""
    state = state_in(files["i3d-r50-nl"])
    torch.save({"state_dict": state, "meta": {"cfg": MMACTION_CONFIG.format("dot_product")}}, tmp_path / "dot.pth")
    filed("i3d-r50-nl", tmp_path / "dot.pth").network  # noqa: B018 - opens
    torch.save({"state_dict": state, "meta": {"config": MMACTION_CONFIG.format("embedded_gaussian")}}, tmp_path / "other.pth")
    torch.save({"state_dict": state}, tmp_path / "i3d_nl-embedded-gaussian_r50.pth")
    overflowing = {name: value * 1e20 if ".phi." in name or ".theta." in name else value for name, value in state.items()}
    torch.save({"state_dict": overflowing}, tmp_path / "large.pth")
    for file, words in (("other", "embedded_gaussian"), ("i3d_nl-embedded-gaussian_r50", "embedded"), ("large", "not finite")):
        with pytest.raises(WeightsError, match=words):
            filed("i3d-r50-nl", tmp_path / f"{file}.pth").network  # noqa: B018 - opens


class Bomb:
    def __reduce__(self) -> Any:
        return (exec, ("open('/tmp/quickstep-bomb', 'w')",))


def broken_files(files: dict[str, Path], folder: Path) -> dict[str, tuple[Path, str]]:
    state = state_in(files["i3d-rgb"])

    def saved(name: str, what: Any) -> Path:
        torch.save(what, folder / name)
        return folder / name

    (folder / "cut.pt").write_bytes(files["i3d-rgb"].read_bytes()[:200_000])
    (folder / "cut.safetensors").write_bytes(b"\x40\x00\x00\x00\x00\x00\x00\x00{")
    (folder / "text.pt").write_text("not found")
    (folder / "empty.pt").write_bytes(b"")
    return {
        "cut": (folder / "cut.pt", "cut short"),
        "cut-safetensors": (folder / "cut.safetensors", "cut short"),
        "text": (folder / "text.pt", "is not opened|no file of weights"),
        "empty": (folder / "empty.pt", "cut short"),
        "code": (saved("bomb.pt", {"state_dict": state, "extra": Bomb()}), "holds code"),
        "list": (saved("list.pt", [1, 2]), "no state dict"),
        "lacks": (
            saved("lacks.pt", {k: v for k, v in state.items() if k != "Mixed_4c.b1b.conv3d.weight"}),
            r"lacks Mixed_4c\.b1b\.conv3d\.weight",
        ),
        "besides": (saved("besides.pt", {**state, "extra.weight": torch.zeros(1)}), r"has besides extra\.weight"),
        "shape": (
            saved("shape.pt", {**state, "Mixed_3b.b0.bn.bias": torch.zeros(3)}),
            r"of another shape Mixed_3b\.b0\.bn\.bias \[3\] for \[16\]",
        ),
        "nan": (saved("nan.pt", {**state, "Mixed_3b.b0.bn.bias": torch.full((16,), torch.nan)}), "not numbers"),
        "r50": (files["i3d-r50"], "is a checkpoint of i3d-r50, not of i3d-rgb"),
        "r50-nl": (files["i3d-r50-nl"], "is a checkpoint of i3d-r50-nl, not of i3d-rgb"),
        "flow": (files["i3d-flow"], "is a checkpoint of i3d-flow, not of i3d-rgb"),
        "nowhere": (folder / "nowhere.pt", "does not exist"),
        "folder": (folder, "has no config.json"),
    }


def test_what_is_wrong_with_weights_is_one_line(files: dict[str, Path], tmp_path: Path) -> None:
    for case, (file, line) in broken_files(files, tmp_path).items():
        with pytest.raises(WeightsError, match=line) as caught:
            opened("i3d-rgb", weights=file, width=None if file.is_dir() else NARROW)  # at once, before any video is decoded
        assert "\n" not in str(caught.value), case
        assert str(file) in str(caught.value), case
    assert not Path("/tmp/quickstep-bomb").exists()


def test_without_weights_it_says_where_they_are() -> None:
    for name in NAMES:
        with pytest.raises(WeightsError) as caught:
            opened(name)
        assert all(
            part in str(caught.value)
            for part in (
                "weights",
                "--init inflate:FILE",
                "scratch",
                "MMAction2" if "r50" in name else "GitHub",
            )
        )


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"init": "zeros"}, "scratch, scratch:SEED or inflate:FILE"),
        ({"init": "scratch:x"}, "scratch, scratch:SEED or inflate:FILE"),
        ({"init": "scratch", "width": 0.01}, "from 0.05 to 1"),
        ({"init": "scratch", "width": float("nan")}, "from 0.05 to 1"),
        ({"init": "scratch", "weights": "a.pt"}, "leave one of the two out"),
        ({"init": "scratch", "embedding": "pooled"}, "embedding"),
        ({"init": "scratch", "engine": "openvino"}, "run by torch alone"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        opened("i3d-rgb", **options)


def test_other_backbones_have_no_init() -> None:
    with pytest.raises(ConfigError, match="init"):
        open_backbone("flow-hist", init="scratch")


def test_opening_knows_nothing_of_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from quickstep.backbones import open_backbone as o; b = o('i3d-rgb', init='scratch'); "
        "b.view, b.unit, b.width, b.capabilities; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- in the whole line ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Narrow networks for a few small frames, as folders."""
    folder = tmp_path_factory.mktemp("small")
    for name in ("i3d-rgb", "i3d-flow"):
        backbone = opened(name, init="scratch:1", width=0.1)
        backbone.write(backbone.load(), folder / name, view=View(frames=8, fps=10, size=32))
    return {name: folder / name for name in ("i3d-rgb", "i3d-flow")}


@pytest.mark.parametrize("name", ["i3d-rgb", pytest.param("i3d-flow", marks=pytest.mark.slow)])
def test_a_model_on_frozen_features_is_trained_saved_and_opened_again(small_folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    manifest = draw(tmp_path / "videos", "motion", count=20, groups=5)
    model = train(manifest, TrainConfig(backbone=name, weights=str(small_folders[name]), precision="fp32")).model
    scores = [prediction.scores for prediction in predict(model, manifest.segments[:3]).predictions]
    model.save(tmp_path / "model")
    again = predict(Model.load(tmp_path / "model"), manifest.segments[:3])
    assert not again.failures
    for prediction, expected in zip(again.predictions, scores, strict=True):
        assert np.array_equal(prediction.scores, expected)


@pytest.mark.parametrize("name", ["i3d-rgb", "i3d-flow"])
def test_several_windows_and_crops_are_looked_at(small_folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    segment = draw(tmp_path / "videos", "motion", count=2).segments[0]
    backbone = opened(name, weights=small_folders[name])
    view = View(frames=8, fps=10, size=32, windows=2, crops=3)
    features = extract([segment], backbone, view=view).check(strict=True).features[segment]
    assert features.values.shape == (2 * 3 * 1, backbone.width)  # 8 frames are one moment of the feature map
