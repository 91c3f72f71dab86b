"""Several models of the same labels -> an Ensemble; weights equal, given, or fitted on the validation part that all of them share.

Never looks at a test part, nor at a segment that any member was fitted to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import softmax

from quickstep.datasets.manifest import Manifest, group_of
from quickstep.models.calibration import fit_temperature, fit_threshold, probabilities
from quickstep.models.ensemble import MIN_PROBABILITY, Ensemble, align_scores, check_members
from quickstep.models.model import Facts, Model
from quickstep.models.predictions import Prediction
from quickstep.storage.cache import Cache
from quickstep.training.train import library_version, versions
from quickstep.types.confidence_intervals import Difference, Interval, between, difference, percent, points, share
from quickstep.types.config_fields import setting
from quickstep.types.errors import ConfigError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment

PULL = 1.0  # of the weights' logarithms to each other: a handful of segments leaves them nearly equal
FOLDS = 5  # each segment is scored with weights that the other folds' segments chose
Array = NDArray[np.float64]


@dataclass(frozen=True)
class EnsembleConfig:
    """How much each member counts."""

    weights_by: str | None = setting(
        None, "validation (fitted there), equal, or numbers such as 0.6,0.4; by default validation where all members share it, else equal"
    )

    def __post_init__(self) -> None:
        self.given()

    def given(self) -> tuple[float, ...] | None:
        """The numbers, where numbers were said; they are made to add up to 1."""
        if self.weights_by in (None, "validation", "equal"):
            return None
        try:
            numbers = tuple(float(part) for part in str(self.weights_by).split(","))
        except ValueError:
            raise ConfigError("weights_by", f"validation, equal, or numbers such as 0.6,0.4, not {self.weights_by!r}") from None
        if not np.isfinite(numbers).all() or min(numbers) < 0 or sum(numbers) <= 0:
            raise ConfigError("weights_by", f"numbers from 0 on, not all of them 0: not {self.weights_by!r}")
        return tuple(number / sum(numbers) for number in numbers)


@dataclass(frozen=True)
class Standing:
    """What a member, or all together, is worth on validation."""

    name: str
    weight: float | None  # None: all together
    accuracy: Interval


@dataclass(frozen=True, eq=False)
class Fused:
    """An ensemble, what its members and all of them together are worth on validation, and what that means."""

    ensemble: Ensemble
    standings: tuple[Standing, ...] = ()  # the members in their order, then all together; empty where nothing could be measured
    gain: Difference | None = None  # of all together over the best member
    best: str = ""  # the best member's name
    failures: tuple[Failure, ...] = ()
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Worth:
    """What was measured on validation, and in words."""

    standings: tuple[Standing, ...]
    gain: Difference
    best: str
    sentences: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Validation:
    """What every member says of the segments that none of them was fitted to."""

    segments: tuple[Segment, ...]
    scores: tuple[Array, ...]  # a member: (N, C), in the labels' order
    truth: NDArray[np.int64]  # (N,)
    failures: tuple[Failure, ...]

    @property
    def groups(self) -> list[str]:
        return [group_of(segment) for segment in self.segments]


def ensemble(
    models: Sequence[Model | str | Path],
    config: EnsembleConfig | None = None,
    *,
    names: Sequence[str] | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
) -> Fused:
    """Let several models answer together; `names` are the members' own, by default those of their folders."""
    config, cache = config or EnsembleConfig(), cache or Cache()
    members = tuple(model if isinstance(model, Model) else Model.load(model, cache=cache) for model in models)
    called = tuple(names) if names is not None else _names(members)
    check_members(members, called)
    given = config.given()
    if given is not None and len(given) != len(members):
        raise ConfigError("weights_by", f"{len(members)} models need {len(members)} weights, not {len(given)}")
    manifest, why = _shared(members, called)
    if manifest is None and config.weights_by == "validation":
        raise ConfigError("weights_by", f"{why}; take --weights-by equal, or numbers of your own")
    equal = (1 / len(members),) * len(members)
    facts = _facts(members, called, config, manifest)
    if manifest is None:
        told = f"{why}: {'the weights are those given' if given else 'all count the same'}, and the certainties are not calibrated."
        ensemble = Ensemble(members, given or equal, called, facts=replace(facts, notes=(told,)))
        return Fused(ensemble, sentences=(told,))
    seen = _validation(members, manifest, cache=cache, progress=progress)
    fitted = config.weights_by in (None, "validation")
    weights = fit_weights(seen.scores, seen.truth) if fitted else (given or equal)
    together = _cross_fitted(seen) if fitted else _mix(seen.scores, weights)
    logits = np.log(np.maximum(_mix(seen.scores, weights), MIN_PROBABILITY))
    temperature = fit_temperature(logits, seen.truth)
    threshold = fit_threshold(probabilities(logits, temperature), seen.truth)
    worth = _measured(seen, together, called, weights, fitted=fitted)
    facts = replace(facts, notes=worth.sentences, training={**facts.training, **{f"weight of {n}": w for n, w in zip(called, weights)}})
    ensemble = Ensemble(members, weights, called, temperature, threshold, facts, manifest)
    return Fused(ensemble, worth.standings, worth.gain, worth.best, seen.failures, worth.sentences)


