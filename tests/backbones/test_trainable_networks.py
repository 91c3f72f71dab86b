"""What every network that can be trained further gives: a module, its parameters in blocks, and a folder that opens again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest
import torch

from quickstep.backbones import is_trainable, open_backbone
from quickstep.backbones.pretrained_network import group_parameters
from quickstep.types.signals import Flow, Frames

LAYERS = 2  # of the small transformers
I3D: dict[str, dict[str, Any]] = {name: {"init": "scratch", "width": 0.1} for name in ("i3d-rgb", "i3d-flow", "i3d-r50", "i3d-r50-nl")}
QUICK = {"clip", "siglip", "dinov2", "xclip", "videomae", "vjepa2", "i3d-rgb", "i3d-r50-nl"}  # one of each kind; the others are slow tests


class Saved(dict[str, Path]):
    """Checkpoints, written when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __missing__(self, family: str) -> Path:
        self[family] = checkpoints.save(family, self.folder / family)
        return self[family]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return Saved(tmp_path_factory.mktemp("checkpoints"))


def sorted_out(families: Iterable[Any]) -> list[Any]:
    """Parameters of tests, those that say nothing new marked as slow."""
    return [
        pytest.param(*family, marks=() if family[0] in QUICK else pytest.mark.slow)
        for family in (family if isinstance(family, tuple) else (family,) for family in families)
    ]


def opened(saved: dict[str, Path], family: str, **options: Any) -> Any:
    if family in I3D:
        return open_backbone(family, precision="fp32", **({"weights": saved[family]} if family in saved else I3D[family]))
    kind = "hf-xclip" if family in checkpoints.WINDOWS else "hf-video" if family in checkpoints.VIDEOS else "hf-image"
    return open_backbone(f"{kind}:{saved[family]}", precision="fp32", **options)


def random_windows(backbone: Any, seed: int = 0) -> np.ndarray:
    unit = (9, 40, 40, backbone.unit[-1]) if backbone.name in I3D else backbone.unit  # whose windows may be of any size
    return np.random.default_rng(seed).integers(0, 256, (2, *unit), dtype=np.uint8)


