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

from quickstep.backbones import BackboneSpec, check_view, reads_poses, with_windows
from quickstep.datasets.manifest import Manifest
from quickstep.heads import Head, History, current_head_name, open_head
from quickstep.models.classifier import Classifier, Prediction, Predictions, probabilities
from quickstep.models.feature_extraction import Extraction, extract
from quickstep.models.model_files import ENSEMBLE, HEAD, HEAD_LAST, HISTORY, LAYOUT, consistent, is_third_party, manifest_files, manifest_of
from quickstep.models.pose_input import PoseReader
from quickstep.models.third_party import read_third_party
from quickstep.storage import model_folder
from quickstep.storage.cache import Cache, hash_of
from quickstep.storage.hub import locate_model
from quickstep.storage.serialization import from_plain, to_plain
from quickstep.types.errors import ModelError
from quickstep.types.escaping import escaped, is_plain
from quickstep.types.progress import Progress
from quickstep.types.registry import refuse_code
from quickstep.types.segment import Segment
from quickstep.types.signals import Features
from quickstep.types.view import View

if TYPE_CHECKING:
    from quickstep.backbones import Backbone
    from quickstep.models.array_features import Signals

# Parts of a backbone's identity that may differ between machines: the same network, computed in another way.
MACHINE_DEPENDENT = {"precision", "engine", "batch", "flow"}


@dataclass(frozen=True)
class Facts:
    """How a model was made; nothing about how good it is."""

    created: str = ""  # ISO 8601, UTC
    quickstep: str = ""
    source: str = ""  # the folder or list of the training data
    fingerprint: str = ""  # of the manifest with its splits
    splits: dict[str, dict[str, int]] = field(default_factory=dict)  # part -> label -> number of segments in the manifest
    failures: tuple[str, ...] = ()  # segments of train and val that could not be read, and why
    notes: tuple[str, ...] = ()  # for the user who trained it
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)  # label -> its prompts, where the head uses text
    training: dict[str, Any] = field(default_factory=dict)  # settings of train
    fitting: dict[str, Any] = field(default_factory=dict)  # settings of the training loop, defaults filled in
    versions: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # for each stage


@dataclass(frozen=True)
class _Record:
    """The content of model.json."""

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
    folder: str  # that the manifest's paths were relative to
    rows: dict[str, tuple[int, ...]]  # part -> rows of the manifest that history.json is about
    files: dict[str, str]


