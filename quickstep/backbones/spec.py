"""BackboneSpec: which backbone, with which weights and settings; `spec.open(cache)` is the only way to one.

A model folder, a library and a training run hold a spec; nobody passes its fields one by one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from quickstep.backbones.interface import Backbone, Capabilities
from quickstep.backbones.registry import BACKBONES, RENAMED_BACKBONES, table_row
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError
from quickstep.types.registry import current_name, look_up, refuse_code_in, trust, trust_typed

NETWORK = "backbone"  # the folder inside a model folder with the weights of a fine-tuned network


@dataclass(frozen=True)
class BackboneSpec:
    """Everything that opens the same backbone again; as JSON, part of model.json."""

    name: str
    weights: str | None = None  # a local file or folder, or a hub name, in place of the published checkpoint
    embedding: str | None = field(default=None, metadata={"written_as": "output"})  # "projected", "pooled" or "prompted"
    precision: str | None = None  # "auto", "fp32" or "bf16"
    engine: str | None = None  # "torch" or "openvino"
    flow: str | None = None  # how flow is computed for one that reads it, such as "tvl1" or "dis,camera"
    poses: dict[str, Any] = field(default_factory=dict)  # the fields of PoseConfig that were set, for one that reads poses
    init: str | None = None  # what a network without weights starts from: "scratch" or "inflate:FILE"
    width: float | None = None  # with init "scratch": a narrower network, as a share of the usual width
    inside: bool = False  # `weights` is a folder inside the model folder: the network was fine-tuned

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", RENAMED_BACKBONES.get(self.name, self.name))

    @classmethod
    def named(cls, name: str, *, weights: str | Path | None = None, **settings: Any) -> Self:
        """Return the spec for a name that a person typed; an old name is noted, local weights get their absolute path."""
        poses = settings.get("poses") or {}
        trust_typed(name, settings.get("flow"), poses.get("estimator"))
        return cls(current_name("backbone", name, RENAMED_BACKBONES), weights=absolute_path(weights), **settings)

    @classmethod
    def of(cls, backbone: Backbone) -> Self:
        """Return the spec of somebody's own backbone, which is opened again by its class."""
        capabilities_of(backbone)
        trust(type(backbone).__module__)
        return cls(f"{type(backbone).__module__}:{type(backbone).__qualname__}")

    def with_weights(self, weights: str | Path | None) -> Self:
        """Return the spec with weights from another place; None changes nothing."""
        return self if weights is None else replace(self, weights=str(weights), inside=False)

    def in_folder(self, folder: Path) -> Self:
        """Return the spec for a model that lies in this folder: weights inside it get their absolute path."""
        return replace(self, weights=str(folder / NETWORK)) if self.inside else self

    def settled(self, backbone: Backbone) -> Self:
        """Return the spec with everything that was left open as the opened backbone settled it."""
        identity = backbone.identity
        settled = {"embedding": "output", "precision": "precision", "engine": "engine"}
        values = {name: identity.get(key, getattr(self, name)) for name, key in settled.items()}
        poses = backbone.spec.poses if backbone.capabilities.reads == "poses" else {}  # type: ignore[attr-defined]
        return replace(self, **values, poses=dict(poses))

    def open(self, cache: Cache | None = None) -> Backbone:
        """Open the backbone, ready to describe itself; its network loads with the first `embed`."""
        row = table_row(self.name)
        refuse_code_in({"flow": self.flow, "estimator": self.poses.get("estimator")})
        backbone: Any = look_up("backbone", row, BACKBONES)
        if not isinstance(backbone, type):
            return backbone  # type: ignore[no-any-return]  # somebody's instance
        self._check(capabilities_of(backbone))
        if row in BACKBONES:
            return backbone(self, cache or Cache())  # type: ignore[no-any-return]
        return backbone(**self._settings)  # type: ignore[no-any-return]  # somebody's class

    @property
    def _settings(self) -> dict[str, Any]:
        """The fields that were set, besides the name and the place of the weights."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in ("name", "inside")}
        return {name: value for name, value in values.items() if value is not None and value != {}}

    def _check(self, capabilities: Capabilities) -> None:
        for name in self._settings:
            if name in capabilities.settings:
                continue
            if name == "poses":
                raise ConfigError(next(iter(self.poses)), f"is for backbones that read poses, such as joints; {self.name!r} does not")
            raise ConfigError(name, f"the backbone {self.name!r} has no such setting; leave it out")


def absolute_path(weights: str | Path | None) -> str | None:
    """Return the absolute path of local weights, so that a model finds them from any folder; a hub name as it is."""
    if weights is None or not Path(weights).expanduser().exists():
        return None if weights is None else str(weights)
    return str(Path(weights).expanduser().absolute())


def capabilities_of(backbone: Any) -> Capabilities:
    """Return the capabilities of somebody's backbone; one without is refused with what to write."""
    capabilities = getattr(backbone, "capabilities", None)
    if not isinstance(capabilities, Capabilities):
        name = (backbone if isinstance(backbone, type) else type(backbone)).__qualname__
        raise ConfigError(
            "backbone", f"the class {name} does not say what it can do: write `capabilities = quickstep.Capabilities(reads='frames')` in it"
        )
    return capabilities
