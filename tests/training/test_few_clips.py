"""Training on the few clips that somebody has just recorded: what is held out is not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from toys import Colours, draw_colours

from quickstep.datasets.manifest import Manifest
from quickstep.signals.video import write_video
from quickstep.storage.cache import Cache
from quickstep.training.few_clips import train_on_clips
from quickstep.training.train import TrainConfig, train
from quickstep.types.segment import Segment

CORNERS = {"a": (200, 50, 50), "b": (50, 200, 50), "c": (50, 50, 200), "d": (200, 200, 200)}  # of a tetrahedron: all equally far apart


def test_people_who_are_held_out_are_not_recognized_by_their_colour(tmp_path: Path) -> None:
    """Two people show one move and two the other; nothing but the person tells them apart, so only a model that saw them is right."""
    like = train(draw_colours(tmp_path / "videos"), TrainConfig(epochs=5), backbone=Colours(), cache=Cache(tmp_path / "cache")).model
    rng = np.random.default_rng(0)
    segments = []
    for person, colour in CORNERS.items():
        for number in range(4):
            path = tmp_path / f"{person}{number}.mp4"
            noise = rng.integers(-9, 10, (6, 24, 32, 3))
            write_video(path, list(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)), fps=6)
            segments.append(Segment(path, "spin" if person in "ab" else "jump", group=person))
    taught = train_on_clips(Manifest(tuple(segments)), like, cache=Cache(tmp_path / "cache"))
    assert taught.tested == len(segments)
    assert taught.right <= 0.6 * taught.tested
    seen = taught.model.predict(segments, cache=Cache(tmp_path / "cache")).predictions
    assert all(one.label == one.segment.label for one in seen)  # the model itself has seen everybody