@dataclass(frozen=True, eq=False)
class Model(Classifier):
    """Everything that is needed to classify videos: a backbone, a view, a head, labels and their calibration."""

    labels: tuple[str, ...]
    backbone: Backbone
    view: View
    head: Head
    spec: BackboneSpec
    temperature: float = 1.0
    threshold: float | None = None  # lowest top score that counts as sure
    facts: Facts = field(default_factory=Facts)
    manifest: Manifest | None = None  # with the splits of the training; None if its videos do not exist here
    history: History | None = None
    folder: Path | None = None
    warnings: tuple[str, ...] = ()  # what is computed differently here than on the machine that trained it
    networks: Mapping[str, Path] = field(default_factory=dict)  # of a fine-tuned model: folders of its networks (best, last)
    original_view: View | None = None  # the model's own view, where another one is in use

    def __repr__(self) -> str:
        return f"Model({self.backbone.name} + {self.head.name}, labels: {', '.join(self.labels)})"

    @property
    def is_zero_shot(self) -> bool:
        """Whether it was made of prompts, without a labelled video."""
        return bool(self.facts.words) and not self.facts.splits

    @property
    def view_note(self) -> str:
        """Return a sentence about the view that replaces the model's own one; "" without one."""
        if self.original_view is None:
            return ""
        return (
            f"Each segment was read with {self.view.description}; the model's own view is {self.original_view.description}, and its "
            "confidence was calibrated for that one."
        )

    def with_view(self, *, windows: int | None = None, crops: int | None = None) -> Model:
        """Return the same model with another number of windows and crops; itself if nothing changes."""
        own = self.original_view or self.view
        view = with_windows(self.view, windows=windows, crops=crops)
        check_view(self.backbone, view)
        if view == self.view:
            return self
        return replace(self, view=view, original_view=None if view == own else own)

    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Return calibrated probabilities (N, C); each row depends on its own features only, to the bit."""
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
        extraction = extract_from_arrays(listed, self.backbone, self.view, self._pose_reader)
        return self._predictions(name_signals(listed), replace(extraction, seconds=time.perf_counter() - started))

    @cached_property
    def _pose_reader(self) -> PoseReader | None:
        """Return the reader of poses that `score` uses; its estimator stays open from call to call."""
        return PoseReader.of(self.backbone, self.view, Cache()) if reads_poses(self.backbone) else None

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
        """Write the model to a folder; an earlier model there is replaced only when the new one is complete on the disk."""
        from safetensors.numpy import save

        files: dict[str, model_folder.Content] = {HEAD: save(_contiguous(self.head.weights()))}
        last = self.head.last_weights()
        if last is not None:
            files[HEAD_LAST] = save(_contiguous(last))
        files |= manifest_files(self.manifest)
        if self.history is not None:
            files[HISTORY] = json.dumps(self.history.to_json(), indent=1, allow_nan=False).encode()
        for name, network in self.networks.items():
            files |= {f"{name}/{file.name}": partial(shutil.copyfile, file) for file in sorted(network.iterdir())}
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
            head=_name_of(self.head),
            head_config=asdict(self.head.config),
            temperature=self.temperature,
            threshold=self.threshold,
            facts=self.facts,
            folder=str(folder.absolute()) if self.manifest is not None else "",
            rows=self._rows(),
            files={},
        )

    def _rows(self) -> dict[str, tuple[int, ...]]:
        """Return the rows of the manifest that the history is about."""
        if self.manifest is None or self.history is None:
            return {}
        number = {segment: row for row, segment in enumerate(self.manifest.segments)}
        parts = {"train": self.history.train_segments, "val": self.history.val_segments}
        return {part: tuple(number[segment] for segment in segments) for part, segments in parts.items()}

    @classmethod
    def load(cls, folder: str | Path, weights: str | Path | None = None, *, cache: Cache | None = None) -> Model:
        """Open a model folder that is complete and unchanged; `weights` is where its backbone's weights are, if they moved.

        `owner/name[@revision]` is downloaded from the hub. A third-party classifier (`weights.ckpt` and `config.json`) opens too.
        """
        folder = locate_model(folder)
        if is_third_party(folder):
            return cls.from_third_party(folder, weights=weights, cache=cache)
        content, files = model_folder.read(folder, LAYOUT)
        if content.get("kind") == ENSEMBLE:
            raise ModelError(folder, "is an ensemble, and a single model is needed here: name one of its member-... folders")
        record = consistent(folder, lambda: from_plain(_Record, content, where=model_folder.RECORD))
        refuse_code("head", record.head)
        unclear = next((label for label in record.labels if not label.strip() or not is_plain(label)), None)
        if unclear is not None:
            raise ModelError(folder, f"has a label that is blank or has control characters: {escaped(unclear)!r}")
        spec = record.backbone.with_weights(weights)
        networks = {name: folder / name for name in LAYOUT.subfolders if any(file.startswith(f"{name}/") for file in record.files)}
        head = consistent(folder, lambda: _head(record, files))
        manifest = manifest_of(folder, record.folder, files)
        history = consistent(folder, lambda: _history(record, files, manifest))
        backbone = spec.in_folder(folder).open(cache)
        warnings = _check_backbone(folder, record, backbone)
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
            warnings=warnings,
            networks=networks,
        )

    @classmethod
    def from_third_party(
        cls, folder: str | Path, *, labels: Sequence[str] | None = None, weights: str | Path | None = None, cache: Cache | None = None
    ) -> Model:
        """Open a third-party classifier (`weights.ckpt` and `config.json`); `labels` are needed where its config names none."""
        folder = Path(folder)
        parts = read_third_party(folder, labels=labels, weights=weights, cache=cache)
        spec = BackboneSpec(parts.name, None if weights is None else str(Path(weights).expanduser().absolute()))
        facts = Facts(source=str(folder), notes=("a third-party classifier: how it was trained is not known",))
        return cls(parts.labels, parts.backbone, parts.backbone.view, parts.head, spec, facts=facts, folder=folder)


def _contiguous(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays in C order: safetensors writes any other order garbled, without an error."""
    return {name: np.asarray(array, order="C") for name, array in arrays.items()}


def _name_of(head: Head) -> str:
    """Return the name that opens the head: a known name, or the module and name of its class."""
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
        raise ValueError("it needs at least two different labels")
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


def _check_backbone(folder: Path, record: _Record, backbone: Backbone) -> tuple[str, ...]:
    """Refuse a backbone with other features than the head was fitted on; return warnings about what is only computed differently."""
    here = json.loads(json.dumps(dict(backbone.identity)))
    differing = sorted(name for name in here.keys() | record.identity.keys() if here.get(name) != record.identity.get(name))
    changes = {name: f"{name} was {_short(record.identity.get(name))} and is {_short(here.get(name))} here" for name in differing}
    other = [changes[name] for name in differing if name not in MACHINE_DEPENDENT]
    if other:
        raise ModelError(
            folder, f"its head was fitted on another {backbone.name} ({'; '.join(other)}); give it the same weights, or train again"
        )
    return tuple(f"scores may differ a little from those of its report: the {change}" for change in changes.values())


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}..."
