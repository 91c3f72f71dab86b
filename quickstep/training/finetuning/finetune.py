"""finetune: labelled videos -> a model whose network was trained further for them. Never looks at the test part."""

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
from quickstep.datasets.manifest import Manifest
from quickstep.datasets.splits import SplitResult
from quickstep.heads import Examples, Head, History
from quickstep.models.feature_extraction import extract
from quickstep.models.model import Model
from quickstep.models.model_files import NETWORK, NETWORK_LAST, TUNING_STATE, check_target
from quickstep.storage.cache import Cache, hash_of
from quickstep.storage.serialization import to_plain
from quickstep.storage.versions import library_version
from quickstep.training.augmentation.augment import Augment
from quickstep.training.augmentation.mirrored_labels import mirror_of
from quickstep.training.finetuning.batches import Feed, as_failures
from quickstep.training.finetuning.config import FinetuneConfig
from quickstep.training.finetuning.early_stopping import Measures, measured, on_chance
from quickstep.training.provenance import library_versions, make_facts
from quickstep.training.train import calibrate, check_labels, with_splits
from quickstep.types.errors import ConfigError
from quickstep.types.progress import Clock, Progress, silent
from quickstep.types.segment import Failure

if TYPE_CHECKING:
    from quickstep.training.finetuning.initialization import Start
    from quickstep.training.finetuning.run_state import Outcome, Task
    from quickstep.training.finetuning.trainable_model import Tuning

MOST_WAITING = 0.05  # the share of time that a network may wait for data before that is said
# What may differ between a run and its going on: where and how fast it is computed, not what.
_ANYWHERE = {"device", "workers", "frame_cache_gb", "tensorboard", "save_minutes"}


@dataclass(frozen=True, eq=False)
class Tuned:
    """A model whose network was tuned, how that went, what could not be used, and what one should know about it."""

    model: Model
    history: History
    validation: Measures | None = None  # of the epoch that is kept
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()
    split: SplitResult | None = None  # where the manifest's splits had to be completed
    waiting: float = 0.0  # the share of time that the network waited for data
    main: bool = True  # of several processes, the one that writes


def _unheard(_: str) -> None:
    """Nobody is told."""


def finetune(
    manifest: Manifest,
    config: FinetuneConfig | None = None,
    *,
    augment: Augment | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
    strict: bool = False,
    folder: str | Path | None = None,
    tell: Callable[[str], None] = _unheard,
) -> Tuned:
    """Train a network further on the train part, stop by the val part; splits that the manifest lacks are drawn first.

    With `folder` the model is saved there, and a run that is killed goes on from the state it left in it. `tell` hears a sentence an
    epoch, and whatever the trainer should know at once.
    """
    from quickstep.training.finetuning import devices  # imports torch and accelerate, or says what brings them
    from quickstep.training.finetuning.initialization import kept_layer, open_start, vectors_a_window
    from quickstep.training.finetuning.loop import fit
    from quickstep.training.finetuning.run_state import Task
    from quickstep.training.finetuning.trainable_model import build

    config, augment, cache, clock = config or FinetuneConfig(), augment or Augment(), cache or Cache(), Clock()
    place = check_target(folder) if folder is not None else _nowhere()
    check_labels(manifest)
    accelerator = devices.open_accelerator(config)
    if not accelerator.is_main_process:
        progress, tell = silent, _unheard
    if folder is None and accelerator.num_processes > 1:
        raise ConfigError("out", "several processes need a folder for the model that all of them see")
    start = open_start(config, cache)
    clock.mark("opening")
    manifest, drawn = with_splits(manifest, seed=config.seed, cache=cache, progress=progress)
    labels = manifest.part("train").labels
    mirror = mirror_of(labels, augment)
    layer = kept_layer(start, labels, new_head=config.new_head)
    tuning = build(start.backbone, config, classes=len(labels), width=start.backbone.width, layer=layer)
    together = vectors_a_window(start.backbone, tuning.network, start.view)
    clock.mark("splits")
    notes = [*(drawn.warnings if drawn else ()), *mirror.notes]
    for note in notes:
        tell(note)
    feed = Feed(
        manifest.part("train").segments,
        labels,
        start.view,
        augment,
        mirror,
        config.seed,
        workers=config.workers or devices.cores(),
        memory=config.frame_cache_gb * 1e9,
        flow=start.backbone.flow_config if reads_flow(start.backbone) else None,
        cache=cache,
    )
    task = Task(
        config,
        accelerator,
        start.backbone,
        tuning,
        feed,
        manifest.part("val").segments,
        together,
        place / TUNING_STATE,
        _settings(config, augment, manifest, start),
        strict,
        progress,
        tell,
    )
    outcome = fit(task)
    clock.mark("tuning")
    made = _Made(task, start, outcome, manifest, labels)
    notes += _notes(made)
    if outcome.main:
        model, validation = _model(made, config, augment, notes=tuple(notes), clock=clock, cache=cache)
        model.save(place)
    accelerator.wait_for_everyone()
    opened = Model.load(place, cache=cache)
    if not outcome.main:
        validation = None
    else:
        shutil.rmtree(place / TUNING_STATE, ignore_errors=True)
    assert opened.history is not None
    return Tuned(opened, opened.history, validation, made.failures, tuple(notes), drawn, outcome.waiting, outcome.main)


