"""X-CLIP's prompt generator: text vectors attend to the parts of a window's images and are adapted to them.

It runs on numpy with the network's weights under the names of its checkpoint, so that a saved zero-shot model needs neither the
checkpoint nor torch to score cached features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from quickstep.types.errors import ConfigError

Array = NDArray[np.float32]
Weights = Mapping[str, NDArray[np.float32]]

_ACTIVATION = "prompt_hidden_act."  # the rest of this key is the activation's name


def adapt_texts(texts: Array, parts: Array, prompting: Weights) -> Array:
    """Return the text vectors (S, D) adapted to the image parts (P, D) of one window: (S, D), not normalized."""
    weights = {name.removeprefix("prompts_generator."): value for name, value in prompting.items()}
    heads, epsilon = int(prompting["prompt_num_attention_heads"]), float(prompting["text_config.layer_norm_eps"])
    activation = _activation(prompting)
    images = _layer_norm(parts, weights, "layernorm", float(prompting["vision_config.layer_norm_eps"]))
    words = np.asarray(texts, np.float32)
    for number in range(_layer_count(weights)):
        layer = f"decoder.{number}."
        words = words + _cross_attention(
            _layer_norm(words, weights, f"{layer}norm1", epsilon), images, weights, f"{layer}cross_attn.", heads
        )
        hidden = activation(_linear(_layer_norm(words, weights, f"{layer}norm3", epsilon), weights, f"{layer}mlp.0"))
        words = words + _linear(hidden, weights, f"{layer}mlp.3")
    adapted: Array = texts + weights["alpha"] * words
    return adapted


def _layer_count(weights: Weights) -> int:
    return len({int(name.split(".")[1]) for name in weights if name.startswith("decoder.")})


def _cross_attention(words: Array, images: Array, weights: Weights, layer: str, heads: int) -> Array:
    """Return what each text vector (S, D) attends to among the image parts (P, D), with several attention heads."""
    queries, keys, values = (
        _split_heads(_linear(vectors, weights, f"{layer}{name}_proj"), heads)
        for vectors, name in ((words, "q"), (images, "k"), (images, "v"))
    )
    logits = queries @ keys.transpose(0, 2, 1) * np.float32(queries.shape[-1] ** -0.5)  # (heads, S, P)
    powers: Array = np.exp(logits - logits.max(axis=-1, keepdims=True))
    mixed = (powers / powers.sum(axis=-1, keepdims=True)) @ values  # (heads, S, D / heads)
    return _linear(mixed.transpose(1, 0, 2).reshape(words.shape), weights, f"{layer}proj")


def _split_heads(values: Array, heads: int) -> Array:
    """Return (N, D) as (heads, N, D / heads)."""
    return values.reshape(len(values), heads, -1).transpose(1, 0, 2)


def _linear(values: Array, weights: Weights, layer: str) -> Array:
    """Apply a linear layer, with its bias where it has one."""
    result: Array = values @ weights[f"{layer}.weight"].T
    return result + weights[f"{layer}.bias"] if f"{layer}.bias" in weights else result


def _layer_norm(values: Array, weights: Weights, layer: str, epsilon: float) -> Array:
    """Apply a layer normalization."""
    centred = values - values.mean(axis=-1, keepdims=True)
    deviation: Array = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + np.float32(epsilon))
    normalized: Array = centred / deviation * weights[f"{layer}.weight"] + weights[f"{layer}.bias"]
    return normalized


def _activation(prompting: Weights) -> Callable[[Array], Array]:
    """Return the activation function between the two layers of the feed-forward network."""
    name = next(key.removeprefix(_ACTIVATION) for key in prompting if key.startswith(_ACTIVATION))
    if name not in _ACTIVATIONS:
        raise ConfigError("backbone", f"uses the activation function {name!r}, which is not supported; {', '.join(_ACTIVATIONS)} are")
    return _ACTIVATIONS[name]


def _sigmoid(values: Array) -> Array:
    with np.errstate(over="ignore"):  # to infinity, whose inverse is the correct zero
        result: Array = np.reciprocal(np.exp(-values) + np.float32(1))
    return result


def _gelu(values: Array) -> Array:
    from scipy.special import erf

    result: Array = values * np.float32(0.5) * (1 + erf(values * np.float32(0.5**0.5)))
    return result


def _gelu_tanh(values: Array) -> Array:
    result: Array = values * np.float32(0.5) * (1 + np.tanh(np.float32((2 / np.pi) ** 0.5) * (values + np.float32(0.044715) * values**3)))
    return result


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "quick_gelu": lambda values: values * _sigmoid(np.float32(1.702) * values),
    "gelu": _gelu,
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": lambda values: np.maximum(values, np.float32(0)),
    "silu": lambda values: values * _sigmoid(values),
}
