"""The network, its view and its layer before training, from a checkpoint or from a model."""

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
from quickstep.heads.linear import fold_standardization
from quickstep.models.model import Model
from quickstep.models.model_files import NETWORK
from quickstep.storage.cache import Cache
from quickstep.training.finetuning.config import FinetuneConfig
from quickstep.types.errors import ConfigError, UnknownName
from quickstep.types.signals import Flow, Frames
from quickstep.types.view import View

Layer = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Initial:
    """The network before training."""

    backbone: TrainableBackbone
    spec: BackboneSpec  # of the fine-tuned model
    view: View
    layer: Layer | None  # weight (D, C), bias (C,), in the order of `labels`
    labels: tuple[str, ...] | None  # None where the checkpoint has none
    owner: str  # of the layer, for messages
    published: bool  # whether the layer comes with a checkpoint, and not from a model that somebody trained here


def open_initial(config: FinetuneConfig, cache: Cache) -> Initial:
    """Open the backbone that the config names, or the model to continue from."""
    if config.from_ is not None:
        return _from_model(Path(config.from_), config, cache)
    backbone = _trainable(config.spec.open(cache), config.spec.name)
    _ = backbone.identity  # raises WeightsError where there are no weights
    layer = backbone.classifier_layer()
    owner = f"the checkpoint of {config.spec.name}"
    weights = {"weight": layer.weight, "bias": layer.bias} if layer else None
    labels = layer.labels if layer else None
    return Initial(backbone, _inside(config.spec, backbone), _view(backbone, backbone.view, config), weights, labels, owner, published=True)


def _from_model(folder: Path, config: FinetuneConfig, cache: Cache) -> Initial:
    model = Model.load(folder, cache=cache)
    _trainable(model.backbone, model.spec.name)
    spec = model.spec.in_folder(folder)
    spec = replace(spec, embedding=config.embedding or spec.embedding, flow=config.flow or spec.flow, precision="fp32")
    backbone = _trainable(spec.open(cache), spec.name)
    head_weights = model.head.weights()
    layer = None
    if model.head.name == "window-average":
        layer = head_weights
    elif model.head.name == "linear":
        layer = fold_standardization(head_weights)
    if layer is not None and len(layer["weight"]) != backbone.width:
        layer = None
    return Initial(
        backbone, _inside(spec, backbone), _view(backbone, model.view, config), layer, model.labels, f"the model {folder}", published=False
    )


def _set_only(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _trainable(backbone: Backbone, name: str) -> TrainableBackbone:
    """Return the backbone itself; one owner network cannot be trained is refused with the names of those that can."""
    if not is_trainable(backbone):
        choices = [name for name in BACKBONES if name not in NOT_TRAINABLE]
        error = UnknownName("backbone that can be fine-tuned", name, choices)
        error.message = f"the backbone {name!r} cannot be fine-tuned; these can: {', '.join(choices)}"
        raise error
    if backbone.identity.get("output") == PROMPTED:
        raise ConfigError("embedding", "only vectors can be fine-tuned: use projected")
    return backbone


def _inside(spec: BackboneSpec, backbone: TrainableBackbone) -> BackboneSpec:
    """Return the spec of the fine-tuned model: its weights are inside its folder, and it runs in fp32, as it is measured here."""
    spec = replace(spec, weights=NETWORK, inside=True, init=None, width=None, engine=None).settled(backbone)
    takes = backbone.capabilities.settings
    return replace(spec, precision="fp32" if "precision" in takes else None, engine=None)


def initial_layer(initial: Initial, labels: Sequence[str], *, new_head: bool) -> tuple[Layer | None, str | None]:
    """Return the layer to begin with, its classes in the order of these labels (None for a new one), and what the user should know.

    The layer of a published checkpoint is replaced where its classes are others; that of a model only where `new_head` asks for it.
    """
    if new_head or (initial.layer is None and initial.labels is None):
        return None, None
    problem = _misfit(initial, labels)
    if problem and initial.published:
        return None, f"{problem}: a new head replaces its own"
    if problem:
        raise ConfigError("new_head", f"{problem}: `new_head=True` replaces its head")
    assert initial.layer is not None
    if initial.labels is None:
        return initial.layer, None
    order = [initial.labels.index(label) for label in labels]
    return {"weight": initial.layer["weight"][:, order], "bias": initial.layer["bias"][order]}, None


def _misfit(initial: Initial, labels: Sequence[str]) -> str | None:
    """Say why training cannot begin with the layer; None if it can."""
    if initial.labels is None:
        assert initial.layer is not None
        classes = len(initial.layer["bias"])
        return f"{initial.owner} has {classes} classes and the videos have {len(labels)}" if classes != len(labels) else None
    if set(initial.labels) != set(labels):
        names = ", ".join(map(repr, initial.labels[:3])) + (" ..." if len(initial.labels) > 3 else "")
        other = "others" if len(initial.labels) == len(labels) else str(len(labels))
        return f"{initial.owner} has {len(initial.labels)} classes ({names}) and the videos have {other}"
    return f"the head of {initial.owner} cannot be trained together with its network" if initial.layer is None else None


def _view(backbone: TrainableBackbone, base: View, config: FinetuneConfig) -> View:
    """Return the base view with the settings of the config."""
    changes: dict[str, Any] = _set_only(frames=config.frames, fps=config.fps)
    if config.fps is not None and base.fps is None and base.windows is None:
        changes["windows"] = 1
    if config.size is not None:
        changes |= {"size": config.size, "edge": base.edge and max(config.size, round(config.size * base.edge / base.size))}
    view = with_windows(replace(base, **changes), windows=config.windows, crops=config.crops)
    check_view(backbone, view)
    if view.fit not in ("crop", "stretch"):
        raise ConfigError("backbone", f"fine-tuning needs square frames, and the view of {backbone.name} is {view.fit!r}")
    return view


def count_vectors(backbone: TrainableBackbone, network: torch.nn.Module, view: View) -> int:
    """Count the vectors that the network gives for a window, by trial; refuse a view that does not fit the network."""
    own, single_frames = backbone.view, len(backbone.unit) == 3
    rng = np.random.default_rng(0)
    window = rng.integers(1, 256, (1 if single_frames else view.frames, view.size, view.size, backbone.unit[-1]), dtype=np.uint8)
    changed = "size" if view.size != own.size else "frames"
    try:
        with torch.no_grad():
            output = network(torch.from_numpy(window if single_frames else window[None]))
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:
        raise _unfit(backbone, view, changed) from error
    vectors = output.reshape(-1, output.shape[-1]).float().numpy()  # (V, D)
    if view.size != own.size:  # some accept any size but resize to their own in `embed`
        times = np.arange(len(window)) / 25
        signal: Any = Flow(window, times) if backbone.unit[-1] == 2 else Frames(window, times)
        embedded = backbone.embed([signal])[0].values
        if embedded.shape != vectors.shape or not np.allclose(embedded, vectors, rtol=0.05, atol=0.05 * float(np.abs(vectors).max())):
            raise _unfit(backbone, view, changed)
    return view.frames if single_frames else len(vectors)


def _unfit(backbone: TrainableBackbone, view: View, changed: str) -> ConfigError:
    own = backbone.view
    return ConfigError(
        changed, f"{backbone.name} takes {own.frames} frames of {own.size} pixels, not {view.frames} of {view.size}: leave it out"
    )
