"""Fine-tune a backbone on labelled videos and save a model with its own network; the test part is never used."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quickstep.backbones import reads_flow
from quickstep.backbones.spec import absolute_path
from quickstep.datasets.inputs import ManifestSource, as_manifest
from quickstep.datasets.manifest import Manifest
from quickstep.datasets.splits import SplitResult
from quickstep.heads import Examples, Head, History
from quickstep.models.feature_extraction import extract
from quickstep.models.model import Model
from quickstep.models.model_files import NETWORK, NETWORK_LAST, TUNING_STATE, check_target
from quickstep.storage.cache import Cache, hash_of
from quickstep.storage.serialization import library_version, to_plain
from quickstep.training.augmentation.augment import Augment
from quickstep.training.augmentation.mirrored_labels import mirror_of
from quickstep.training.finetuning.batches import BatchReader, as_failures
from quickstep.training.finetuning.config import FinetuneConfig
from quickstep.training.finetuning.early_stopping import Measures, measure, warn_of_chance
from quickstep.training.provenance import library_versions, make_facts
from quickstep.training.train import calibrate, check_labels, with_splits
from quickstep.types.errors import ConfigError
from quickstep.types.progress import Clock, Progress, silent
from quickstep.types.segment import Failure

if TYPE_CHECKING:
    from quickstep.training.finetuning.initialization import Initial
    from quickstep.training.finetuning.run_state import Outcome, Task
    from quickstep.training.finetuning.trainable_model import TrainableModel

MAX_WAITING = 0.05  # share of the time that the network waits for data: more is noted
# Settings that may differ when a run is resumed, because they do not decide the weights.
_MAY_DIFFER = {"device", "workers", "frame_cache_gb", "tensorboard", "save_minutes"}


@dataclass(frozen=True, eq=False)
class Finetuned:
    """A fine-tuned model, the history of its training, and what to know about both."""

    model: Model
    history: History
    validation: Measures | None = None  # of the epoch that is saved
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()
    split: SplitResult | None = None  # where splits were drawn
    waiting: float = 0.0  # share of the time that the network waited for data
    main: bool = True  # whether this process is the one that saves


def _ignore(_: str) -> None:
    """Ignore a message."""


def finetune(
    manifest: ManifestSource,
    config: FinetuneConfig | None = None,
    *,
    augment: Augment | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
    strict: bool = False,
    folder: str | Path | None = None,
    tell: Callable[[str], None] = _ignore,
) -> Finetuned:
    """Train a network further on the train part; choose the epoch by the val part. Missing splits are drawn first.

    `manifest` is a Manifest or a path. With `folder` the model is saved there, and a killed run is resumed from its state there. `tell` is
    called with a sentence after each epoch, and with warnings.
    """
    from quickstep.training.finetuning import devices  # imports torch and accelerate, or raises MissingExtra
    from quickstep.training.finetuning.initialization import count_vectors, initial_layer, open_initial
    from quickstep.training.finetuning.loop import fit
    from quickstep.training.finetuning.run_state import Task
    from quickstep.training.finetuning.trainable_model import build_model

    manifest = as_manifest(manifest)
    config, augment, cache, clock = config or FinetuneConfig(), augment or Augment(), cache or Cache(), Clock()
    target = check_target(folder) if folder is not None else _temporary_folder()
    check_labels(manifest)
    accelerator = devices.open_accelerator(config)
    if not accelerator.is_main_process:
        progress, tell = silent, _ignore
    if folder is None and accelerator.num_processes > 1:
        raise ConfigError("out", "several processes need a folder for the model that all of them can read")
    initial = open_initial(config, cache)
    clock.mark("opening")
    manifest, drawn = with_splits(manifest, seed=config.seed, cache=cache, progress=progress)
    labels = manifest.part("train").labels
    mirror = mirror_of(labels, augment)
    layer, replaced = initial_layer(initial, labels, new_head=config.new_head)
    model = build_model(initial.backbone, config, classes=len(labels), width=initial.backbone.width, layer=layer)
    vectors_per_window = count_vectors(initial.backbone, model.network, initial.view)
    clock.mark("splits")
    notes = [*([replaced] if replaced else ()), *(drawn.warnings if drawn else ()), *mirror.notes]
    for note in notes:
        tell(note)
    reader = BatchReader(
        manifest.part("train").segments,
        labels,
        initial.view,
        augment,
        mirror,
        config.seed,
        workers=config.workers or devices.cores(),
        memory=config.frame_cache_gb * 1e9,
        flow=initial.backbone.flow_config if reads_flow(initial.backbone) else None,
        cache=cache,
    )
    task = Task(
        config,
        accelerator,
        initial.backbone,
        model,
        reader,
        manifest.part("val").segments,
        vectors_per_window,
        target / TUNING_STATE,
        _settings(config, augment, manifest, initial),
        strict,
        progress,
        tell,
    )
    outcome = fit(task)
    clock.mark("tuning")
    result = _Result(task, initial, outcome, manifest, labels)
    notes += _notes(result)
    if outcome.main:
        finished, validation = _finished_model(result, config, augment, notes=tuple(notes), clock=clock, cache=cache)
        finished.save(target)
    accelerator.wait_for_everyone()
    opened = Model.load(target, cache=cache)
    if not outcome.main:
        validation = None
    else:
        shutil.rmtree(target / TUNING_STATE, ignore_errors=True)
    assert opened.history is not None
    return Finetuned(opened, opened.history, validation, result.failures, tuple(notes), drawn, outcome.waiting, outcome.main)


@dataclass(frozen=True, eq=False)
class _Result:
    """Everything that the model is result from after training."""

    task: Task
    initial: Initial
    outcome: Outcome
    manifest: Manifest
    labels: tuple[str, ...]

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The segments that could not be used."""
        return as_failures(self.task.reader.segments, self.outcome.failed) + as_failures(self.task.val, self.outcome.failed_val)

    @property
    def history(self) -> History:
        """The history of the segments that could be used."""
        train = {n: s for n, s in enumerate(self.task.reader.segments) if n not in self.outcome.failed}
        val = {n: s for n, s in enumerate(self.task.val) if n not in self.outcome.failed_val}
        return self.outcome.progression.history(self.task.config, train, val if self.outcome.progression.val_loss else {})


