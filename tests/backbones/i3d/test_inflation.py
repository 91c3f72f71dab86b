"""Networks that see video, made of those that see pictures: a still video gives the 2D network's own answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from video_references import filled, googlenet_scores, googlenet_shapes, still, torchvision_names

from quickstep.backbones import open_backbone
from quickstep.types.errors import ConfigError, WeightsError
from quickstep.types.signals import Frames

CLASSES = 6


@pytest.fixture(scope="module")
def googlenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw a GoogLeNet under torchvision's names, its auxiliary classifiers included."""
    state = filled(googlenet_shapes(CLASSES), 3)
    state |= {"aux1.conv.conv.weight": torch.zeros(128, 512, 1, 1), "aux2.fc2.bias": torch.zeros(CLASSES)}
    file = tmp_path_factory.mktemp("flat") / "googlenet.pth"
    torch.save(state, file)
    return file


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Build a ResNet-50 of transformers with drawn weights, in evaluation mode."""
    with torch.device("meta"):
        network = transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=CLASSES))
    shapes = {name: list(value.shape) for name, value in network.state_dict().items()}
    state = filled(shapes, 4)
    state = {name: value * 0.2 if "layer.2.normalization.weight" in name else value for name, value in state.items()}
    network.load_state_dict(state, assign=True)
    return network.eval()


@pytest.fixture(scope="module")
def resnet_forms(resnet: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Save the same network in every form in which it is published."""
    folder = tmp_path_factory.mktemp("resnets")
    resnet.save_pretrained(folder / "classifier")
    resnet.resnet.save_pretrained(folder / "trunk")
    named = torchvision_names(resnet.state_dict())
    torch.save(named, folder / "torchvision.pth")
    torch.save({"state_dict": {f"module.{name}": value for name, value in named.items()}}, folder / "parallel.pth")
    return {
        "folder": folder / "classifier",
        "trunk": folder / "trunk",
        "torchvision": folder / "torchvision.pth",
        "parallel": folder / "parallel.pth",
        "file": folder / "classifier" / "model.safetensors",
    }


def opened(name: str, flat: Path, **options: Any) -> Any:
    return open_backbone(name, init=f"inflate:{flat}", precision="fp32", **options)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("size", [(64, 64), (75, 90)], ids=str)
def test_a_still_video_gives_googlenets_own_answer(googlenet: Path, size: tuple[int, int]) -> None:
    picture = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    backbone = opened("i3d-rgb", googlenet)
    expected = googlenet_scores(torch.load(googlenet, weights_only=True), picture)
    for moments in (9, 16):
        close(backbone.classify(still(picture, moments)), expected)
    features = backbone.network(still(picture, 16))
    close(features, features[:, :, :1].expand_as(features))  # every moment says the same, the first and the last too


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("i3d-r50", "folder"),
        ("i3d-r50-nl", "torchvision"),
        pytest.param("i3d-r50", "parallel", marks=pytest.mark.slow),
        pytest.param("i3d-r50-nl", "file", marks=pytest.mark.slow),
    ],
)
def test_a_still_video_gives_resnets_own_answer(resnet: Any, resnet_forms: dict[str, Path], name: str, form: str) -> None:
    picture = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    backbone = opened(name, resnet_forms[form])
    with torch.no_grad():
        output = resnet(picture, output_hidden_states=True)
    features = backbone.network(still(picture, 16))
    close(features, still(output.hidden_states[-1], 2))
    close(backbone.classify(still(picture, 16)), output.logits)


@pytest.mark.slow
def test_at_full_size_too(resnet: Any, resnet_forms: dict[str, Path], googlenet: Path) -> None:
    picture = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        close(opened("i3d-r50", resnet_forms["torchvision"]).classify(still(picture, 8)), resnet(picture).logits)
    expected = googlenet_scores(torch.load(googlenet, weights_only=True), picture)
    close(opened("i3d-rgb", googlenet).classify(still(picture, 8)), expected)


@pytest.mark.slow
def test_a_still_video_of_bytes_gives_the_pictures_vector(resnet: Any, resnet_forms: dict[str, Path]) -> None:
    """As a user has it: through the 2D network's own processor, through `embed` here."""
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    processor = transformers.ConvNextImageProcessor(
        do_resize=False, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]
    )  # the one that microsoft/resnet-50 names
    with torch.no_grad():
        expected = resnet.resnet(**processor(picture, return_tensors="pt")).pooler_output.flatten(1)
    features = opened("i3d-r50", resnet_forms["trunk"]).embed([Frames(np.stack([picture] * 16), np.arange(16) / 15)])[0]
    close(torch.from_numpy(features.values), expected.expand(len(features), -1))


