"""The parameters of a transformer in groups, from the input to the output: what "open the last N blocks" and layer-wise rates count.

Knows names, no tensors. Networks that are no transformers group theirs themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_STAGE = re.compile(r"(?:^|\.)stages\.(\d+)\.(?:layers\.(\d+)\.)?")
_LAYER = re.compile(r"(?:^|\.)(?:layers?|blocks?)\.(\d+)\.")
_STEM = ("embeddings.", "embed", "pre_layrnorm.", "pre_layernorm.")  # what stands before the first layer, in all families


def blocks_of(names: Iterable[str], *, top: tuple[str, ...] = ()) -> list[list[str]]:
    """Stem, each layer, and what stands above the layers; `top` are beginnings of names that stand there too. Empty groups are left out."""
    stem: list[str] = []
    layers: dict[tuple[int, int], list[str]] = {}
    above: list[str] = []
    for name in names:
        place = None if name.startswith(top) else _layer(name)
        if place is not None:
            layers.setdefault(place, []).append(name)
        elif any(part in name for part in _STEM) and not name.startswith(top):
            stem.append(name)
        else:
            above.append(name)
    return [group for group in (stem, *(layers[place] for place in sorted(layers)), above) if group]


def _layer(name: str) -> tuple[int, int] | None:
    stage = _STAGE.search(name)
    if stage:  # what leads into a stage goes with its first layer
        return int(stage.group(1)), int(stage.group(2) or 0)
    layer = _LAYER.search(name)
    return (int(layer.group(1)), 0) if layer else None
