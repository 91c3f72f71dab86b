"""Start: what a run begins with: the network, how it looks, and the layer behind it where that is kept. Refuses what does not fit."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from quickstep.backbones import BACKBONES, Backbone, Tunable, can_be_tuned, check_view, laid, open_backbone
from quickstep.heads.window_average import fold_standardization
from quickstep.models.model import NETWORK, Model, Opening
from quickstep.storage.cache import Cache
from quickstep.training.finetuning.config import USUAL_BACKBONE, FinetuneConfig
from quickstep.types.errors import ConfigError, UnknownName
from quickstep.types.signals import Flow, Frames
from quickstep.types.view import View

NOT_TUNABLE = ("motion", "joints", "motion-numbers")
Layer = Mapping[str, NDArray[Any]]
_HEADS = ("logits.conv3d", "cls_head.fc_cls", "classifier")  # what checkpoints call the layer behind their network


@dataclass(frozen=True, eq=False)
class Start:
    """The network as it is before tuning."""

    backbone: Tunable
    opening: Opening  # but for the place of its weights
    view: View
    layer: Layer | None  # weight (D, C), bias (C,), in the order of `labels`
    labels: tuple[str, ...] | None  # None where nobody knows them
    whose: str  # what to call the owner of the layer


def open_start(config: FinetuneConfig, cache: Cache) -> Start:
    """The backbone that the config names, or the model that it goes on from."""
    if config.from_ is not None:
        return _from_model(Path(config.from_), config, cache)
    name = config.backbone or USUAL_BACKBONE
    backbone = open_backbone(
        name,
        weights=config.weights,
        output=config.embedding,
        **_options(init=config.init, width=config.width, flow=config.flow),
        cache=cache,
    )
    backbone = _tunable(backbone, name)
    _ = backbone.identity  # finds the weights, or says that there are none
    opening = Opening(name, output=config.embedding, flow=config.flow)
    layer, labels = own_layer(backbone)
    return Start(backbone, _opening(opening, backbone), _view(backbone, backbone.view, config), layer, labels, f"the checkpoint of {name}")


def _options(**said: Any) -> dict[str, Any]:
    return {name: value for name, value in said.items() if value is not None}


def _from_model(folder: Path, config: FinetuneConfig, cache: Cache) -> Start:
    model = Model.load(folder, cache=cache)
    _tunable(model.backbone, model.opening.name)
    weights = str(folder / NETWORK) if model.opening.inside else model.opening.weights
    known = inspect.signature(type(model.backbone)).parameters
    backbone = open_backbone(
        model.opening.name,
        weights=weights,
        output=config.embedding or (model.opening.output if "output" in known else None),
        precision="fp32",
        flow=config.flow or model.opening.flow,
        cache=cache,
    )
    backbone = _tunable(backbone, model.opening.name)
    weights_of = model.head.weights()
    layer = None
    if model.head.name == "window-average":
        layer = weights_of
    elif model.head.name == "linear":
        layer = fold_standardization(weights_of)
    if layer is not None and len(layer["weight"]) != backbone.width:
        layer = None
    opening = Opening(model.opening.name, output=config.embedding or model.opening.output, flow=config.flow or model.opening.flow)
    opening = _opening(opening, backbone)
    return Start(backbone, opening, _view(backbone, model.view, config), layer, model.labels, f"the model {folder}")


def _tunable(backbone: Backbone, name: str) -> Tunable:
    """Itself, where it has a network that can learn; else a line that says which have."""
    if not can_be_tuned(backbone):
        choices = [known for known in BACKBONES if known not in NOT_TUNABLE]
        error = UnknownName("backbone that can be tuned", name, choices)
        error.message = f"the backbone {name!r} has nothing that could be tuned; these have: {', '.join(choices)}"
        raise error
    if getattr(backbone, "output", None) == getattr(backbone, "prompted_output", "") != "":
        raise ConfigError("embedding", "only vectors can be tuned: take projected")
    return backbone


def _opening(opening: Opening, backbone: Any) -> Opening:
    """How it is opened again: always in fp32, as it is measured here."""
    known = inspect.signature(type(backbone)).parameters
    return replace(
        opening,
        weights=NETWORK,
        inside=True,
        output=getattr(backbone, "output", None) if "output" in known else None,
        precision="fp32" if "precision" in known else None,
    )


def reopened(start: Start, folder: Path, cache: Cache) -> Any:
    """The same backbone with the weights of a folder."""
    opening = start.opening
    return open_backbone(opening.name, weights=folder, output=opening.output, precision=opening.precision, flow=opening.flow, cache=cache)


def own_layer(backbone: Any) -> tuple[Layer | None, tuple[str, ...] | None]:
    """The layer that a checkpoint has behind its network, and what its classes are called, where it says so."""
    layer = getattr(backbone, "layer", None)
    if layer is not None:
        return {"weight": np.asarray(layer.weight), "bias": np.asarray(layer.bias)}, tuple(getattr(backbone, "labels", None) or ()) or None
    tensors = _tensors_of_head(backbone)
    for name in _HEADS:
        weight, bias = tensors.get(f"{name}.weight"), tensors.get(f"{name}.bias")
        if weight is not None and bias is not None and weight.reshape(len(weight), -1).shape[1] == backbone.width:
            labels = getattr(backbone, "labels", None) or _spoken(backbone)
            return {"weight": weight.reshape(len(weight), -1).T, "bias": bias}, tuple(labels) if labels else None
    return None, None


def _tensors_of_head(backbone: Any) -> dict[str, NDArray[Any]]:
    """The layers of a checkpoint that may be its head: of a network that we hold, or of a checkpoint of transformers that classifies."""
    whole = getattr(backbone, "network", None)
    if whole is not None:
        return {name: value.detach().float().numpy() for name, value in whole.state_dict().items() if name.startswith(_HEADS)}
    found: dict[str, NDArray[Any]] = {}
    if getattr(backbone, "classifies", False):
        for file in backbone.checkpoint.weights:
            if file.suffix == ".safetensors":
                with safe_open(file, framework="pt") as opened:
                    found |= {key: opened.get_tensor(key).float().numpy() for key in opened.keys() if key.startswith(_HEADS)}  # noqa: SIM118
    return found


def _spoken(backbone: Any) -> tuple[str, ...] | None:
    """What a checkpoint of transformers calls its classes, where it was told."""
    checkpoint = getattr(backbone, "checkpoint", None)
    names = checkpoint.config.get("id2label") if checkpoint is not None else None
    if not isinstance(names, dict) or all(str(name).startswith("LABEL_") for name in names.values()):
        return None
    return tuple(str(names[key]) for key in sorted(names, key=int))


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
                f"{start.whose} tells {classes} classes apart and the videos show {len(labels)}: say --new-head to replace its head",
            )
        return start.layer
    if set(start.labels) != set(labels):
        told = ", ".join(map(repr, start.labels[:3])) + (" ..." if len(start.labels) > 3 else "")
        same = "others" if len(start.labels) == len(labels) else str(len(labels))
        raise ConfigError(
            "new_head",
            f"{start.whose} tells {len(start.labels)} classes apart ({told}) and the videos show {same}: say --new-head to replace it",
        )
    if start.layer is None:
        raise ConfigError("new_head", f"the head of {start.whose} cannot be tuned together with its network: say --new-head to replace it")
    order = [start.labels.index(label) for label in labels]
    return {"weight": start.layer["weight"][:, order], "bias": start.layer["bias"][order]}


def _view(backbone: Tunable, base: View, config: FinetuneConfig) -> View:
    """How it looks: its own view, with what was asked for."""
    changes: dict[str, Any] = _options(frames=config.frames, fps=config.fps)
    if config.fps is not None and base.fps is None and base.windows is None:
        changes["windows"] = 1
    if config.size is not None:
        changes |= {"size": config.size, "edge": base.edge and max(config.size, round(config.size * base.edge / base.size))}
    view = laid(replace(base, **changes), windows=config.windows, crops=config.crops)
    check_view(backbone, view)
    if view.fit not in ("crop", "stretch"):
        raise ConfigError("backbone", f"a network that is tuned sees squares, and the view of {backbone.name} is {view.fit!r}")
    return view


def vectors_a_window(backbone: Tunable, network: torch.nn.Module, view: View) -> int:
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


def _unfit(backbone: Tunable, view: View, changed: str) -> ConfigError:
    own = backbone.view
    return ConfigError(
        changed, f"{backbone.name} looks at {own.frames} frames of {own.size} pixels, not at {view.frames} of {view.size}: leave it out"
    )
