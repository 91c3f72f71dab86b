"""BackboneSpec: the only way to a backbone, as JSON in model folders and libraries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toys

from quickstep.backbones import BACKBONES, RENAMED_BACKBONES, BackboneSpec, open_backbone
from quickstep.backbones.interface import Capabilities
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import from_plain, to_plain
from quickstep.types import registry
from quickstep.types.errors import ConfigError
from quickstep.types.registry import look_up


def test_a_spec_of_version_0_1_is_read_and_its_old_name_is_not_noted(caplog: pytest.LogCaptureFixture) -> None:
    old = {
        "name": "motion-numbers",
        "weights": None,
        "output": None,
        "precision": None,
        "engine": None,
        "poses": {"skeleton": "coco-17"},
        "flow": None,
        "inside": False,
    }
    spec = from_plain(BackboneSpec, old)
    assert spec.open().name == spec.name == "kinematics"
    assert not caplog.messages


def test_json_brings_the_same_spec_back() -> None:
    settings: dict[str, Any] = {"embedding": "pooled", "precision": "fp32", "flow": "tvl1", "poses": {"people": 2}}
    spec = BackboneSpec("i3d-rgb", init="scratch", width=0.5, inside=True, **settings)
    assert from_plain(BackboneSpec, to_plain(spec)) == spec


@pytest.mark.parametrize("old", RENAMED_BACKBONES)
def test_an_old_name_that_a_person_types_is_noted_with_the_new_one(old: str, caplog: pytest.LogCaptureFixture) -> None:
    registry._note_new_name.cache_clear()
    assert open_backbone(old).name == RENAMED_BACKBONES[old]
    (message,) = caplog.messages
    assert RENAMED_BACKBONES[old] in message
    assert RENAMED_BACKBONES[old] in BACKBONES


@pytest.mark.parametrize(
    ("name", "settings", "field"),
    [
        ("flow-hist", {"weights": "a"}, "weights"),
        ("flow-hist", {"precision": "fp32"}, "precision"),
        ("joints", {"flow": "tvl1"}, "flow"),
        ("i3d-rgb", {"init": "scratch", "flow": "tvl1"}, "flow"),
        ("clip-vit-b32", {"poses": {"person": "1"}}, "person"),
        ("toys:Colours", {"embedding": "pooled"}, "embedding"),
    ],
)
def test_a_setting_that_a_backbone_does_not_have_is_named(name: str, settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        BackboneSpec.named(name, **settings).open()
    assert caught.value.field == field


def test_every_class_of_the_table_says_what_it_can_do() -> None:
    for name, entry in BACKBONES.items():
        capabilities = look_up("backbone", name, BACKBONES).capabilities
        assert isinstance(capabilities, Capabilities)
        assert capabilities.reads == ("flow" if name == "i3d-flow" else "poses" if name in ("joints", "kinematics") else "frames"), entry


class Silent:
    """Somebody's backbone of version 0.1, without capabilities."""


class Chooser(toys.Colours):
    capabilities = Capabilities(settings=("weights", "width"))

    def __init__(self, weights: str | None = None, width: float | None = None) -> None:
        super().__init__(salt=f"{weights} {width}")


def test_somebodys_class_is_opened_with_the_settings_that_it_declares() -> None:
    spec = BackboneSpec.named(f"{__name__}:Chooser", weights="there", width=0.5)
    assert spec.open().identity["weights"] == "there 0.5"
    assert BackboneSpec.of(Chooser()) == BackboneSpec(f"{__name__}:Chooser")


@pytest.mark.parametrize("opened", [lambda: BackboneSpec.named(f"{__name__}:Silent").open(), lambda: BackboneSpec.of(Silent())])  # type: ignore[arg-type]
def test_somebodys_class_without_capabilities_is_refused_with_what_to_write(opened: Any) -> None:
    with pytest.raises(ConfigError, match=r"Silent.*Capabilities\("):
        opened()


def test_weights_inside_a_model_folder_are_found_where_the_folder_is(tmp_path: Path) -> None:
    spec = BackboneSpec("hf-image:inside", weights="backbone", inside=True)
    assert spec.in_folder(tmp_path).weights == str(tmp_path / "backbone")
    assert replace(spec, inside=False).in_folder(tmp_path).weights == "backbone"
    moved = spec.with_weights(tmp_path / "other")
    assert (moved.weights, moved.inside) == (str(tmp_path / "other"), False)
    assert spec.with_weights(None) == spec


def test_local_weights_get_their_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip").mkdir()
    assert BackboneSpec.named("hf-image:x", weights="clip").weights == str(tmp_path / "clip")
    assert BackboneSpec.named("hf-image:x", weights="owner/clip").weights == "owner/clip"


def test_the_spec_of_a_trained_model_says_what_was_settled() -> None:
    spec = BackboneSpec("i3d-rgb", init="scratch", width=0.1, precision="fp32")
    settled = spec.settled(spec.open(Cache()))
    assert (settled.precision, settled.engine, settled.embedding) == ("fp32", "torch", None)
    poses = BackboneSpec("joints", poses={"skeleton": "coco-17"})
    assert poses.settled(poses.open()) == poses
