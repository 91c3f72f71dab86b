"""Model: a backbone, a view, a head and labels, saved as one folder."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones import BackboneSpec, check_view, with_windows
from quickstep.datasets.manifest import Manifest
from quickstep.heads import Head, History, current_head_name, open_head
from quickstep.models.calibration import probabilities
from quickstep.models.classifier import Classifier
from quickstep.models.feature_extraction import Extraction, extract
from quickstep.models.model_files import ENSEMBLE, HEAD, HEAD_LAST, HISTORY, LAYOUT, consistent, manifest_files, manifest_of
from quickstep.models.predictions import Prediction, Predictions
from quickstep.models.third_party import is_foreign, read_foreign
from quickstep.storage import model_folder
from quickstep.storage.cache import Cache, hash_of
from quickstep.storage.hub import locate_model
from quickstep.storage.serialization import from_plain, to_plain
from quickstep.types.errors import ModelError
from quickstep.types.progress import Progress
from quickstep.types.segment import Segment
from quickstep.types.signals import Features
from quickstep.types.view import View

if TYPE_CHECKING:
    from quickstep.backbones import Backbone
    from quickstep.models.array_features import Signals

# What may differ from machine to machine without making other features: the same network, computed another way.
COMPUTED = {"precision", "engine", "batch", "flow"}


@dataclass(frozen=True)
class Facts:
    """How a model came to be; free of any measure of how good it is."""

    created: str = ""  # ISO 8601, UTC
    quickstep: str = ""
    source: str = ""  # the folder or list it was trained on
    fingerprint: str = ""  # of the manifest with its splits
    splits: dict[str, dict[str, int]] = field(default_factory=dict)  # part -> label -> segments, as the manifest has them
    failures: tuple[str, ...] = ()  # segments of train and val that could not be used, and why
    notes: tuple[str, ...] = ()  # what the trainer should know
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)  # label -> the sentences that a head read for it
    training: dict[str, Any] = field(default_factory=dict)  # the settings of train
    fitting: dict[str, Any] = field(default_factory=dict)  # those of the loop, with what stood for "by default"
    versions: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # stage -> time


@dataclass(frozen=True)
class _Record:
    """What model.json says."""

    format: int
    labels: tuple[str, ...]
    backbone: BackboneSpec
    identity: dict[str, Any]
    revision: str | None
    license: str
    view: dict[str, Any]
    head: str
    head_config: dict[str, Any]
    temperature: float
    threshold: float | None
    facts: Facts
    folder: str  # where the manifest's paths counted from
    rows: dict[str, tuple[int, ...]]  # part -> the manifest's rows behind history.json
    files: dict[str, str]


@dataclass(frozen=True, eq=False)
class Model(Classifier):
    """Everything that is needed to name the moves in a video, in one thing that can be saved."""

    labels: tuple[str, ...]
    backbone: Backbone
    view: View
    head: Head
    spec: BackboneSpec
    temperature: float = 1.0
    threshold: float | None = None  # the lowest top score that counts as sure
    facts: Facts = field(default_factory=Facts)
    manifest: Manifest | None = None  # with the splits it was trained under; None where its videos are nowhere to be found
    history: History | None = None
    folder: Path | None = None
    cautions: tuple[str, ...] = ()  # what is computed otherwise here than where it was trained
    networks: Mapping[str, Path] = field(default_factory=dict)  # of a tuned model: where the files of its networks (best, last) lie
    instead_of: View | None = None  # its own view, where another one is tried

    def __repr__(self) -> str:
        return f"Model({self.backbone.name} + {self.head.name}, labels: {', '.join(self.labels)})"

    @property
    def words_alone(self) -> bool:
        """Whether it was made of words, without one labelled video."""
        return bool(self.facts.words) and not self.facts.splits

    @property
    def trial(self) -> str:
        """What is tried instead of the model's own view, in words; "" where nothing is."""
        if self.instead_of is None:
            return ""
        own = self.instead_of.spoken
        return (
            f"A trial: each segment was looked at through {self.view.spoken}, where the model's own view is {own}, for which its "
            "certainties were calibrated."
        )

    def through(self, *, windows: int | None = None, crops: int | None = None) -> Model:
        """The same model looking at so many windows and crops, for a trial; itself where that is its own view."""
        own = self.instead_of or self.view
        view = with_windows(self.view, windows=windows, crops=crops)
        check_view(self.backbone, view)
        if view == self.view:
            return self
        return replace(self, view=view, instead_of=None if view == own else own)

    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Probabilities (N, C), calibrated; each row depends on its own features alone, to the bit."""
        return probabilities(self.head.scores(features), self.temperature)

    @property
    def members(self) -> tuple[Model, ...]:
        """Return the model itself, as an ensemble returns its members."""
        return (self,)

    @property
    def lead(self) -> Model:
        """Return the model itself, as an ensemble returns the member with the largest weight."""
        return self

    @cached_property
    def digest(self) -> str:
        """Return a hash of everything that decides the scores: labels, backbone, view, head and calibration."""
        weights = hashlib.sha256()
        for name, array in sorted(self.head.weights().items()):
            weights.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
            weights.update(np.ascontiguousarray(array).tobytes())
        decisive = {
            "labels": list(self.labels),
            "backbone": json.loads(json.dumps(dict(self.backbone.identity), default=str)),
            "view": to_plain(self.view),
            "head": [self.head.name, to_plain(self.head.config), weights.hexdigest()],
            "calibration": [self.temperature, self.threshold],
            "poses": self.spec.poses,
        }
        return hash_of(decisive)[:32]

    def score(self, signals: Signals) -> Predictions:
        """Classify signals in memory; see `Classifier.score`."""
        from quickstep.models.array_features import extract_from_arrays, list_signals, name_signals

        listed = list_signals(signals)
        started = time.perf_counter()
        extraction = extract_from_arrays(listed, self.backbone, self.view, Cache())
        return self._predictions(name_signals(listed), replace(extraction, seconds=time.perf_counter() - started))

    def _predict(self, segments: Sequence[Segment], cache: Cache | None, progress: Progress, strict: bool) -> Predictions:
        extraction = extract(segments, self.backbone, view=self.view, cache=cache, progress=progress).check(strict=strict)
        return self._predictions(segments, extraction)

    def _predictions(self, segments: Sequence[Segment], extraction: Extraction) -> Predictions:
        """Score the features of the segments that have any."""
        readable = [segment for segment in segments if segment in extraction.features]
        scores = self.scores([extraction.features[segment] for segment in readable])
        predictions = (
            Prediction(segment, row, self.labels, self.threshold, extraction.damaged.get(segment, 0.0))
            for segment, row in zip(readable, scores, strict=True)
        )
        return Predictions(tuple(predictions), extraction.failures, extraction.seconds)

    def save(self, folder: str | Path) -> None:
        """Writes the folder; an earlier model there is replaced when all of the new one is on disk, and not before."""
        from safetensors.numpy import save

        files: dict[str, model_folder.Content] = {HEAD: save(_whole(self.head.weights()))}
        last = self.head.last_weights()
        if last is not None:
            files[HEAD_LAST] = save(_whole(last))
        files |= manifest_files(self.manifest)
        if self.history is not None:
            files[HISTORY] = json.dumps(self.history.to_json(), indent=1, allow_nan=False).encode()
        for name, place in self.networks.items():
            files |= {f"{name}/{file.name}": partial(shutil.copyfile, file) for file in sorted(place.iterdir())}
        model_folder.write(folder, files, to_plain(self._record(Path(folder))), LAYOUT)

    def _record(self, folder: Path) -> _Record:
        return _Record(
            format=model_folder.FORMAT,
            labels=self.labels,
            backbone=self.spec,
            identity=dict(self.backbone.identity),
            revision=self.backbone.revision,
            license=self.backbone.license,
            view=to_plain(self.view),
            head=_named(self.head),
            head_config=asdict(self.head.config),
            temperature=self.temperature,
            threshold=self.threshold,
            facts=self.facts,
            folder=str(folder.absolute()) if self.manifest is not None else "",
            rows=self._rows(),
            files={},
        )

    def _rows(self) -> dict[str, tuple[int, ...]]:
        """The manifest's rows of the segments that history tells of."""
        if self.manifest is None or self.history is None:
            return {}
        number = {segment: row for row, segment in enumerate(self.manifest.segments)}
        parts = {"train": self.history.train_segments, "val": self.history.val_segments}
        return {part: tuple(number[segment] for segment in segments) for part, segments in parts.items()}

    @classmethod
    def load(cls, folder: str | Path, weights: str | Path | None = None, *, cache: Cache | None = None) -> Model:
        """A model from its folder, whole and unchanged or not at all; `weights` says where its backbone's are, if they moved.

        `owner/name[@revision]` is fetched from the hub. A classifier that others published as `weights.ckpt` and `config.json` loads too.
        """
        folder = locate_model(folder)
        if is_foreign(folder):
            return cls.of_foreign(folder, weights=weights, cache=cache)
        content, files = model_folder.read(folder, LAYOUT)
        if content.get("kind") == ENSEMBLE:
            raise ModelError(folder, "is an ensemble of several models, and one alone is needed here: name one of its member-... folders")
        record = consistent(folder, lambda: from_plain(_Record, content, where=model_folder.RECORD))
        spec = record.backbone.with_weights(weights)
        networks = {name: folder / name for name in LAYOUT.subfolders if any(file.startswith(f"{name}/") for file in record.files)}
        head = consistent(folder, lambda: _head(record, files))
        manifest = manifest_of(folder, record.folder, files)
        history = consistent(folder, lambda: _history(record, files, manifest))
        backbone = spec.in_folder(folder).open(cache)
        cautions = _same_backbone(folder, record, backbone)
        return cls(
            labels=record.labels,
            backbone=backbone,
            view=consistent(folder, lambda: from_plain(View, record.view, where="the view")),
            head=head,
            spec=spec,
            temperature=record.temperature,
            threshold=record.threshold,
            facts=record.facts,
            manifest=manifest,
            history=history,
            folder=folder,
            cautions=cautions,
            networks=networks,
        )

    @classmethod
    def of_foreign(
        cls, folder: str | Path, *, labels: Sequence[str] | None = None, weights: str | Path | None = None, cache: Cache | None = None
    ) -> Model:
        """A model of a published folder of `weights.ckpt` and `config.json`; its labels, where the folder does not name them."""
        folder = Path(folder)
        parts = read_foreign(folder, labels=labels, weights=weights, cache=cache)
        spec = BackboneSpec(parts.name, None if weights is None else str(Path(weights).expanduser().absolute()))
        facts = Facts(source=str(folder), notes=("made by others: nothing is known here of how it was trained",))
        return cls(parts.labels, parts.backbone, parts.backbone.view, parts.head, spec, facts=facts, folder=folder)


