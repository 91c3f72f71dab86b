"""A complete report from made-up predictions, for the tests of page, card and comparison."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from quickstep.evaluation.report import (
    Baseline,
    HardSegment,
    Learning,
    Mistake,
    ModelFacts,
    PartCount,
    Proof,
    Report,
    Source,
    TestedSegment,
    UnreadSegment,
)
from quickstep.evaluation.report_figures import groups_of, measure
from quickstep.evaluation.verdicts import by_severity, on_chance, on_classes, on_frame, on_interval, on_metadata, on_size
from quickstep.types.confidence_intervals import difference, share

MOVES = ("halo", "moonwalk", "swipe", "toprock", "windmill")


def segments(
    count: int = 48, *, labels: Sequence[str] = MOVES, skill: float = 2.5, groups: int = 7, seed: int = 0, name: str = "video"
) -> tuple[TestedSegment, ...]:
    """Return segments with random scores, in which the true class gets `skill` more in the logits."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % len(labels)
    logits = rng.normal(size=(count, len(labels))) + skill * np.eye(len(labels))[truth]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return tuple(
        TestedSegment(
            path=f"/videos/{labels[true]}/{name}{index:03d}.mp4",
            start=0.0,
            end=None,
            group=f"dancer {index % groups}" if groups else None,
            label=labels[true],
            predicted=labels[int(row.argmax())],
            scores=tuple(row.tolist()),
        )
        for index, (true, row) in enumerate(zip(truth, scores))
    )


def baseline(name: str, about: str, tested: Sequence[TestedSegment], *, rate: float, seed: int) -> Baseline:
    """Return a baseline that is correct at random, at a rate."""
    groups = groups_of(tested)
    correct = np.array([one.correct for one in tested])
    own = np.random.default_rng(seed).random(len(tested)) < rate
    majority = np.array([one.label == tested[0].label for one in tested])
    return Baseline(name, about, share(own, groups), difference(correct, own, groups), difference(own, majority, groups))


def frame_strip(seed: int = 0, frames: int = 5) -> str:
    """Return a JPEG of coloured noise as a data URI."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (6, 8 * frames, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(small).resize((160 * frames, 90)).save(out, "JPEG", quality=70)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def report(
    tested: Sequence[TestedSegment] | None = None, *, labels: Sequence[str] = MOVES, frame: float = 0.45, name: str = "dances"
) -> Report:
    """Return a report with every part filled in."""
    tested = tuple(tested if tested is not None else segments(labels=labels))
    measured = measure(tested, labels, temperature=1.4, threshold=0.3)
    baselines = (
        baseline("frame", "the middle frame of each video, with features of flow-hist", tested, rate=frame, seed=1),
        baseline("metadata", "size, length, frame rate, codec; without the frames", tested, rate=0.3, seed=2),
        baseline("majority", f"always “{labels[0]}”", tested, rate=1 / len(labels), seed=3),
    )
    figures = measured.figures
    verdicts = [
        *on_size(figures.accuracy, len(tested)),
        *on_chance(figures, baselines[2], len(labels)),
        *on_frame(figures, baselines[0], baselines[2]),
        *on_metadata(figures, baselines[1]),
        *on_classes(measured.classes),
        *on_interval(figures.accuracy, grouped=any(one.group for one in tested)),
    ]
    epochs = np.arange(40)
    learning = Learning(
        {
            "train_loss": tuple((1.6 * np.exp(-epochs / 8)).tolist()),
            "val_loss": tuple((1.6 * np.exp(-epochs / 6) + 0.4 + 0.004 * epochs).tolist()),
            "train_accuracy": tuple((1 - 0.8 * np.exp(-epochs / 8)).tolist()),
            "val_accuracy": tuple((0.85 - 0.6 * np.exp(-epochs / 6)).tolist()),
        },
        22,
        (
            HardSegment('/videos/halo/a <b> & "c".mp4', "halo", "train", 38, 40),
            HardSegment("/videos/swipe/旋风.mp4", "swipe", "val", 31, 40),
        ),
    )
    wrong = sorted((one for one in tested if not one.correct), key=lambda one: -one.confidence)
    return Report(
        quickstep="0.1.0",
        made="2026-01-02T03:04:05+00:00",
        split="test",
        labels=tuple(labels),
        model=ModelFacts(
            name=name,
            backbone="flow-hist",
            revision="1",
            license="Apache-2.0",
            head="linear",
            temperature=1.4,
            threshold=0.3,
            view={"frames": 16, "fps": 15.0, "size": 224, "windows": None, "fit": "whole"},
            settings={"epochs": 100, "optimizer": "adamw", "class_weights": False, "learning_rate": None, "seed": 0},
            versions={"quickstep": "0.1.0", "torch": "2.13.0", "numpy": "2.4.1"},
        ),
        trained_on=Source("DANCES", "ab" * 32, 320, 40),
        tested_on=Source("DANCES", "ab" * 32, len(tested), len(set(groups_of(tested)))),
        tested=tested,
        figures=figures,
        classes=measured.classes,
        confusion=measured.confusion,
        curves=measured.curves,
        baselines=baselines,
        verdicts=by_severity(verdicts),
        proof=Proof(
            tuple(PartCount(label, 45, 9, 10) for label in labels),
            ("groups in more than one part: 0 of 40", "identical files in more than one part: 0 (320 of 320 videos compared)"),
        ),
        learning=learning,
        mistakes=tuple(Mistake(one, frame_strip(index) if index else "") for index, one in enumerate(wrong)),
        failures=(UnreadSegment("/videos/halo/cut.mp4", "is cut off: no frame can be read"),),
        left_out={"popping": 3},
        seconds={"features": 41.2, "scores": 0.02, "baselines": 12.1, "pictures": 3.4},
    )


def renamed(tested: Sequence[TestedSegment], **changes: object) -> tuple[TestedSegment, ...]:
    """Return the same segments with the same changes in all of them."""
    return tuple(replace(one, **changes) for one in tested)  # type: ignore[arg-type]