def test_kernels_are_the_flat_ones_repeated_and_divided(googlenet: Path) -> None:
    flat = torch.load(googlenet, weights_only=True)
    rgb = opened("i3d-rgb", googlenet).network.state_dict()
    kernel = rgb["Mixed_4c.b2b.conv3d.weight"]
    assert kernel.shape == (64, 24, 3, 3, 3)
    torch.testing.assert_close(kernel[:, :, 1] * 3, flat["inception4b.branch3.1.conv.weight"])
    torch.testing.assert_close(kernel.sum(dim=2), flat["inception4b.branch3.1.conv.weight"])
    torch.testing.assert_close(rgb["Mixed_5c.b3b.bn.running_var"], flat["inception5b.branch4.1.bn.running_var"])
    flow = opened("i3d-flow", googlenet).network.state_dict()
    first = flow["Conv3d_1a_7x7.conv3d.weight"]
    assert first.shape == (64, 2, 7, 7, 7)
    torch.testing.assert_close(first.sum(dim=2)[:, 0], flat["conv1.conv.weight"].mean(dim=1))
    assert torch.equal(first[:, 0], first[:, 1])
    assert torch.equal(flow["Mixed_4c.b2b.conv3d.weight"], kernel)


@pytest.mark.slow
def test_motion_changes_the_answer(googlenet: Path) -> None:
    """It is no longer a network of pictures: the same pictures in another order say something else."""
    backbone = opened("i3d-rgb", googlenet)
    x = torch.randn(1, 3, 16, 64, 64, generator=torch.Generator().manual_seed(5))
    there, back = (backbone.classify(windows) for windows in (x, x.flip(2)))
    assert (there - back).abs().max() > 1e-3 * there.abs().max()


def test_an_inflated_network_is_written_and_opens_as_it_was(googlenet: Path, tmp_path: Path) -> None:
    backbone = opened("i3d-rgb", googlenet)
    backbone.write(backbone.load(), tmp_path, view=backbone.view)
    again = open_backbone("i3d-rgb", weights=tmp_path, precision="fp32")
    windows = torch.randint(0, 256, (1, 9, 48, 48, 3), dtype=torch.uint8)
    assert torch.equal(again.load()(windows), backbone.load()(windows))  # type: ignore[attr-defined]


def test_identity_is_the_files_content(googlenet: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.pth").write_bytes(googlenet.read_bytes())
    assert opened("i3d-rgb", googlenet).identity == opened("i3d-rgb", tmp_path / "copy.pth").identity
    assert opened("i3d-rgb", googlenet).identity != opened("i3d-flow", googlenet).identity


def test_what_cannot_be_inflated_is_one_line(googlenet: Path, resnet_forms: dict[str, Path], tmp_path: Path) -> None:
    wide = torch.load(googlenet, weights_only=True)
    wide["inception3a.branch3.1.conv.weight"] = torch.zeros(32, 16, 5, 5)
    torch.save(wide, tmp_path / "five.pth")
    other = tmp_path / "resnet18"
    config = transformers.ResNetConfig(layer_type="basic", depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512])
    transformers.ResNetModel(config).save_pretrained(other)
    (tmp_path / "vit").mkdir()
    (tmp_path / "vit" / "config.json").write_text(json.dumps({"model_type": "vit"}))
    (tmp_path / "cut.pth").write_bytes(googlenet.read_bytes()[:100_000])
    cases = [
        ("i3d-rgb", resnet_forms["torchvision"], "not a GoogLeNet"),
        ("i3d-r50", googlenet, "not a ResNet-50"),
        ("i3d-r50", other, "another ResNet"),
        ("i3d-r50", tmp_path / "vit", "'vit' network"),
        ("i3d-rgb", tmp_path / "five.pth", r"\[32, 16, 5, 5\], and \[32, 16, 3, 3\]"),
        ("i3d-rgb", tmp_path / "cut.pth", "cut short"),
        ("i3d-rgb", tmp_path, "has no weights"),
        ("i3d-rgb", tmp_path / "nowhere.pth", "there is no"),
    ]
    for name, flat, line in cases:
        with pytest.raises(WeightsError, match=line) as caught:
            opened(name, flat)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="leave it out"):
        opened("i3d-rgb", googlenet, width=0.5)
