"""prompted: how X-CLIP lets what is seen rewrite the words before they are held against it; in plain numbers, with the network's weights.

The words look at the parts of the picture (attention, then a small network, layer by layer), and a share of what they find is added to
them. Knows no torch and no checkpoint: the weights come as arrays, under the names they have there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from quickstep.types.errors import ConfigError

Array = NDArray[np.float32]
Prompting = Mapping[str, NDArray[np.float32]]

_BEND = "prompt_hidden_act."  # the rest of the name says which function it is


def prompted(texts: Array, parts: Array, prompting: Prompting) -> Array:
    """The sentences (S, D) as the parts (P, D) of one window's pictures rewrite them: (S, D), not normalised."""
    weights = {name.removeprefix("prompts_generator."): value for name, value in prompting.items()}
    heads, epsilon = int(prompting["prompt_num_attention_heads"]), float(prompting["text_config.layer_norm_eps"])
    bend = _bend(prompting)
    seen = _normed(parts, weights, "layernorm", float(prompting["vision_config.layer_norm_eps"]))
    words = np.asarray(texts, np.float32)
    for number in range(_layers(weights)):
        layer = f"decoder.{number}."
        words = words + _looked_up(_normed(words, weights, f"{layer}norm1", epsilon), seen, weights, f"{layer}cross_attn.", heads)
        inner = bend(_through(_normed(words, weights, f"{layer}norm3", epsilon), weights, f"{layer}mlp.0"))
        words = words + _through(inner, weights, f"{layer}mlp.3")
    rewritten: Array = texts + weights["alpha"] * words
    return rewritten


def _layers(weights: Prompting) -> int:
    numbers = {int(name.split(".")[1]) for name in weights if name.startswith("decoder.")}
    return len(numbers)


def _looked_up(words: Array, seen: Array, weights: Prompting, layer: str, heads: int) -> Array:
    """What each of the words (S, D) finds among what is seen (P, D), several heads side by side."""
    asked, known, found = (
        _in_heads(_through(each, weights, f"{layer}{name}_proj"), heads) for each, name in ((words, "q"), (seen, "k"), (seen, "v"))
    )
    likeness = asked @ known.transpose(0, 2, 1) * np.float32(asked.shape[-1] ** -0.5)  # (heads, S, P)
    scores: Array = np.exp(likeness - likeness.max(axis=-1, keepdims=True))
    mixed = (scores / scores.sum(axis=-1, keepdims=True)) @ found  # (heads, S, D / heads)
    return _through(mixed.transpose(1, 0, 2).reshape(words.shape), weights, f"{layer}proj")


def _in_heads(values: Array, heads: int) -> Array:
    """(N, D) -> (heads, N, D / heads)"""
    return values.reshape(len(values), heads, -1).transpose(1, 0, 2)


def _through(values: Array, weights: Prompting, layer: str) -> Array:
    """A linear layer, with its bias where it has one."""
    result: Array = values @ weights[f"{layer}.weight"].T
    return result + weights[f"{layer}.bias"] if f"{layer}.bias" in weights else result


def _normed(values: Array, weights: Prompting, layer: str, epsilon: float) -> Array:
    """Each row moved and stretched to a mean of 0 and a spread of 1, then as the layer likes it."""
    centred = values - values.mean(axis=-1, keepdims=True)
    spread: Array = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + np.float32(epsilon))
    normed: Array = centred / spread * weights[f"{layer}.weight"] + weights[f"{layer}.bias"]
    return normed


def _bend(prompting: Prompting) -> Callable[[Array], Array]:
    """The function between the two layers of the small network."""
    name = next(key.removeprefix(_BEND) for key in prompting if key.startswith(_BEND))
    if name not in _BENDS:
        raise ConfigError("backbone", f"its words are rewritten through {name!r}, which cannot be followed; {', '.join(_BENDS)} can")
    return _BENDS[name]


def _sigmoid(values: Array) -> Array:
    with np.errstate(over="ignore"):  # to infinity, whose inverse is the right zero
        result: Array = np.reciprocal(np.exp(-values) + np.float32(1))
    return result


def _gelu(values: Array) -> Array:
    from scipy.special import erf

    result: Array = values * np.float32(0.5) * (1 + erf(values * np.float32(0.5**0.5)))
    return result


def _gelu_by_tanh(values: Array) -> Array:
    result: Array = values * np.float32(0.5) * (1 + np.tanh(np.float32((2 / np.pi) ** 0.5) * (values + np.float32(0.044715) * values**3)))
    return result


_BENDS: dict[str, Callable[[Array], Array]] = {
    "quick_gelu": lambda values: values * _sigmoid(np.float32(1.702) * values),
    "gelu": _gelu,
    "gelu_new": _gelu_by_tanh,
    "gelu_pytorch_tanh": _gelu_by_tanh,
    "relu": lambda values: np.maximum(values, np.float32(0)),
    "silu": lambda values: values * _sigmoid(values),
}
