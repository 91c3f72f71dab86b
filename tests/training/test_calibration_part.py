"""Training calibrates the scores on the validation part, not on the training part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from small_sets import LABELS, Change, draw

from quickstep.models.classifier import fit_temperature
from quickstep.models.feature_extraction import extract
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig, train


def test_the_temperature_is_fitted_on_validation(tmp_path: Path) -> None:
    """Every validation label is wrong: calibrated on validation, the scores lose their confidence; on training they would gain it."""
    cache, manifest = Cache(tmp_path / "cache"), draw(tmp_path / "set", "motion", count=30, groups=10)
    other = {LABELS[0]: LABELS[1], LABELS[1]: LABELS[0]}
    swapped = [replace(s, label=other[str(s.label)]) if s.split == "val" else s for s in manifest.segments]
    model = train(manifest.with_segments(swapped), TrainConfig(epochs=40, patience=40), backbone=Change(), cache=cache).model
    fitted = {}
    for part in ("train", "val"):
        segments = [segment for segment in swapped if segment.split == part]
        features = extract(segments, model.backbone, view=model.view, cache=cache).features
        logits = model.head.scores([features[segment] for segment in segments])
        fitted[part] = fit_temperature(logits, np.array([model.labels.index(str(segment.label)) for segment in segments]))
    assert fitted["train"] < 1 < fitted["val"]
    assert model.temperature == fitted["val"]
