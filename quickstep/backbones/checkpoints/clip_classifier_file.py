"""The weights of a CLIP classifier as published: `clip_model.*` and `visual_projection.{weight,bias}` in one torch file.

No code in the file is run. Weights that are missing, of another shape or left over are refused by name.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

from quickstep.backbones.checkpoints.transformers_loading import quiet
from quickstep.storage.files import check_regular
from quickstep.types.errors import WeightsError

ENCODER, LAYER = "clip_model.vision_model.", "visual_projection."
# The parts of CLIP that such a classifier holds and does not use.
_UNUSED = ("clip_model.text_model.", "clip_model.text_projection.", "clip_model.visual_projection.", "clip_model.logit_scale")
_COUNTERS = ("position_ids",)  # that older versions saved

State = dict[str, torch.Tensor]


def read_state(file: Path) -> State:
    """Read the tensors of the file; besides CLIP's unused parts it may only hold an image encoder and a layer."""
    try:
        content = _load(file)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{file} holds more than weights, and code in it is not run: ask its makers for a plain state dict") from error
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{file} cannot be read as weights, it may be broken: download or copy it again") from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise WeightsError(f"{file} is not a state dict (names and tensors)")
    state = {str(name).removeprefix("module."): value for name, value in content.items()}
    _check_names(state, file)
    return state


def _load(file: Path) -> Any:
    check_regular(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about other forms of pickles, which fail or are read afterwards
        try:
            return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # the older form cannot be mapped
            return torch.load(file, map_location="cpu", weights_only=True)


def _check_names(state: State, file: Path) -> None:
    left_over = sorted(name for name in state if not name.startswith((ENCODER, LAYER, *_UNUSED)))
    missing = [name for name in (f"{LAYER}weight", f"{LAYER}bias", f"{ENCODER}embeddings.patch_embedding.weight") if name not in state]
    if missing:
        raise WeightsError(f"{file} is not a CLIP classifier: it lacks {', '.join(missing)}")
    more = [name for name in state if name.startswith(LAYER) and name not in (f"{LAYER}weight", f"{LAYER}bias")]
    if left_over or more:
        raise WeightsError(f"{file} has besides a CLIP classifier: {', '.join((left_over + more)[:3])}")


def shapes_of(state: State) -> dict[str, int]:
    """Read the encoder's sizes from the shapes of its weights, as CLIP's config names them, without the number of attention heads."""
    try:
        width, _, patch, _ = state[f"{ENCODER}embeddings.patch_embedding.weight"].shape
        positions = len(state[f"{ENCODER}embeddings.position_embedding.weight"])
        inner = len(state[f"{ENCODER}encoder.layers.0.mlp.fc1.weight"])
    except (KeyError, ValueError) as error:
        raise WeightsError(f"its image encoder is not one of CLIP ({error})") from error
    start = f"{ENCODER}encoder.layers."
    layers = {name.removeprefix(start).split(".")[0] for name in state if name.startswith(start)}
    side = round((positions - 1) ** 0.5)
    return {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": len(layers),
        "patch_size": patch,
        "image_size": side * patch,
    }


def load_encoder(state: State, config: Mapping[str, Any], file: Path) -> torch.nn.Module:
    """Make the image encoder with its weights, in fp32."""
    with quiet():
        network: Any = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**dict(config)))
    expected = network.state_dict()
    inside = next(iter(expected)).startswith("vision_model.")  # as older versions call it
    tensors = {
        name.removeprefix("clip_model." if inside else ENCODER): value.to(torch.float32)
        for name, value in state.items()
        if name.startswith(ENCODER) and not name.endswith(_COUNTERS)
    }
    for names, what in (
        (sorted(name for name in expected if name not in tensors and not name.endswith(_COUNTERS)), "lacks"),
        (sorted(name for name in tensors if name not in expected), "has besides what its config describes:"),
        (sorted(name for name in tensors if name in expected and tensors[name].shape != expected[name].shape), "has of another shape"),
    ):
        if names:
            raise WeightsError(f"{file} {what} {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}")
    network.load_state_dict(tensors, strict=False)  # its names were checked above; only counters may be left
    return network.eval().requires_grad_(False)  # type: ignore[no-any-return]


def layer_of(state: State) -> tuple[Any, Any]:
    """Return the weight (D, C) and bias (C,) of the last layer."""
    weight, bias = (state[f"{LAYER}{name}"].to(torch.float32).numpy() for name in ("weight", "bias"))
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise WeightsError(f"its last layer has a weight of shape {weight.shape} and a bias of shape {bias.shape}")
    return weight.T.copy(), bias.copy()
