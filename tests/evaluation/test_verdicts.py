"""Verdicts of made-up results never contradict each other, and praise is measured against the stronger of baseline and chance."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from quickstep.evaluation import report as reports
from quickstep.evaluation import verdicts
from quickstep.evaluation.report import Baseline, Verdict
from quickstep.evaluation.report_figures import measure
from quickstep.types.confidence_intervals import difference, share

LABELS = ("a", "b", "c")


def judge(truth: list[int], model: list[int], still: list[int], *, kind: str, train_majority: int) -> list[Verdict]:
    """Return the verdicts on a model and a still baseline, each given as the numbers of the labels predicted."""
    groups = [str(place // 2) for place in range(len(truth))]
    tested = [
        reports.TestedSegment(
            f"{place}.mp4",
            0,
            None,
            groups[place],
            LABELS[real],
            LABELS[chosen],
            tuple(0.8 if label == chosen else 0.1 for label in range(3)),
        )
        for place, (real, chosen) in enumerate(zip(truth, model, strict=True))
    ]
    measured = measure(tested, LABELS)
    correct = [np.array(predicted) == np.array(truth) for predicted in (model, still, [train_majority] * len(truth))]
    ours, theirs, constant = correct
    lead, over = difference(ours, theirs, groups), difference(theirs, constant, groups)
    baseline = Baseline(kind, "", share(theirs, groups), lead, over)
    majority = Baseline("majority", "always “a”", share(constant, groups), difference(ours, constant, groups), over)
    on_still = verdicts.on_pose if kind == "pose" else verdicts.on_frame
    found = [
        *verdicts.on_size(measured.figures.accuracy, len(tested)),
        *verdicts.on_chance(measured.figures, majority, len(LABELS)),
        *on_still(measured.figures, baseline, majority),
    ]
    return verdicts.consistent(found)


numbers = st.integers(0, 2)
results = st.integers(6, 60).flatmap(
    lambda size: st.tuples(*(st.lists(numbers, min_size=size, max_size=size) for _ in range(2)), st.floats(0, 1), st.integers(0, 2**20))
)


@settings(max_examples=40, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])
@given(results, numbers, st.sampled_from(["frame", "pose"]))
def test_verdicts_never_contradict_each_other(result: tuple[list[int], list[int], float, int], train_majority: int, kind: str) -> None:
    truth, still, skill, seed = result
    rng = np.random.default_rng(seed)
    model = [real if rng.random() < skill else int(rng.integers(3)) for real in truth]
    found = judge(truth, model, still, kind=kind, train_majority=train_majority)
    praise = [verdict for verdict in found if verdict.level == "good"]
    warned = {verdict.about for verdict in found if verdict.level == "warning"}
    assert not (praise and warned)
    accuracy = np.mean(np.array(model) == np.array(truth))
    chance = max(np.bincount(truth).max() / len(truth), np.mean(np.array(still) == np.array(truth)))
    for verdict in praise:
        claimed = int(re.search(r"by \+(\d+) points", verdict.text)[1])  # type: ignore[index]
        assert accuracy > chance
        assert claimed <= 100 * (accuracy - chance) + 0.51
    if accuracy <= chance and "chance" in warned:
        assert not any("it may recognize" in verdict.text for verdict in found if verdict.level == "caution")


def test_a_baseline_below_chance_is_no_measure_of_the_model() -> None:
    truth = [0, 1] * 60
    model = [real if place % 5 else 1 - real for place, real in enumerate(truth)]  # four of five correct
    below = [real if place % 8 == 0 else 1 - real for place, real in enumerate(truth)]
    praise = [verdict.text for verdict in judge(truth, model, below, kind="frame", train_majority=0) if verdict.level == "good"]
    assert len(praise) == 1
    assert "by +30 points" in praise[0]


def test_a_model_at_chance_is_not_praised_for_beating_a_frame_below_chance() -> None:
    truth = [0, 1] * 60
    model = [0] * 120
    below = [real if place % 8 == 0 else 1 - real for place, real in enumerate(truth)]
    found = judge(truth, model, below, kind="frame", train_majority=0)
    assert [verdict.about for verdict in found if verdict.level == "warning"] == ["chance"]
    assert not [verdict for verdict in found if verdict.level == "good"]


def test_praise_does_not_stand_beside_a_warning_about_the_files() -> None:
    shortcut, praise = Verdict("warning", "metadata", "the files give it away"), Verdict("good", "frame", "it uses the movement")
    assert verdicts.consistent([shortcut, praise]) == [shortcut]
    assert verdicts.consistent([praise]) == [praise]
