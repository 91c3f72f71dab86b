"""The checks of a dataset of pose files: visible people, missing joints, different skeletons, motion, and values that were guessed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from quickstep.datasets.audit.checks import DatasetFacts, Finding
from quickstep.signals.poses.resampling import body_length, present

MAX_MISSING = 0.3  # share of a person's joints that may be missing
STILL = 0.005  # body lengths; joints that vary less do not move


def check_people(facts: DatasetFacts) -> Iterator[Finding]:
    """Find pose files that show nobody, or nobody for long enough."""
    for path, file in facts.footage.poses.items():
        visible = np.asarray(present(file.poses))  # (T, P)
        share = float(visible.mean(axis=0).max(initial=0.0))
        segments = facts.segments_of([path])
        if share == 0:
            yield Finding("no-person", "error", f"{facts.name(path)} shows nobody: estimate its poses again", segments)
        elif share < 0.5:
            why = f"at most {share:.0%} of the frames of {facts.name(path)} show a person"
            yield Finding("no-person", "warning", f"{why}: trim it to those frames, or estimate its poses again", segments)


def check_joints(facts: DatasetFacts) -> Iterator[Finding]:
    """Find pose files in which many joints are missing."""
    for path, file in facts.footage.poses.items():
        visible, detected = np.asarray(present(file.poses)), file.poses.seen
        if not visible.any():
            continue
        missing = 1.0 - float(detected[visible].mean())
        if missing > MAX_MISSING:
            always = [file.poses.skeleton.joints[number] for number in np.flatnonzero(~detected.any(axis=(0, 1)))]
            names = f" (in every frame: {', '.join(always[:4])}{' and more' if len(always) > 4 else ''})" if always else ""
            why = f"{missing:.0%} of the joints in {facts.name(path)} are missing{names}"
            advice = "they are interpolated, which gives a model little to learn from"
            yield Finding("missing-joints", "warning", f"{why}; {advice}", facts.segments_of([path]))


def check_skeletons(facts: DatasetFacts) -> Iterator[Finding]:
    """Find pose files with other joints than most files have."""
    poses = facts.footage.poses
    count = Counter(file.poses.skeleton.joints for file in poses.values())
    if len(count) < 2:
        return
    usual = count.most_common(1)[0][0]
    for joints, files in count.most_common()[1:]:
        paths = [path for path, file in poses.items() if file.poses.skeleton.joints == joints]
        why = f"{facts.names(paths)} {'has' if files == 1 else 'have'} {len(joints)} joints, but most files have {len(usual)} or other ones"
        advice = "convert all to one skeleton (option skeleton), or remove them"
        yield Finding("other-skeleton", "warning", f"{why}: {advice}", facts.segments_of(paths))


def check_motion(facts: DatasetFacts) -> Iterator[Finding]:
    """Find pose files in which nobody moves."""
    for path, file in facts.footage.poses.items():
        movement = []
        for number in file.poses.people:
            person = file.poses.person(number)
            length = body_length(person)
            joints = person.joints[:, 0, :, :-1][person.seen[:, 0].all(axis=1)]
            if length > 0 and len(joints) > 1:
                movement.append(float(joints.std(axis=0).max()) / length)
        if movement and max(movement) < STILL:
            why = f"nobody moves in {facts.name(path)}"
            yield Finding("no-motion", "warning", f"{why}: check that it shows its class", facts.segments_of([path]))


def check_guesses(facts: DatasetFacts) -> Iterator[Finding]:
    """Report values that the files do not contain and that were guessed."""
    count = Counter(note for file in facts.footage.poses.values() for note in dict.fromkeys(file.notes))
    for note, files in count.items():
        yield Finding("guessed", "note", f"{files} pose file{'s' * (files > 1)}: {note}")


POSE_CHECKS: tuple[Callable[[DatasetFacts], Iterator[Finding]], ...] = (
    check_people,
    check_joints,
    check_skeletons,
    check_motion,
    check_guesses,
)