def _whole(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays in the order of memory in which they are written: any other would be written garbled, without a word."""
    return {name: np.asarray(array, order="C") for name, array in arrays.items()}


def _named(head: Head) -> str:
    """The name that opens it: of the table, or where its class lives."""
    from quickstep.heads import HEADS

    if head.name in HEADS:
        return head.name
    return f"{type(head).__module__}:{type(head).__qualname__}"


def _head(record: _Record, files: Mapping[str, bytes]) -> Head:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        head = open_head(current_head_name(record.head), record.head_config)
        head.load(load(files[HEAD]))
    except (SafetensorError, LookupError) as error:
        raise ValueError(f"{HEAD}: {error}") from error
    if not 0 < record.temperature < float("inf"):
        raise ValueError(f"its temperature is {record.temperature}")
    if len(record.labels) < 2 or len(set(record.labels)) != len(record.labels):
        raise ValueError("its labels are not at least two different ones")
    if head.classes != len(record.labels):
        raise ValueError(f"{len(record.labels)} labels for {head.classes} scores")
    return head


def _history(record: _Record, files: Mapping[str, bytes], manifest: Manifest | None) -> History | None:
    if HISTORY not in files:
        return None
    history: History = History.from_json(json.loads(files[HISTORY]))
    if manifest is None or not record.rows:
        return history
    return history.with_segments(*(tuple(manifest.segments[row] for row in record.rows[part]) for part in ("train", "val")))


def _same_backbone(folder: Path, record: _Record, backbone: Backbone) -> tuple[str, ...]:
    """Refuses a backbone that would give other features than those the head was fitted on; tells what is merely computed otherwise."""
    here = json.loads(json.dumps(dict(backbone.identity)))
    differing = sorted(name for name in here.keys() | record.identity.keys() if here.get(name) != record.identity.get(name))
    told = {name: f"{name} was {_short(record.identity.get(name))} and is {_short(here.get(name))} here" for name in differing}
    other = [told[name] for name in differing if name not in COMPUTED]
    if other:
        raise ModelError(
            folder, f"its head was fitted on another {backbone.name} ({'; '.join(other)}); give it the same weights, or train again"
        )
    return tuple(f"scores may differ a little from those of its report: the {each}" for each in told.values())


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}..."
