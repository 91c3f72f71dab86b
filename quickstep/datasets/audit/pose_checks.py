"""The checks of an audit that are about files of poses: who is seen, how well, with which joints, and what had to be guessed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from quickstep.datasets.audit.checks import Finding, Known
from quickstep.signals.poses.resampling import body_length, present

HOLES = 0.3  # share of a person's joints that are not seen, from which on it is worth saying
STILL = 0.005  # body lengths by which the joints vary where nothing moves


def nobody(known: Known) -> Iterator[Finding]:
    """Files in which nobody can be seen, or not for long enough."""
    for path, found in known.footage.people.items():
        there = np.asarray(present(found.poses))  # (T, P)
        share = float(there.mean(axis=0).max(initial=0.0))
        if share == 0:
            yield Finding("no-person", "error", f"nobody is seen in {known.name(path)}: look for the person again", known.of([path]))
        elif share < 0.5:
            why = f"nobody is seen for long in {known.name(path)}: at most {share:.0%} of its frames show one person"
            yield Finding("no-person", "warning", f"{why}; cut it to those, or look again", known.of([path]))


def holes(known: Known) -> Iterator[Finding]:
    """Files in which many joints are missing."""
    for path, found in known.footage.people.items():
        there, seen = np.asarray(present(found.poses)), found.poses.seen
        if there.any():
            unseen = 1.0 - float(seen[there].mean())
            if unseen > HOLES:
                never = [found.poses.skeleton.joints[number] for number in np.flatnonzero(~seen.any(axis=(0, 1)))]
                told = f", never {', '.join(never[:4])}{' and more' if len(never) > 4 else ''}" if never else ""
                why = f"{unseen:.0%} of the joints in {known.name(path)} are not seen{told}"
                yield Finding("missing-joints", "warning", f"{why}: what is filled in tells a model little", known.of([path]))


def skeletons(known: Known) -> Iterator[Finding]:
    """Files whose joints are others than most have."""
    people = known.footage.people
    often = Counter(found.poses.skeleton.joints for found in people.values())
    if len(often) < 2:
        return
    usual = often.most_common(1)[0][0]
    for joints, count in often.most_common()[1:]:
        paths = [path for path, found in people.items() if found.poses.skeleton.joints == joints]
        why = f"{known.some(paths)} {'has' if count == 1 else 'have'} {len(joints)} joints where most files have {len(usual)}"
        do = "name one --skeleton to which all can be brought, or leave them out"
        yield Finding("other-skeleton", "warning", f"{why}, or others: {do}", known.of(paths))


def still(known: Known) -> Iterator[Finding]:
    """Files in which nobody moves."""
    for path, found in known.footage.people.items():
        poses = found.poses
        moving = []
        for number in poses.people:
            one = poses.person(number)
            length = body_length(one)
            spread = one.joints[:, 0, :, :-1][one.seen[:, 0].all(axis=1)]
            if length > 0 and len(spread) > 1:
                moving.append(float(spread.std(axis=0).max()) / length)
        if moving and max(moving) < STILL:
            why = f"nobody moves in {known.name(path)}"
            yield Finding("no-motion", "warning", f"{why}: look whether it shows what it should", known.of([path]))


def guesses(known: Known) -> Iterator[Finding]:
    """What had to be concluded about files that do not say it."""
    told = Counter(note for found in known.footage.people.values() for note in dict.fromkeys(found.notes))
    for note, count in told.items():
        yield Finding("guessed", "note", f"of {count} file{'s' * (count > 1)} of poses: {note}")


POSE_CHECKS: tuple[Callable[[Known], Iterator[Finding]], ...] = (nobody, holes, skeletons, still, guesses)