def fit_weights(scores: Sequence[Array], truth: NDArray[np.int64]) -> tuple[float, ...]:
    """The weights (adding up to 1) of the mean under which the true labels are least surprising; nearly equal where few segments tell."""
    told = np.stack([each[np.arange(len(truth)), truth] for each in scores])  # (M, N) what each member gives the truth

    def surprise(leaning: Array) -> float:
        mixed = softmax(leaning) @ told
        return float(-np.log(np.maximum(mixed, MIN_PROBABILITY)).sum() + PULL * np.square(leaning - leaning.mean()).sum())

    found = minimize(surprise, np.zeros(len(scores)), method="L-BFGS-B")
    weights = softmax(found.x)
    return tuple(float(weight) for weight in weights / weights.sum())


def _mix(scores: Sequence[Array], weights: Sequence[float]) -> Array:
    return np.asarray(sum((weight * each for weight, each in zip(weights, scores, strict=True)), np.zeros_like(scores[0])))


def _cross_fitted(seen: _Validation) -> Array:
    """The mean (N, C) in which no segment had a say in its own weights, nor one of its group."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(seen.groups))}
    if len(numbers) < 2:
        return _mix(seen.scores, fit_weights(seen.scores, seen.truth))
    fold = np.array([numbers[group] for group in seen.groups]) % min(FOLDS, len(numbers))
    mixed = np.zeros_like(seen.scores[0])
    for number in range(int(fold.max()) + 1):
        held = fold == number
        weights = fit_weights([each[~held] for each in seen.scores], seen.truth[~held])
        mixed[held] = _mix([each[held] for each in seen.scores], weights)
    return mixed


def _names(members: Sequence[Model]) -> tuple[str, ...]:
    names: list[str] = []
    for member in members:
        plain = member.folder.resolve().name if member.folder is not None else f"{member.backbone.name} + {member.head.name}"
        same = sum(name == plain or name.rpartition(" ")[0] == plain for name in names)
        names.append(f"{plain} {same + 1}" if same else plain)
    return tuple(names)


def _shared(members: Sequence[Model], names: Sequence[str]) -> tuple[Manifest | None, str]:
    """The manifest whose validation part no member was fitted to; else why there is none."""
    fitted = [(name, member) for name, member in zip(names, members) if not member.is_zero_shot]
    if not fitted:
        return None, "the members are made of words alone, so there is no validation part"
    first_name, first = fitted[0]
    for name, member in fitted[1:]:
        if member.facts.fingerprint != first.facts.fingerprint or not first.facts.fingerprint:
            return None, (
                f"{first_name} and {name} were trained on different lists, or under different splits, so that one may have learnt what "
                "the other was validated on"
            )
    manifest = next((member.manifest for _, member in fitted if member.manifest is not None), None)
    if manifest is None:
        return None, "the videos that the members were validated on are not where they were"
    if not manifest.part("val").segments:
        return None, "the members were trained without a validation part"
    return manifest, ""


def _validation(members: Sequence[Model], manifest: Manifest, *, cache: Cache, progress: Progress) -> _Validation:
    """What each member says of the validation part; a segment that one of them cannot see is left out."""
    labels = members[0].labels
    asked = [segment for segment in manifest.part("val").segments if segment.label in labels]
    said: list[dict[Segment, Prediction]] = []
    failures: dict[Segment, Failure] = {}
    for member in members:
        found = member.predict(asked, cache=cache, progress=progress)
        said.append({one.segment: one for one in found.predictions})
        failures |= {failure.segment: failure for failure in found.failures}
    seen = tuple(segment for segment in asked if all(segment in each for each in said))
    if not seen:
        raise ConfigError("models", f"no validation segment can be seen by all members; the first: {next(iter(failures.values()), 'none')}")
    scores = tuple(align_scores([each[segment] for segment in seen], labels) for each in said)
    return _Validation(seen, scores, np.array([labels.index(str(segment.label)) for segment in seen]), tuple(failures.values()))


def _measured(seen: _Validation, together: Array, names: Sequence[str], weights: Sequence[float], *, fitted: bool) -> _Worth:
    """What each member and all together are worth, and whether together is really better."""
    rights = [each.argmax(axis=1) == seen.truth for each in (*seen.scores, together)]
    losses = [-np.log(np.maximum(each[np.arange(len(seen.truth)), seen.truth], MIN_PROBABILITY)).mean() for each in seen.scores]
    standings = tuple(
        Standing(name, weight, share(right, seen.groups))
        for name, weight, right in zip((*names, "together"), (*weights, None), rights, strict=True)
    )
    best = min(range(len(names)), key=lambda member: (-standings[member].accuracy.value, losses[member]))
    gain = difference(rights[-1], rights[best], seen.groups)
    sentences = (*_told(standings, len(seen.segments), fitted=fitted), _verdict(names[best], gain), *_left_out(seen))
    return _Worth(standings, gain, names[best], sentences)


def _told(standings: Sequence[Standing], count: int, *, fitted: bool) -> list[str]:
    how = ", each segment with weights fitted to the other groups" if fitted else ""
    lines = []
    for one in standings:
        who = f"together{how}" if one.weight is None else f"{one.name} (weight {one.weight:.2f})"
        lines.append(f"{who}: right on {percent(one.accuracy.value)} of {count} validation segments ({between(one.accuracy)}).")
    return lines


def _verdict(best: str, gain: Difference) -> str:
    """Whether together is really better than the best member."""
    interval, surprise = gain.interval, max(gain.p, gain.p_mcnemar)
    caveat = "validation chose the members' epochs, so measure on the test part: quickstep evaluate"
    if interval.low > 0 and surprise < 0.05:
        return f"Together is better than the best member, {best}, by {points(interval)}, p = {surprise:.2g}; {caveat}."
    if interval.high < 0 and surprise < 0.05:
        return f"Together is worse than {best} alone, by {points(interval)}: take {best} alone."
    if gain.only_a + gain.only_b == 0:
        return f"Together is right on exactly the same segments as {best} alone: the simpler one does."
    return f"Whether together is better than {best} alone cannot be said: {points(interval)}, p = {surprise:.2g}; {caveat}."


def _left_out(seen: _Validation) -> list[str]:
    count = len(seen.failures)
    return [f"{count} validation segment{'s' * (count > 1)} that a member could not see are left out."] if count else []


def _facts(members: Sequence[Model], names: Sequence[str], config: EnsembleConfig, manifest: Manifest | None) -> Facts:
    first = next((member for member in members if not member.is_zero_shot), members[0])
    shared = manifest is not None
    return Facts(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        quickstep=library_version("quickstep"),
        source=first.facts.source if shared else " + ".join(dict.fromkeys(member.facts.source for member in members)),
        fingerprint=first.facts.fingerprint if shared else "",
        splits=first.facts.splits if shared else {},
        words={} if not all(member.is_zero_shot for member in members) else first.facts.words,
        training={"members": list(names), "weights_by": config.weights_by or ("validation" if shared else "equal")},
        versions=versions(),
    )
