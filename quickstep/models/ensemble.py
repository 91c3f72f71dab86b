"""Ensemble: several models of the same labels whose probabilities are averaged with weights; used exactly as one model is.

One folder on disk: `model.json` (of kind "ensemble", sealed) beside a whole copy of each member, so that it moves as one. Knows how to
average; not how its weights were chosen.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quickstep.datasets.manifest import Manifest
from quickstep.models.calibration import probabilities
from quickstep.models.classifier import Classifier
from quickstep.models.model import Facts, Model
from quickstep.models.model_files import ENSEMBLE, LAYOUT, MEMBER, check_target, manifest_files, manifest_of
from quickstep.models.predictions import Prediction, Predictions
from quickstep.models.third_party import is_foreign
from quickstep.storage import model_folder
from quickstep.storage.cache import Cache, hash_of
from quickstep.storage.hub import locate_model
from quickstep.storage.serialization import from_plain, to_plain
from quickstep.types.errors import ConfigError, ModelError
from quickstep.types.progress import Progress
from quickstep.types.segment import Failure, Segment

if TYPE_CHECKING:
    from quickstep.models.array_features import Signals

LEAST = 1e-12  # a probability of nought would count as certainty
Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Member:
    """A member in its ensemble's record."""

    name: str
    folder: str
    sha256: str  # of its own model.json, which seals all the rest of it
    weight: float


@dataclass(frozen=True)
class _Record:
    """What an ensemble's model.json says."""

    format: int
    kind: str
    labels: tuple[str, ...]
    members: tuple[_Member, ...]
    temperature: float
    threshold: float | None
    facts: Facts
    folder: str
    files: dict[str, str]