def _finished_model(
    result: _Result, config: FinetuneConfig, augment: Augment, *, notes: tuple[str, ...], clock: Clock, cache: Cache
) -> tuple[Model, Measures | None]:
    """Make the model of the best epoch; measure and calibrate it with the network opened again from its folder."""
    from quickstep.heads.linear import WindowAverageHead

    outcome, model, folder = result.outcome, result.task.model, result.task.folder
    networks, last = {NETWORK: folder / NETWORK}, None
    if outcome.progression.best_epoch != outcome.progression.epochs:
        model.restore(outcome.last)
        last, networks[NETWORK_LAST] = model.head(), _write_network(result.initial, model, folder / NETWORK_LAST)
    model.restore(outcome.best)
    _write_network(result.initial, model, folder / NETWORK)
    head: Any = WindowAverageHead.of(model.head(), last or model.head(), together=result.task.vectors_per_window)
    backbone = result.initial.spec.in_folder(folder).open(cache)
    history = result.history
    val = _examples(result, history, backbone, cache)
    temperature, threshold = calibrate(head, val)
    clock.mark("calibrating")
    facts = make_facts(
        result.manifest,
        failures=result.failures,
        notes=notes,
        training=to_plain(config) | to_plain(augment) | {"backbone": result.initial.spec.name, "accumulate": outcome.accumulate},
        fitting={"seed": config.seed},
        versions=library_versions() | {"accelerate": library_version("accelerate")},
        seconds=clock.seconds,
    )
    finished = Model(
        result.labels,
        backbone,
        result.initial.view,
        head,
        result.initial.spec,
        temperature,
        threshold,
        facts,
        result.manifest,
        history,
        networks=networks,
    )
    return finished, _measures(head, val)


def _write_network(initial: Initial, model: TrainableModel, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    initial.backbone.write(model.network, folder, view=initial.view)
    return folder


def _examples(result: _Result, history: History, backbone: Any, cache: Cache) -> Examples | None:
    """Return the val part with the features of the finished model."""
    if not history.val_segments:
        return None
    extracted = extract(history.val_segments, backbone, view=result.initial.view, cache=cache)
    segments = [segment for segment in history.val_segments if segment in extracted.features]
    numbers = np.array([result.labels.index(str(segment.label)) for segment in segments], dtype=np.int64)
    return Examples([extracted.features[segment] for segment in segments], numbers, tuple(segments))


def _measures(head: Head, val: Examples | None) -> Measures | None:
    return measure(head.scores(val.features), val.labels) if val is not None else None


def _notes(result: _Result) -> list[str]:
    """List what to know about the run."""
    outcome, config = result.outcome, result.task.config
    notes = []
    chance = warn_of_chance(outcome.progression, config, classes=len(result.labels), last=True)
    if chance:
        notes.append(chance)
    if result.failures:
        notes.append(f"{len(result.failures)} segments could not be used; they are listed")
    if not outcome.progression.val_loss:
        notes.append("without validation segments all epochs were run, the last one is used, and the scores are not calibrated")
    counts = Counter(str(segment.label) for segment in result.history.train_segments)
    few = [label for label in result.labels if counts[label] < 5]
    if few:
        notes.append(f"{', '.join(map(repr, few[:5]))}{' ...' if len(few) > 5 else ''}: fewer than 5 training segments")
    if outcome.waiting > MAX_WAITING:
        notes.append(
            f"the network waited for data {outcome.waiting:.0%} of the time: more `workers`, smaller videos, `time_jitter=0`, `speed=0`"
        )
    return notes


def _settings(config: FinetuneConfig, augment: Augment, manifest: Manifest, initial: Initial) -> dict[str, Any]:
    """Return the settings that a saved state must have to be resumed."""
    settings = to_plain(config) | to_plain(augment)
    settings |= {"weights": absolute_path(config.weights), "from_": absolute_path(config.from_)}
    fixed = {name.rstrip("_"): value for name, value in settings.items() if name not in _MAY_DIFFER}
    return fixed | {
        "videos": manifest.fingerprint[:12],
        "network": hash_of(dict(initial.backbone.identity))[:12],
        "view": _plain(to_plain(initial.view)),
    }


def _plain(values: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())


def _temporary_folder() -> Path:
    """Return a folder that is removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="quickstep-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "model"


def describe(config: FinetuneConfig, augment: Augment) -> Sequence[str]:
    """Describe the training in sentences."""
    parts = [f"{name.replace('_', ' ')} {value:g}" for name, value in augment.strengths.items() if value]
    return (
        f"augmentation: {', '.join(parts) or 'none'}",
        f"steps of {config.batch} segments, {config.optimizer}, {config.rate:g}",
    )
