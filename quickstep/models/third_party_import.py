"""Convert a third-party classifier into a model folder that no longer needs the original."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from quickstep.backbones import BackboneSpec
from quickstep.models.model import Model
from quickstep.models.model_files import NETWORK, check_target
from quickstep.storage.cache import Cache


def import_model(
    folder: str | Path,
    out: str | Path,
    *,
    labels: Sequence[str] | None = None,
    weights: str | Path | None = None,
    cache: Cache | None = None,
) -> Model:
    """Save a third-party classifier (`weights.ckpt` and `config.json`) as a model folder that contains its encoder.

    `labels` name its classes in their order, where its config does not. `weights` is the folder of the CLIP model that it is based on,
    where its config names no known one.
    """
    check_target(out)
    third_party = Model.from_third_party(folder, labels=labels, weights=weights, cache=cache)
    encoder: Any = third_party.backbone
    with tempfile.TemporaryDirectory(prefix="quickstep-") as temporary:
        inside = Path(temporary) / NETWORK
        encoder.write(encoder.load(), inside, view=encoder.view)
        spec = BackboneSpec(f"clip-classifier:{Path(folder).absolute().name}", inside=True)
        model = replace(
            third_party, backbone=spec.in_folder(Path(temporary)).open(cache), spec=spec, networks={NETWORK: inside}, folder=Path(out)
        )
        model.save(out)
    return Model.load(out, cache=cache)
