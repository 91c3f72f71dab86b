"""Run: a run of fine-tuning on its way, how it begins, how it is kept, and how it goes on after a kill."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from quickstep.backbones import TrainableBackbone
from quickstep.training.finetuning import checkpoint, devices
from quickstep.training.finetuning.batches import Batch, Feed, Sample
from quickstep.training.finetuning.config import FinetuneConfig
from quickstep.training.finetuning.early_stopping import Watch
from quickstep.training.finetuning.trainable_model import Tuning, groups_of, optimizer_of
from quickstep.types.errors import ConfigError, MissingExtra, QuickstepError
from quickstep.types.progress import Progress
from quickstep.types.segment import Segment

if TYPE_CHECKING:
    from accelerate import Accelerator

Tell = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Task:
    """What is tuned, on what, and who is told."""

    config: FinetuneConfig
    accelerator: Accelerator
    backbone: TrainableBackbone
    tuning: Tuning
    feed: Feed
    val: Sequence[Segment]
    together: int  # vectors that are one window
    folder: Path  # of the state
    settings: Mapping[str, Any]  # what a state must have been made with to be gone on from
    strict: bool
    progress: Progress
    tell: Tell


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a run went, and the weights that it moved: of its best epoch, and of its last."""

    watch: Watch
    best: dict[str, Tensor]
    last: dict[str, Tensor]
    failed: dict[int, QuickstepError]  # training segments by number
    failed_val: dict[int, QuickstepError]
    waiting: float  # the share of time that the network waited for data
    accumulate: int  # parts in which a step was taken
    main: bool  # whether this process is the one that writes


@dataclass
class Sums:
    """An epoch so far."""

    loss: float = 0.0
    right: float = 0.0
    count: float = 0.0
    wrong: list[int] = field(default_factory=list)


@dataclass(eq=False)
class Run:
    """A run on its way."""

    task: Task
    accelerator: Accelerator
    optimizer: Any
    ema: dict[str, Tensor]
    weights: Tensor | None  # of the classes
    watch: Watch = field(default_factory=Watch)
    epoch: int = 0
    step: int = 0
    updates: int = 0
    accumulate: int = 1
    sums: Sums = field(default_factory=Sums)
    left_out: list[int] = field(default_factory=list)  # since before this epoch
    failed: dict[int, QuickstepError] = field(default_factory=dict)
    failed_val: dict[int, QuickstepError] = field(default_factory=dict)
    waited: float = 0.0
    worked: float = 0.0
    saved: float = field(default_factory=time.monotonic)
    board: Board | None = None
    coming: tuple[list[list[Sample]], Iterator[Batch]] | None = None  # the next epoch's steps, its first batches being decoded


def begin(task: Task) -> Run:
    """A run at its beginning, or where its state says."""
    config, accelerator = task.config, task.accelerator
    task.tuning.to(accelerator.device)
    optimizer = optimizer_of(task.tuning, groups_of(task.tuning, task.backbone, config), config)
    run = Run(task, accelerator, accelerator.prepare(optimizer), {}, _class_weights(task, accelerator.device), accumulate=config.accumulate)
    if config.ema:
        run.ema = {name: value.detach().clone() for name, value in task.tuning.moving.items()}
    kept = checkpoint.read(task.folder, checkpoint.LAST)
    if kept is not None:
        _go_on(run, kept)
    elif config.auto_batch:
        run.accumulate = _found_parts(run)
    if config.tensorboard and accelerator.is_main_process:
        run.board = Board(config.tensorboard, epochs=run.watch.epochs)
    return run