def stirred(module: torch.nn.Module) -> torch.nn.Module:
    """Every parameter somewhat different, as training would leave it."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.02)
    return module


CASES = [(family, None) for family in (*checkpoints.FAMILIES, "xclip", "xclip-newer-config")]
CASES += [("clip", "pooled"), ("clip-vision-projected", "pooled"), ("siglip", "projected"), ("xclip", "prompted")]
CASES += [(family, None) for family in (*checkpoints.VIDEOS, *I3D)]


@pytest.mark.parametrize(("family", "embedding"), sorted_out(CASES))
def test_a_trained_network_is_written_and_opens_again_with_equal_output(
    saved: dict[str, Path], tmp_path: Path, family: str, embedding: str | None
) -> None:
    backbone = opened(saved, family, embedding=embedding)
    module = stirred(backbone.load())
    pixels = torch.from_numpy(random_windows(backbone))
    with torch.no_grad():
        expected = module(pixels)
    backbone.write(module, tmp_path / "tuned", view=backbone.view)

    again = opened({family: tmp_path / "tuned"}, family, embedding=embedding)
    with torch.no_grad():
        torch.testing.assert_close(again.load()(pixels), expected, rtol=0, atol=0)
    assert (again.unit, again.view, again.width) == (backbone.unit, backbone.view, backbone.width)
    assert getattr(again, "embedding", None) == getattr(backbone, "embedding", None)
    assert again.identity["weights"] != backbone.identity["weights"]
    if embedding != "prompted":  # whose values are (1, 1 + P, D)
        window = random_windows(backbone)[0] if len(backbone.unit) == 4 else random_windows(backbone)
        times = np.arange(len(window)) / 4
        vectors = again.embed([Flow(window, times) if family == "i3d-flow" else Frames(window, times)])[0].values
        np.testing.assert_allclose(vectors, expected.reshape(-1, backbone.width)[: len(vectors)].numpy(), rtol=1e-4, atol=1e-5)


def test_left_to_the_folder_the_output_is_the_same(saved: dict[str, Path], tmp_path: Path) -> None:
    for embedding in ("pooled", "projected"):
        backbone = opened(saved, "clip", embedding=embedding)
        backbone.write(backbone.load(), tmp_path / embedding, view=backbone.view)
        again = open_backbone(f"hf-image:{tmp_path / embedding}")
        assert (again.embedding, again.width) == (embedding, backbone.width)  # type: ignore[attr-defined]


@pytest.mark.parametrize("family", sorted_out([*checkpoints.FAMILIES, "xclip", *checkpoints.VIDEOS, *I3D]))
def test_blocks_hold_every_parameter_once_from_input_to_output(saved: dict[str, Path], family: str) -> None:
    backbone = opened(saved, family)
    module = backbone.load()
    blocks = backbone.blocks(module)
    names = [name for block in blocks for name in block]
    assert sorted(names) == sorted(name for name, _ in module.named_parameters())
    assert all(blocks)
    if family == "dinov3-convnext":
        assert len(blocks) == 1 + 1 + 2 + 1 + 1  # a layer in each stage but two in the third, and the norm
        return
    if family in I3D:
        assert len(blocks) == (1 + 3 + 4 + 6 + 3 if "r50" in family else 3 + 9)
        assert all("conv1" in name or "Conv3d_1a" in name for name in blocks[0])
        return
    above = family != "videomae-pretraining"  # whose tokens are averaged as they are
    assert len(blocks) == 1 + LAYERS + above
    assert all("patch" in name or "embed" in name or "pre_" in name for name in blocks[0] if "token" not in name)
    for number, block in enumerate(blocks[1 : 1 + LAYERS]):
        assert all(f".{number}." in name for name in block)
    assert not above or any("norm" in name or name.startswith("top.") for name in blocks[-1])


@pytest.mark.parametrize(
    "family",
    sorted_out(["clip", "siglip", "dinov2", "dinov3-vit", "dinov3-convnext", "xclip", "videomae", "timesformer", "vivit", "vjepa2", *I3D]),
)
def test_what_is_opened_learns(saved: dict[str, Path], family: str) -> None:
    """The gradient reaches the blocks that are opened, the stem among them, and no other."""
    backbone = opened(saved, family)
    module = backbone.load()
    assert not any(weight.requires_grad for weight in module.parameters())
    blocks = backbone.blocks(module)
    open_names = {*blocks[0], *blocks[-2], *blocks[-1]}
    for name, weight in module.named_parameters():
        weight.requires_grad_(name in open_names)
    module.train()(torch.from_numpy(random_windows(backbone))).square().sum().backward()
    learnt = {name for name, weight in module.named_parameters() if weight.grad is not None and weight.grad.abs().sum() > 0}
    assert learnt <= open_names
    for block in (blocks[0], blocks[-2], blocks[-1]):
        assert learnt & set(block)


def test_a_positions_table_learns_too(saved: dict[str, Path]) -> None:
    """DINOv2 stretches its table of positions to the picture: what is trained is the table."""
    module = opened(saved, "dinov2").load()
    table = module.network.embeddings.position_embeddings.requires_grad_()
    pixels = torch.zeros((1, checkpoints.SIZE, checkpoints.SIZE, 3), dtype=torch.uint8)
    module(pixels).sum().backward()
    assert table.grad.abs().sum() > 0


def test_words_survive_the_writing_of_a_window_network(saved: dict[str, Path], tmp_path: Path) -> None:
    backbone = opened(saved, "xclip")
    backbone.write(stirred(backbone.load()), tmp_path / "tuned", view=backbone.view)
    again = opened({"xclip": tmp_path / "tuned"}, "xclip")
    words = ["a windmill", "a halo"]
    np.testing.assert_array_equal(again.embed_text(words), backbone.embed_text(words))


def test_a_place_that_cannot_be_written_is_one_line(saved: dict[str, Path], tmp_path: Path) -> None:
    backbone = opened(saved, "clip")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="cannot be written to") as caught:
        backbone.write(backbone.load(), tmp_path / "file", view=backbone.view)
    assert "\n" not in str(caught.value)


def test_blocks_of_no_layers_are_stem_and_top() -> None:
    assert group_parameters(["embeddings.a", "norm.b"]) == [["embeddings.a"], ["norm.b"]]


def test_what_has_no_network_cannot_be_tuned() -> None:
    assert not is_trainable(open_backbone("flow-hist"))
