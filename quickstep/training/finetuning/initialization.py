"""Start: what a run begins with: the network, how it looks, and the layer behind it where that is kept. Refuses what does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quickstep.backbones import (
    BACKBONES,
    NOT_TRAINABLE,
    PROMPTED,
    Backbone,
    BackboneSpec,
    TrainableBackbone,
    check_view,
    is_trainable,
    with_windows,
)
from quickstep.heads.window_average import fold_standardization
from quickstep.models.model import Model
from quickstep.models.model_files import NETWORK
from quickstep.storage.cache import Cache
from quickstep.training.finetuning.config import FinetuneConfig
from quickstep.types.errors import ConfigError, UnknownName
from quickstep.types.signals import Flow, Frames
from quickstep.types.view import View

Layer = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Start:
    """The network as it is before tuning."""

    backbone: TrainableBackbone
    spec: BackboneSpec  # of the model to be
    view: View
    layer: Layer | None  # weight (D, C), bias (C,), in the order of `labels`
    labels: tuple[str, ...] | None  # None where nobody knows them
    whose: str  # what to call the owner of the layer


def open_start(config: FinetuneConfig, cache: Cache) -> Start:
    """The backbone that the config names, or the model that it goes on from."""
    if config.from_ is not None:
        return _from_model(Path(config.from_), config, cache)
    backbone = _trainable(config.spec.open(cache), config.spec.name)
    _ = backbone.identity  # finds the weights, or says that there are none
    layer = backbone.classifier_layer()
    owner = f"the checkpoint of {config.spec.name}"
    weights = {"weight": layer.weight, "bias": layer.bias} if layer else None
    labels = layer.labels if layer else None
    return Start(backbone, _inside(config.spec, backbone), _view(backbone, backbone.view, config), weights, labels, owner)


def _from_model(folder: Path, config: FinetuneConfig, cache: Cache) -> Start:
    model = Model.load(folder, cache=cache)
    _trainable(model.backbone, model.spec.name)
    spec = model.spec.in_folder(folder)
    spec = replace(spec, embedding=config.embedding or spec.embedding, flow=config.flow or spec.flow, precision="fp32")
    backbone = _trainable(spec.open(cache), spec.name)
    weights_of = model.head.weights()
    layer = None
    if model.head.name == "window-average":
        layer = weights_of
    elif model.head.name == "linear":
        layer = fold_standardization(weights_of)
    if layer is not None and len(layer["weight"]) != backbone.width:
        layer = None
    return Start(backbone, _inside(spec, backbone), _view(backbone, model.view, config), layer, model.labels, f"the model {folder}")


def _options(**said: Any) -> dict[str, Any]:
    return {name: value for name, value in said.items() if value is not None}


def _trainable(backbone: Backbone, name: str) -> TrainableBackbone:
    """Return the backbone itself; one whose network cannot be trained is refused with the names of those that can."""
    if not is_trainable(backbone):
        choices = [known for known in BACKBONES if known not in NOT_TRAINABLE]
        error = UnknownName("backbone that can be fine-tuned", name, choices)
        error.message = f"the backbone {name!r} cannot be fine-tuned; these can: {', '.join(choices)}"
        raise error
    if backbone.identity.get("output") == PROMPTED:
        raise ConfigError("embedding", "only vectors can be fine-tuned: take projected")
    return backbone


def _inside(spec: BackboneSpec, backbone: TrainableBackbone) -> BackboneSpec:
    """Return the spec of the fine-tuned model: its weights are inside its folder, and it runs in fp32, as it is measured here."""
    spec = replace(spec, weights=NETWORK, inside=True, init=None, width=None, engine=None).settled(backbone)
    takes = backbone.capabilities.settings
    return replace(spec, precision="fp32" if "precision" in takes else None, engine=None)


def kept_layer(start: Start, labels: Sequence[str], *, new_head: bool) -> Layer | None:
    """The layer to begin with, its classes in the order of these labels; None for a new one, which has to be asked for."""
    if new_head or (start.layer is None and start.labels is None):
        return None
    if start.labels is None:
        assert start.layer is not None
        classes = len(start.layer["bias"])
        if classes != len(labels):
            raise ConfigError(
                "new_head",
                f"{start.whose} tells {classes} classes apart and the videos show {len(labels)}: `new_head=True` replaces it",
            )
        return start.layer
    if set(start.labels) != set(labels):
        told = ", ".join(map(repr, start.labels[:3])) + (" ..." if len(start.labels) > 3 else "")
        same = "others" if len(start.labels) == len(labels) else str(len(labels))
        raise ConfigError(
            "new_head",
            f"{start.whose} tells {len(start.labels)} classes apart ({told}) and the videos show {same}: `new_head=True` replaces it",
        )
    if start.layer is None:
        raise ConfigError("new_head", f"the head of {start.whose} cannot be tuned together with its network: `new_head=True` replaces it")
    order = [start.labels.index(label) for label in labels]
    return {"weight": start.layer["weight"][:, order], "bias": start.layer["bias"][order]}


def _view(backbone: TrainableBackbone, base: View, config: FinetuneConfig) -> View:
    """How it looks: its own view, with what was asked for."""
    changes: dict[str, Any] = _options(frames=config.frames, fps=config.fps)
    if config.fps is not None and base.fps is None and base.windows is None:
        changes["windows"] = 1
    if config.size is not None:
        changes |= {"size": config.size, "edge": base.edge and max(config.size, round(config.size * base.edge / base.size))}
    view = with_windows(replace(base, **changes), windows=config.windows, crops=config.crops)
    check_view(backbone, view)
    if view.fit not in ("crop", "stretch"):
        raise ConfigError("backbone", f"a network that is tuned sees squares, and the view of {backbone.name} is {view.fit!r}")
    return view


def vectors_a_window(backbone: TrainableBackbone, network: torch.nn.Module, view: View) -> int:
    """How many vectors the network makes of a window, by trial; a view that does not fit it is refused."""
    own, pictures = backbone.view, len(backbone.unit) == 3
    rng = np.random.default_rng(0)
    window = rng.integers(1, 256, (1 if pictures else view.frames, view.size, view.size, backbone.unit[-1]), dtype=np.uint8)
    changed = "size" if view.size != own.size else "frames"
    try:
        with torch.no_grad():
            found = network(torch.from_numpy(window if pictures else window[None]))
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:
        raise _unfit(backbone, view, changed) from error
    vectors = found.reshape(-1, found.shape[-1]).float().numpy()  # (V, D)
    if view.size != own.size:  # some take any size but look at their own when they are tested
        times = np.arange(len(window)) / 25
        shown: Any = Flow(window, times) if backbone.unit[-1] == 2 else Frames(window, times)
        seen = backbone.embed([shown])[0].values
        if seen.shape != vectors.shape or not np.allclose(seen, vectors, rtol=0.05, atol=0.05 * float(np.abs(vectors).max())):
            raise _unfit(backbone, view, changed)
    return view.frames if pictures else len(vectors)


def _unfit(backbone: TrainableBackbone, view: View, changed: str) -> ConfigError:
    own = backbone.view
    return ConfigError(
        changed, f"{backbone.name} looks at {own.frames} frames of {own.size} pixels, not at {view.frames} of {view.size}: leave it out"
    )
