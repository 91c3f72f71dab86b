"""Combine several models of the same labels into an Ensemble, with weights that are equal, given, or fitted on their validation part.

Neither the test part nor a segment that any member was trained on is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import softmax

from quickstep.datasets.manifest import Manifest, group_of
from quickstep.models.classifier import Prediction, fit_temperature, fit_threshold, probabilities
from quickstep.models.ensemble import MIN_PROBABILITY, Ensemble, align_scores, check_members, load_model
from quickstep.models.model import Facts, Model
from quickstep.storage.cache import Cache
from quickstep.training.provenance import make_facts
from quickstep.types.confidence_intervals import Difference, Interval, between, difference, percent, points, share
from quickstep.types.config_fields import setting
from quickstep.types.errors import ConfigError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment

REGULARIZATION = 1.0  # pulls the logarithms of the weights together, so that few segments leave them nearly equal
FOLDS = 5  # each segment is scored with weights fitted to the other folds
Array = NDArray[np.float64]


@dataclass(frozen=True)
class EnsembleConfig:
    """How the members are weighted."""

    weights_by: str | None = setting(
        None, "validation (fitted on it), equal, or numbers such as 0.6,0.4; by default validation if all members share it, else equal"
    )

    def __post_init__(self) -> None:
        self.numbers()

    def numbers(self) -> tuple[float, ...] | None:
        """Return the numbers, scaled to a sum of 1; None where the weights are not given as numbers."""
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
class MemberAccuracy:
    """The validation accuracy of a member or of the ensemble."""

    name: str
    weight: float | None  # None for the ensemble
    accuracy: Interval


@dataclass(frozen=True, eq=False)
class EnsembleResult:
    """An ensemble, the validation accuracy of its members and its own, and what these mean."""

    ensemble: Ensemble
    standings: tuple[MemberAccuracy, ...] = ()  # the members in order, then the ensemble; empty without validation
    gain: Difference | None = None  # of the ensemble over the best member
    best: str = ""  # the best member's name
    failures: tuple[Failure, ...] = ()
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Measured:
    """The accuracies on validation, and sentences about them."""

    standings: tuple[MemberAccuracy, ...]
    gain: Difference
    best: str
    sentences: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Validation:
    """The scores of every member for the segments that none of them was trained on."""

    segments: tuple[Segment, ...]
    scores: tuple[Array, ...]  # of each member (N, C), in the labels' order
    truth: NDArray[np.int64]  # (N,)
    failures: tuple[Failure, ...]

    @property
    def groups(self) -> list[str]:
        return [group_of(segment) for segment in self.segments]


def ensemble(
    models: Iterable[Model | str | Path],
    config: EnsembleConfig | None = None,
    *,
    names: Sequence[str] | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
) -> EnsembleResult:
    """Combine models of the same labels; each is a Model or a path. `names` are the names of the members, by default of their folders."""
    config, cache = config or EnsembleConfig(), cache or Cache()
    members = _open_members(models, cache)
    member_names = tuple(names) if names is not None else _default_names(members)
    check_members(members, member_names)
    weights_given = config.numbers()
    if weights_given is not None and len(weights_given) != len(members):
        raise ConfigError("weights_by", f"{len(members)} models need {len(members)} weights, not {len(weights_given)}")
    manifest, reason = _shared_validation(members, member_names)
    if manifest is None and config.weights_by == "validation":
        raise ConfigError("weights_by", f"{reason}; use equal, or numbers of your own")
    equal = (1 / len(members),) * len(members)
    facts = _facts(members, member_names, config, manifest)
    if manifest is None:
        sentence = f"{reason}: the weights are {'as given' if weights_given else 'equal'}, and the confidence is not calibrated."
        ensemble = Ensemble(members, weights_given or equal, member_names, facts=replace(facts, notes=(sentence,)))
        return EnsembleResult(ensemble, sentences=(sentence,))
    validation = _score_validation(members, manifest, cache=cache, progress=progress)
    fitted = config.weights_by in (None, "validation")
    weights = fit_weights(validation.scores, validation.truth) if fitted else (weights_given or equal)
    together = _cross_fitted(validation) if fitted else _mix(validation.scores, weights)
    logits = np.log(np.maximum(_mix(validation.scores, weights), MIN_PROBABILITY))
    temperature = fit_temperature(logits, validation.truth)
    threshold = fit_threshold(probabilities(logits, temperature), validation.truth)
    measured = _measure(validation, together, member_names, weights, fitted=fitted)
    facts = replace(
        facts, notes=measured.sentences, training={**facts.training, **{f"weight of {n}": w for n, w in zip(member_names, weights)}}
    )
    ensemble = Ensemble(members, weights, member_names, temperature, threshold, facts, manifest)
    return EnsembleResult(ensemble, measured.standings, measured.gain, measured.best, validation.failures, measured.sentences)


def _open_members(models: Iterable[Model | str | Path], cache: Cache) -> tuple[Model, ...]:
    if isinstance(models, str | Path | Model) or not isinstance(models, Iterable):
        raise TypeError(f"expected several models or their folders; got {type(models).__name__} {models!r:.60}")
    members = []
    for model in models:
        member = load_model(model, cache=cache)
        if isinstance(member, Ensemble):
            raise ConfigError("models", f"{member.folder or 'one of them'} is an ensemble itself; name its members")
        members.append(member)
    return tuple(members)


def fit_weights(scores: Sequence[Array], truth: NDArray[np.int64]) -> tuple[float, ...]:
    """Return the weights, with a sum of 1, that minimize the log loss of the mean; for few segments they are nearly equal."""
    true_scores = np.stack([member[np.arange(len(truth)), truth] for member in scores])  # (M, N)

    def loss(logits: Array) -> float:
        mixed = softmax(logits) @ true_scores
        return float(-np.log(np.maximum(mixed, MIN_PROBABILITY)).sum() + REGULARIZATION * np.square(logits - logits.mean()).sum())

    solution = minimize(loss, np.zeros(len(scores)), method="L-BFGS-B")
    weights = softmax(solution.x)
    return tuple(float(weight) for weight in weights / weights.sum())


def _mix(scores: Sequence[Array], weights: Sequence[float]) -> Array:
    return np.asarray(sum((weight * member for weight, member in zip(weights, scores, strict=True)), np.zeros_like(scores[0])))


def _cross_fitted(validation: _Validation) -> Array:
    """Return the mean (N, C) in which each segment is weighted by the other groups: neither it nor its group chose the weights."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(validation.groups))}
    if len(numbers) < 2:
        return _mix(validation.scores, fit_weights(validation.scores, validation.truth))
    fold = np.array([numbers[group] for group in validation.groups]) % min(FOLDS, len(numbers))
    mixed = np.zeros_like(validation.scores[0])
    for number in range(int(fold.max()) + 1):
        held_out = fold == number
        weights = fit_weights([member[~held_out] for member in validation.scores], validation.truth[~held_out])
        mixed[held_out] = _mix([member[held_out] for member in validation.scores], weights)
    return mixed


