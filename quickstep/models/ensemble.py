"""Ensemble: models with the same labels whose probabilities are averaged with weights; it is used exactly as a Model.

It is saved as one folder: `model.json` of kind "ensemble" and a complete copy of each member.
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
from quickstep.models.classifier import Classifier, Prediction, Predictions, probabilities
from quickstep.models.model import Facts, Model
from quickstep.models.model_files import ENSEMBLE, LAYOUT, MEMBER, check_target, is_third_party, manifest_files, manifest_of
from quickstep.storage import model_folder
from quickstep.storage.cache import Cache, hash_of
from quickstep.storage.hub import locate_model
from quickstep.storage.serialization import from_plain, to_plain
from quickstep.types import registry
from quickstep.types.errors import ConfigError, ModelError
from quickstep.types.progress import Progress
from quickstep.types.segment import Failure, Segment

if TYPE_CHECKING:
    from quickstep.models.array_features import Signals

MIN_PROBABILITY = 1e-12  # its logarithm is finite
Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Member:
    """A member in the record of its ensemble."""

    name: str
    folder: str
    sha256: str  # of its model.json, which has the hashes of its other files
    weight: float


@dataclass(frozen=True)
class _Record:
    """The content of an ensemble's model.json."""

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
    """Models whose weighted mean of probabilities is the prediction."""

    members: tuple[Model, ...]
    weights: tuple[float, ...]  # one for each member, summing to 1
    names: tuple[str, ...]
    temperature: float = 1.0
    threshold: float | None = None
    facts: Facts = field(default_factory=Facts)
    manifest: Manifest | None = None  # that all members were trained on; None if they differ
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
        members = " + ".join(f"{weight:.2f} {name}" for weight, name in zip(self.weights, self.names, strict=True))
        return f"Ensemble({members}, labels: {', '.join(self.labels)})"

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels in the order of the scores, which is that of the first member."""
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
    def is_zero_shot(self) -> bool:
        """Whether all members were made of prompts."""
        return all(member.is_zero_shot for member in self.members)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what is computed differently here than on the machines that trained the members."""
        return tuple(f"{name}: {warning}" for name, member in zip(self.names, self.members) for warning in member.warnings)

    @property
    def view_note(self) -> str:
        """Return sentences about views that replace the members' own ones."""
        notes = [f"{name}: {member.view_note}" for name, member in zip(self.names, self.members) if member.view_note]
        return " ".join(notes)

    def with_view(self, *, windows: int | None = None, crops: int | None = None) -> Ensemble:
        """Return the same ensemble with another number of windows and crops."""
        return replace(self, members=tuple(member.with_view(windows=windows, crops=crops) for member in self.members))

    def mixed(self, scores: Sequence[Array]) -> Array:
        """Average the members' probabilities: one array (N, C) for each member, in the order of `labels`."""
        mean = sum((weight * member for weight, member in zip(self.weights, scores, strict=True)), np.zeros_like(scores[0]))
        return probabilities(np.log(np.maximum(mean, MIN_PROBABILITY)), self.temperature)

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
        scores = self.mixed([align_scores([table[segment] for segment in readable], self.labels) for table in tables])
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
        """Write the ensemble to a folder; an earlier model there is replaced only when the new one is complete on the disk."""
        folder = check_target(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            members = tuple(self._copy_member(number, folder) for number in range(len(self.members)))
            model_folder.write(folder, manifest_files(self.manifest), to_plain(self._record(folder, members)), LAYOUT)
            for old in set(folder.glob(f"{MEMBER}*")) - {folder / member.folder for member in members}:
                shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(
                folder, f"the ensemble cannot be written: {error.strerror or error}; what was there before is unchanged"
            ) from error

    def _copy_member(self, number: int, folder: Path) -> _Member:
        """Copy a member into the folder, under a name that contains its hash."""
        member, temporary = self.members[number], folder / f"{MEMBER}{number + 1}.saving"
        shutil.rmtree(temporary, ignore_errors=True)
        if member.folder is not None and (member.folder / model_folder.RECORD).is_file() and not is_third_party(member.folder):
            content, _ = model_folder.read(member.folder, LAYOUT)
            for name in (*content["files"], model_folder.RECORD):
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(member.folder / name, temporary / name)
        else:
            member.save(temporary)
        digest = _digest(temporary)
        final = folder / f"{MEMBER}{number + 1}-{digest[:12]}"
        if final.exists():
            shutil.rmtree(temporary)
        else:
            temporary.rename(final)
        return _Member(self.names[number], final.name, digest, self.weights[number])

    def _record(self, folder: Path, members: tuple[_Member, ...]) -> _Record:
        where = str(folder.absolute()) if self.manifest is not None else ""
        return _Record(model_folder.FORMAT, ENSEMBLE, self.labels, members, self.temperature, self.threshold, self.facts, where, {})

    @classmethod
    def load(cls, folder: str | Path, *, cache: Cache | None = None) -> Ensemble:
        """Open the folder of an ensemble whose members are all complete and unchanged."""
        folder = Path(folder)
        content, files = model_folder.read(folder, LAYOUT)
        if content.get("kind") != ENSEMBLE:
            raise ModelError(folder, "is a single model, not an ensemble: Model.load opens it")
        try:
            record: _Record = from_plain(_Record, content, where=model_folder.RECORD)
        except ValueError as error:
            raise ModelError(folder, f"is inconsistent ({error}); it was written by another quickstep, or changed") from error
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
            raise ModelError(folder, f"is inconsistent: {error}") from error


AnyModel = Model | Ensemble


def load_model(
    model: str | Path | AnyModel, weights: str | Path | None = None, *, cache: Cache | None = None, trust: Sequence[str] = ()
) -> AnyModel:
    """Open a model or an ensemble from its folder, or from `owner/name` on the hub; one that is open already is returned unchanged.

    `weights` is where the backbone's weights are, if they moved. `trust` names modules outside quickstep whose code the model may run.
    """
    registry.trust(*trust)
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
    """Whether a folder is that of an ensemble; everything else about it is checked when it is opened."""
    try:
        content: Any = json.loads((folder / model_folder.RECORD).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("kind") == ENSEMBLE


def check_members(members: Sequence[Model], names: Sequence[str]) -> None:
    """Refuse models that cannot form an ensemble."""
    if len(members) < 2:
        raise ConfigError("models", "an ensemble has at least two models")
    if len(set(names)) != len(names) or len(names) != len(members):
        raise ConfigError("models", f"each member needs a name of its own, not {', '.join(names)}")
    first = set(members[0].labels)
    for member, name in zip(members[1:], names[1:], strict=True):
        if set(member.labels) == first:
            continue
        missing, more = sorted(first - set(member.labels)), sorted(set(member.labels) - first)
        differences = [f"lacks {_listed(missing)}"] * bool(missing) + [f"also has {_listed(more)}"] * bool(more)
        raise ConfigError("models", f"members need the same labels, but compared with {names[0]}, {name} {' and '.join(differences)}")


def align_scores(predictions: Sequence[Prediction], labels: Sequence[str]) -> Array:
    """Return the scores (N, C) of predictions in another order of the labels."""
    if not predictions:
        return np.zeros((0, len(labels)))
    columns = [predictions[0].labels.index(label) for label in labels]
    return np.stack([prediction.scores for prediction in predictions])[:, columns]


def _listed(labels: Sequence[str], most: int = 4) -> str:
    return ", ".join(map(repr, labels[:most])) + (f" and {len(labels) - most} more" if len(labels) > most else "")


def _digest(folder: Path) -> str:
    return hashlib.sha256((folder / model_folder.RECORD).read_bytes()).hexdigest()


def _member(folder: Path, member: _Member, cache: Cache | None) -> Model:
    place = folder / member.folder
    if Path(member.folder).name != member.folder or not (place / model_folder.RECORD).is_file():
        raise ModelError(folder, f"is not a complete ensemble: it lacks {member.folder}; copy the folder again, or make the ensemble again")
    if _digest(place) != member.sha256:
        raise ModelError(folder, f"its {member.folder} was changed after it was written; copy the folder again, or make the ensemble again")
    return Model.load(place, cache=cache)