def _go_on(run: Run, kept: checkpoint.State) -> None:
    """Puts everything where it was; refuses the state of a run with other settings."""
    then, now = kept.about["settings"], run.task.settings
    differing = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
    if differing:
        told = ", ".join(f"{name.replace('_', '-')} was {then.get(name)!r} and is {now.get(name)!r}" for name in differing[:3])
        folder = run.task.folder
        raise ConfigError(
            "out",
            f"{folder} holds a run that was stopped, with other settings ({told}): say the same, name another folder, or delete that one",
        )
    about = kept.about
    run.task.tuning.take({name: value.to(run.accelerator.device) for name, value in kept.part("moving").items()})
    for name, value in kept.part("ema").items():
        run.ema[name].copy_(value)
    checkpoint.into_optimizer(run.optimizer.optimizer, kept.part("optimizer"))
    if run.accelerator.scaler is not None and about["scaler"]:
        run.accelerator.scaler.load_state_dict(about["scaler"])
    run.watch = Watch(**about["watch"])
    run.sums = Sums(**about["sums"])
    run.epoch, run.step, run.updates, run.accumulate = (about[name] for name in ("epoch", "step", "updates", "accumulate"))
    run.left_out = about["left_out"]
    run.failed = {int(number): QuickstepError(text) for number, text in about["failed"].items()}
    run.failed_val = {int(number): QuickstepError(text) for number, text in about["failed_val"].items()}
    run.task.tell(f"goes on after epoch {run.epoch}" + (f", step {run.step}" if run.step else ""))


def save(run: Run) -> None:
    """Keeps the whole state; only the first process writes."""
    run.saved = time.monotonic()
    if not run.accelerator.is_main_process:
        return
    scaler = run.accelerator.scaler
    about = {
        "settings": dict(run.task.settings),
        "watch": asdict(run.watch),
        "sums": asdict(run.sums),
        "epoch": run.epoch,
        "step": run.step,
        "updates": run.updates,
        "accumulate": run.accumulate,
        "left_out": run.left_out,
        "failed": {number: str(error) for number, error in run.failed.items()},
        "failed_val": {number: str(error) for number, error in run.failed_val.items()},
        "scaler": scaler.state_dict() if scaler is not None else {},
    }
    parts = {"moving": run.task.tuning.moving, "ema": run.ema, "optimizer": checkpoint.of_optimizer(run.optimizer.optimizer)}
    checkpoint.write(run.task.folder, checkpoint.LAST, about, parts, what=f"epoch {run.watch.epochs}")


def _found_parts(run: Run) -> int:
    """By trial: a step's forward and backward with pictures of nothing."""
    config, tuning, device = run.task.config, run.task.tuning, run.accelerator.device
    view = run.task.feed.view
    channels = run.task.backbone.unit[-1]

    def trial(count: int) -> None:
        tuning.learn()
        windows = torch.zeros((count, view.frames, view.size, view.size, channels), dtype=torch.uint8, device=device)
        with run.accelerator.autocast():
            loss = tuning(windows).float().sum()
        loss.backward()

    before = {name: value.detach().clone() for name, value in tuning.moving.items()}
    together = -(-config.batch // run.accelerator.num_processes)
    device_name = str(device)
    with devices.told_of_memory(config, together=1, accumulate=together, device=device_name):
        parts = devices.fitting_parts(config, together, trial)
    tuning.zero_grad(set_to_none=True)
    tuning.take(before)  # the running means of batch norms have seen nothing
    parts = max(devices.from_all(run.accelerator, [parts]))
    run.task.tell(f"`auto_batch`: {config.batch} segments a step, taken in {parts} part{'s' if parts > 1 else ''}")
    return int(parts)


def _class_weights(task: Task, device: torch.device) -> Tensor | None:
    """Weights whose mean over the training segments is 1."""
    if not task.config.class_weights:
        return None
    counts = np.array([sum(segment.label == label for segment in task.feed.segments) for label in task.feed.labels])
    weights = len(task.feed.segments) / (len(counts) * np.maximum(counts, 1))
    return torch.tensor(weights, dtype=torch.float32, device=device)


class Board:
    """Writes the curves of a run for TensorBoard; what a killed run wrote after its last saved state is written again."""

    def __init__(self, folder: str, *, epochs: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtra("finetune", "`tensorboard`") from error
        self._writer = SummaryWriter(folder, purge_step=epochs + 1)

    def write(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Write one point of each curve."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