def _default_names(members: Sequence[Model]) -> tuple[str, ...]:
    names: list[str] = []
    for member in members:
        plain = member.folder.resolve().name if member.folder is not None else f"{member.backbone.name} + {member.head.name}"
        same = sum(name == plain or name.rpartition(" ")[0] == plain for name in names)
        names.append(f"{plain} {same + 1}" if same else plain)
    return tuple(names)


def _shared_validation(members: Sequence[Model], names: Sequence[str]) -> tuple[Manifest | None, str]:
    """Return the manifest whose validation part no member was trained on, or None and the reason."""
    fitted = [(name, member) for name, member in zip(names, members) if not member.is_zero_shot]
    if not fitted:
        return None, "the members are zero-shot models and have no validation part"
    first_name, first = fitted[0]
    for name, member in fitted[1:]:
        if member.facts.fingerprint != first.facts.fingerprint or not first.facts.fingerprint:
            return None, (
                f"{first_name} and {name} were trained on different lists or with different splits, so one may have been trained on "
                "validation segments of the other"
            )
    manifest = next((member.manifest for _, member in fitted if member.manifest is not None), None)
    if manifest is None:
        return None, "the validation videos of the members are missing"
    if not manifest.part("val").segments:
        return None, "the members were trained without a validation part"
    return manifest, ""