@dataclass(frozen=True, eq=False)
class _Made:
    """What a model is made of when the tuning is over."""

    task: Task
    start: Start
    outcome: Outcome
    manifest: Manifest
    labels: tuple[str, ...]

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What could not be used."""
        return as_failures(self.task.feed.segments, self.outcome.failed) + as_failures(self.task.val, self.outcome.failed_val)

    @property
    def history(self) -> History:
        """The story, of the segments that could be used to the end."""
        train = {n: s for n, s in enumerate(self.task.feed.segments) if n not in self.outcome.failed}
        val = {n: s for n, s in enumerate(self.task.val) if n not in self.outcome.failed_val}
        return self.outcome.watch.history(self.task.config, train, val if self.outcome.watch.val_loss else {})


def _model(
    made: _Made, config: FinetuneConfig, augment: Augment, *, notes: tuple[str, ...], clock: Clock, cache: Cache
) -> tuple[Model, Measures | None]:
    """The model of the best epoch, measured and calibrated as everybody will see it: opened again from what is on disk."""
    from quickstep.heads.window_average import WindowAverageHead

    outcome, tuning, folder = made.outcome, made.task.tuning, made.task.folder
    networks, last = {NETWORK: folder / NETWORK}, None
    if outcome.watch.best_epoch != outcome.watch.epochs:
        tuning.take(outcome.last)
        last, networks[NETWORK_LAST] = tuning.head(), _written(made.start, tuning, folder / NETWORK_LAST)
    tuning.take(outcome.best)
    _written(made.start, tuning, folder / NETWORK)
    head: Any = WindowAverageHead.of(tuning.head(), last or tuning.head(), together=made.task.together)
    backbone = made.start.spec.in_folder(folder).open(cache)
    history = made.history
    val = _examples(made, history, backbone, cache)
    temperature, threshold = calibrate(head, val)
    clock.mark("calibrating")
    facts = make_facts(
        made.manifest,
        failures=made.failures,
        notes=notes,
        training=to_plain(config) | to_plain(augment) | {"backbone": made.start.spec.name, "accumulate": outcome.accumulate},
        fitting={"seed": config.seed},
        versions=library_versions() | {"accelerate": library_version("accelerate")},
        seconds=clock.seconds,
    )
    model = Model(
        made.labels,
        backbone,
        made.start.view,
        head,
        made.start.spec,
        temperature,
        threshold,
        facts,
        made.manifest,
        history,
        networks=networks,
    )
    return model, _measures(head, val)


def _written(start: Start, tuning: Tuning, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    start.backbone.write(tuning.network, folder)
    return folder


def _examples(made: _Made, history: History, backbone: Any, cache: Cache) -> Examples | None:
    """The validation segments as the finished model sees them."""
    if not history.val_segments:
        return None
    found = extract(history.val_segments, backbone, view=made.start.view, cache=cache)
    seen = [segment for segment in history.val_segments if segment in found.features]
    numbers = np.array([made.labels.index(str(segment.label)) for segment in seen], dtype=np.int64)
    return Examples([found.features[segment] for segment in seen], numbers, tuple(seen))


def _measures(head: Head, val: Examples | None) -> Measures | None:
    return measured(head.scores(val.features), val.labels) if val is not None else None


def _notes(made: _Made) -> list[str]:
    """What the trainer should know."""
    outcome, config = made.outcome, made.task.config
    notes = []
    chance = on_chance(outcome.watch, config, classes=len(made.labels), last=True)
    if chance:
        notes.append(chance)
    if made.failures:
        notes.append(f"{len(made.failures)} segments could not be used; they are listed")
    if not outcome.watch.val_loss:
        notes.append("there are no validation segments: all epochs were run, the last one is kept, and the scores are not calibrated")
    counts = Counter(str(segment.label) for segment in made.history.train_segments)
    few = [label for label in made.labels if counts[label] < 5]
    if few:
        notes.append(f"{', '.join(map(repr, few[:5]))}{' ...' if len(few) > 5 else ''}: fewer than 5 segments to learn from")
    if outcome.waiting > MOST_WAITING:
        notes.append(
            f"the network waited for data {outcome.waiting:.0%} of the time: more `workers`, smaller videos, `time_jitter=0`, `speed=0`"
        )
    return notes


def _settings(config: FinetuneConfig, augment: Augment, manifest: Manifest, start: Start) -> dict[str, Any]:
    """What a state must have been made with to be gone on from."""
    said = to_plain(config) | to_plain(augment)
    said |= {"weights": absolute_path(config.weights), "from_": absolute_path(config.from_)}
    kept = {name.rstrip("_"): value for name, value in said.items() if name not in _ANYWHERE}
    return kept | {
        "videos": manifest.fingerprint[:12],
        "network": hash_of(dict(start.backbone.identity))[:12],
        "view": _plain(to_plain(start.view)),
    }


def _plain(values: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())


def _nowhere() -> Path:
    """A folder that lasts as long as this process."""
    folder = Path(tempfile.mkdtemp(prefix="quickstep-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "model"


def describe(config: FinetuneConfig, augment: Augment) -> Sequence[str]:
    """What is done, in words, before it begins."""
    parts = [f"{name.replace('_', ' ')} {value:g}" for name, value in augment.strengths.items() if value]
    return (
        f"shown in training: {', '.join(parts) or 'as in testing'}",
        f"steps of {config.batch} segments, {config.optimizer}, {config.rate:g}",
    )