@dataclass(frozen=True, eq=False)
class Ensemble(Classifier):
    """Models that answer together: each says its probabilities, and their weighted mean is the answer."""

    members: tuple[Model, ...]
    weights: tuple[float, ...]  # one a member, summing to 1
    names: tuple[str, ...]
    temperature: float = 1.0
    threshold: float | None = None
    facts: Facts = field(default_factory=Facts)
    manifest: Manifest | None = None  # that all members share; None where they learnt from different ones
    folder: Path | None = None

    def __post_init__(self) -> None:
        check_members(self.members, self.names)
        if len(self.weights) != len(self.members) or not np.isfinite(self.weights).all() or min(self.weights) < 0:
            raise ConfigError("weights-by", f"{len(self.members)} members have as many weights, none below 0: not {self.weights}")
        if abs(sum(self.weights) - 1) > 1e-6:
            raise ConfigError("weights-by", f"the weights add up to 1, not to {sum(self.weights):g}")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"its temperature is {self.temperature}")

    def __repr__(self) -> str:
        told = " + ".join(f"{weight:.2f} {name}" for weight, name in zip(self.weights, self.names, strict=True))
        return f"Ensemble({told}, labels: {', '.join(self.labels)})"

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of every score: that of the first member."""
        return self.members[0].labels

    @property
    def lead(self) -> Model:
        """Return the member with the largest weight, which stands for the ensemble where a single view or backbone is needed."""
        return self.members[int(np.argmax(self.weights))]

    @cached_property
    def digest(self) -> str:
        """Return a hash of everything that decides the scores: the members, their weights and the calibration."""
        return hash_of([[member.digest for member in self.members], list(self.weights), self.temperature, self.threshold])[:32]

    @property
    def words_alone(self) -> bool:
        """Whether all of it was made of words."""
        return all(member.words_alone for member in self.members)

    @property
    def cautions(self) -> tuple[str, ...]:
        """What is computed otherwise here than where the members were trained."""
        return tuple(f"{name}: {caution}" for name, member in zip(self.names, self.members) for caution in member.cautions)

    @property
    def trial(self) -> str:
        """What is tried instead of the members' own views, in words."""
        tried = [f"{name}: {member.trial}" for name, member in zip(self.names, self.members) if member.trial]
        return " ".join(tried)

    def through(self, *, windows: int | None = None, crops: int | None = None) -> Ensemble:
        """The same members looking at so many windows and crops, for a trial."""
        return replace(self, members=tuple(member.through(windows=windows, crops=crops) for member in self.members))

    def mixed(self, scores: Sequence[Array]) -> Array:
        """Probabilities (N, C) of the members' own, one array (N, C) a member, already in the order of `labels`."""
        mean = sum((weight * each for weight, each in zip(self.weights, scores, strict=True)), np.zeros_like(scores[0]))
        return probabilities(np.log(np.maximum(mean, LEAST)), self.temperature)

    def score(self, signals: Signals) -> Predictions:
        """Classify signals in memory; see `Classifier.score`."""
        from quickstep.models.array_features import list_signals, name_signals

        listed = list_signals(signals)
        return self._average(name_signals(listed), [member.score(listed) for member in self.members])

    def _predict(self, segments: Sequence[Segment], cache: Cache | None, progress: Progress, strict: bool) -> Predictions:
        return self._average(segments, [member._predict(segments, cache, progress, strict) for member in self.members])

    def _average(self, segments: Sequence[Segment], answers: Sequence[Predictions]) -> Predictions:
        """Average the members' answers; a segment that one member cannot read is a failure, never an answer of the others."""
        failures: dict[Segment, Failure] = {}
        for answer in answers:
            for failure in answer.failures:
                failures.setdefault(failure.segment, failure)
        tables = [{prediction.segment: prediction for prediction in answer.predictions} for answer in answers]
        readable = [segment for segment in segments if all(segment in table for table in tables)]
        scores = self.mixed([aligned([table[segment] for segment in readable], self.labels) for table in tables])
        predictions = (
            Prediction(segment, row, self.labels, self.threshold, max(table[segment].damaged for table in tables))
            for segment, row in zip(readable, scores, strict=True)
        )
        return Predictions(
            tuple(predictions),
            tuple(failures[segment] for segment in dict.fromkeys(segments) if segment in failures),
            sum(answer.seconds for answer in answers),
        )

    def save(self, folder: str | Path) -> None:
        """Writes the folder; what was there stays whole until all of the new is on disk."""
        folder = check_target(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            members = tuple(self._keep(number, folder) for number in range(len(self.members)))
            model_folder.write(folder, manifest_files(self.manifest), to_plain(self._record(folder, members)), LAYOUT)
            for old in set(folder.glob(f"{MEMBER}*")) - {folder / member.folder for member in members}:
                shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(folder, f"the ensemble cannot be written: {error.strerror or error}; what was there is untouched") from error

    def _keep(self, number: int, folder: Path) -> _Member:
        """A whole copy of a member inside the folder, under a name that tells its content."""
        member, aside = self.members[number], folder / f"{MEMBER}{number + 1}.saving"
        shutil.rmtree(aside, ignore_errors=True)
        if member.folder is not None and (member.folder / model_folder.RECORD).is_file() and not is_foreign(member.folder):
            content, _ = model_folder.read(member.folder, LAYOUT)
            for name in (*content["files"], model_folder.RECORD):
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(member.folder / name, aside / name)
        else:
            member.save(aside)
        digest = _digest(aside)
        place = folder / f"{MEMBER}{number + 1}-{digest[:12]}"
        if place.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(place)
        return _Member(self.names[number], place.name, digest, self.weights[number])

    def _record(self, folder: Path, members: tuple[_Member, ...]) -> _Record:
        where = str(folder.absolute()) if self.manifest is not None else ""
        return _Record(model_folder.FORMAT, ENSEMBLE, self.labels, members, self.temperature, self.threshold, self.facts, where, {})

    @classmethod
    def load(cls, folder: str | Path, *, cache: Cache | None = None) -> Ensemble:
        """An ensemble from its folder, with all of its members whole and unchanged, or not at all."""
        folder = Path(folder)
        content, files = model_folder.read(folder, LAYOUT)
        if content.get("kind") != ENSEMBLE:
            raise ModelError(folder, "holds one model and no ensemble: Model.load opens it")
        try:
            record: _Record = from_plain(_Record, content, where=model_folder.RECORD)
        except ValueError as error:
            raise ModelError(folder, f"does not fit together ({error}); it was written by another quickstep, or changed") from error
        members = tuple(_member(folder, member, cache) for member in record.members)
        try:
            return cls(
                members=members,
                weights=tuple(member.weight for member in record.members),
                names=tuple(member.name for member in record.members),
                temperature=record.temperature,
                threshold=record.threshold,
                facts=record.facts,
                manifest=manifest_of(folder, record.folder, files),
                folder=folder,
            )
        except ValueError as error:
            raise ModelError(folder, f"does not fit together: {error}") from error


AnyModel = Model | Ensemble


def load_model(model: str | Path | AnyModel, weights: str | Path | None = None, *, cache: Cache | None = None) -> AnyModel:
    """Open a model or an ensemble from its folder, or from `owner/name` on the hub; one that is open already is returned unchanged.

    `weights` is where the backbone's weights are, if they moved.
    """
    if isinstance(model, Model | Ensemble):
        return model
    if not isinstance(model, str | os.PathLike):
        raise TypeError(f"expected a model, its folder, or owner/name on the hub; got {type(model).__name__} {model!r:.60}")
    folder = locate_model(model)
    if not is_ensemble(folder):
        return Model.load(folder, weights, cache=cache)
    if weights is not None:
        raise ConfigError("weights", "an ensemble has the weights of several backbones; open its members one by one")
    return Ensemble.load(folder, cache=cache)


def is_ensemble(folder: Path) -> bool:
    """Whether a folder says that it holds an ensemble; all else about it is checked when it is opened."""
    try:
        content: Any = json.loads((folder / model_folder.RECORD).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("kind") == ENSEMBLE


def check_members(members: Sequence[Model], names: Sequence[str]) -> None:
    """Refuses models that cannot answer together."""
    if len(members) < 2:
        raise ConfigError("models", "an ensemble has at least two models")
    if len(set(names)) != len(names) or len(names) != len(members):
        raise ConfigError("models", f"each member has a name of its own, not {', '.join(names)}")
    first = set(members[0].labels)
    for member, name in zip(members[1:], names[1:], strict=True):
        if set(member.labels) == first:
            continue
        lacking, more = sorted(first - set(member.labels)), sorted(set(member.labels) - first)
        told = [f"lacks {_listed(lacking)}"] * bool(lacking) + [f"also has {_listed(more)}"] * bool(more)
        raise ConfigError("models", f"members name the same labels, but beside {names[0]} {name} {' and '.join(told)}")


def aligned(predictions: Sequence[Prediction], labels: Sequence[str]) -> Array:
    """The scores (N, C) of one model in another order of its labels."""
    if not predictions:
        return np.zeros((0, len(labels)))
    places = [predictions[0].labels.index(label) for label in labels]
    return np.stack([one.scores for one in predictions])[:, places]


def _listed(labels: Sequence[str], most: int = 4) -> str:
    return ", ".join(map(repr, labels[:most])) + (f" and {len(labels) - most} more" if len(labels) > most else "")


def _digest(folder: Path) -> str:
    return hashlib.sha256((folder / model_folder.RECORD).read_bytes()).hexdigest()


def _member(folder: Path, member: _Member, cache: Cache | None) -> Model:
    place = folder / member.folder
    if Path(member.folder).name != member.folder or not (place / model_folder.RECORD).is_file():
        raise ModelError(folder, f"is no whole ensemble: it lacks {member.folder}; copy the folder again, or fuse again")
    if _digest(place) != member.sha256:
        raise ModelError(folder, f"its {member.folder} was changed after it was fused; copy the folder again, or fuse again")
    return Model.load(place, cache=cache)