def _score_validation(members: Sequence[Model], manifest: Manifest, *, cache: Cache, progress: Progress) -> _Validation:
    """Predict the validation part with each member; leave out segments that one of them cannot read."""
    labels = members[0].labels
    segments = [segment for segment in manifest.part("val").segments if segment.label in labels]
    predictions: list[dict[Segment, Prediction]] = []
    failures: dict[Segment, Failure] = {}
    for member in members:
        predicted = member.predict(segments, cache=cache, progress=progress)
        predictions.append({prediction.segment: prediction for prediction in predicted.predictions})
        failures |= {failure.segment: failure for failure in predicted.failures}
    usable = tuple(segment for segment in segments if all(segment in of_member for of_member in predictions))
    if not usable:
        raise ConfigError(
            "models", f"no validation segment can be read by all members; the first failure: {next(iter(failures.values()), 'none')}"
        )
    scores = tuple(align_scores([of_member[segment] for segment in usable], labels) for of_member in predictions)
    return _Validation(usable, scores, np.array([labels.index(str(segment.label)) for segment in usable]), tuple(failures.values()))


def _measure(validation: _Validation, together: Array, names: Sequence[str], weights: Sequence[float], *, fitted: bool) -> _Measured:
    """Measure the accuracy of each member and of the ensemble, and whether the ensemble is significantly better."""
    right = [scores.argmax(axis=1) == validation.truth for scores in (*validation.scores, together)]
    places = np.arange(len(validation.truth))
    losses = [-np.log(np.maximum(scores[places, validation.truth], MIN_PROBABILITY)).mean() for scores in validation.scores]
    standings = tuple(
        MemberAccuracy(name, weight, share(correct, validation.groups))
        for name, weight, correct in zip((*names, "together"), (*weights, None), right, strict=True)
    )
    best = min(range(len(names)), key=lambda member: (-standings[member].accuracy.value, losses[member]))
    gain = difference(right[-1], right[best], validation.groups)
    sentences = (
        *_accuracy_lines(standings, len(validation.segments), fitted=fitted),
        _verdict(names[best], gain),
        *_note_left_out(validation),
    )
    return _Measured(standings, gain, names[best], sentences)


def _accuracy_lines(standings: Sequence[MemberAccuracy], count: int, *, fitted: bool) -> list[str]:
    how = ", each segment with weights fitted to the other groups" if fitted else ""
    lines = []
    for member in standings:
        who = f"ensemble{how}" if member.weight is None else f"{member.name} (weight {member.weight:.2f})"
        lines.append(f"{who}: {percent(member.accuracy.value)} accurate ({between(member.accuracy)}) on {count} validation segments.")
    return lines


def _verdict(best: str, gain: Difference) -> str:
    """Say whether the ensemble is significantly better than the best member."""
    interval, p = gain.interval, max(gain.p, gain.p_mcnemar)
    caveat = "the members' epochs were chosen by validation, so measure on the test part: quickstep evaluate"
    if interval.low > 0 and p < 0.05:
        return f"The ensemble is better than the best member, {best}, by {points(interval)}, p = {p:.2g}; {caveat}."
    if interval.high < 0 and p < 0.05:
        return f"The ensemble is worse than {best} alone, by {points(interval)}: use {best} alone."
    if gain.only_a + gain.only_b == 0:
        return f"The ensemble is correct on exactly the same segments as {best} alone: use {best} alone, which is simpler."
    return f"The ensemble is not significantly better than {best} alone: {points(interval)}, p = {p:.2g}; {caveat}."


def _note_left_out(validation: _Validation) -> list[str]:
    count = len(validation.failures)
    return [f"{count} validation segment{'s' * (count > 1)} that a member could not read are left out."] if count else []


def _facts(members: Sequence[Model], names: Sequence[str], config: EnsembleConfig, manifest: Manifest | None) -> Facts:
    first = next((member for member in members if not member.is_zero_shot), members[0])
    shared = manifest is not None
    return make_facts(
        source=first.facts.source if shared else " + ".join(dict.fromkeys(member.facts.source for member in members)),
        fingerprint=first.facts.fingerprint if shared else "",
        splits=first.facts.splits if shared else {},
        words={} if not all(member.is_zero_shot for member in members) else first.facts.words,
        training={"members": list(names), "weights_by": config.weights_by or ("validation" if shared else "equal")},
    )
