"""The state of a fine-tuning run: begun, saved, and resumed after the process was killed."""

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
from quickstep.training.finetuning.batches import Batch, BatchReader, Sample
from quickstep.training.finetuning.config import FinetuneConfig
from quickstep.training.finetuning.early_stopping import Progression
from quickstep.training.finetuning.trainable_model import TrainableModel, make_optimizer, parameter_groups
from quickstep.types.errors import ConfigError, MissingExtra, QuickstepError
from quickstep.types.progress import Progress
from quickstep.types.segment import Segment

if TYPE_CHECKING:
    from accelerate import Accelerator

Report = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Task:
    """The model to train, the data, and where progress is reported."""

    config: FinetuneConfig
    accelerator: Accelerator
    backbone: TrainableBackbone
    model: TrainableModel
    reader: BatchReader
    val: Sequence[Segment]
    vectors_per_window: int  # vectors of one window
    folder: Path  # of the state
    settings: Mapping[str, Any]  # which a saved state must have too, to be resumed
    strict: bool
    progress: Progress
    report: Report


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of a run, with the trained tensors of its best and of its last epoch."""

    progression: Progression
    best: dict[str, Tensor]
    last: dict[str, Tensor]
    failed: dict[int, QuickstepError]  # training segments by number
    failed_val: dict[int, QuickstepError]
    waiting: float  # share of the time that the network waited for data
    accumulate: int  # parts of a step
    main: bool  # whether this process is the one that saves


@dataclass
class Sums:
    """The sums over an epoch so far."""

    loss: float = 0.0
    right: float = 0.0
    count: float = 0.0
    wrong: list[int] = field(default_factory=list)


@dataclass(eq=False)
class Run:
    """A run in progress."""

    task: Task
    accelerator: Accelerator
    optimizer: Any
    ema: dict[str, Tensor]
    weights: Tensor | None  # of the classes
    progression: Progression = field(default_factory=Progression)
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
    next_epoch: tuple[list[list[Sample]], Iterator[Batch]] | None = None  # the next epoch's steps, its first batches being decoded


def begin(task: Task) -> Run:
    """Begin a run, or resume it from its saved state."""
    config, accelerator = task.config, task.accelerator
    task.model.to(accelerator.device)
    optimizer = make_optimizer(task.model, parameter_groups(task.model, task.backbone, config), config)
    run = Run(task, accelerator, accelerator.prepare(optimizer), {}, _class_weights(task, accelerator.device), accumulate=config.accumulate)
    if config.ema:
        run.ema = {name: value.detach().clone() for name, value in task.model.trained_tensors.items()}
    saved = checkpoint.read(task.folder, checkpoint.LAST)
    if saved is not None:
        _resume(run, saved)
    elif config.auto_batch:
        run.accumulate = _find_parts(run)
    if config.tensorboard and accelerator.is_main_process:
        run.board = Board(config.tensorboard, epochs=run.progression.epochs)
    return run


def _resume(run: Run, saved: checkpoint.State) -> None:
    """Restore a saved state; refuse the state of a run with other settings."""
    then, now = saved.about["settings"], run.task.settings
    differing = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
    if differing:
        changes = ", ".join(f"{name.replace('_', '-')} was {then.get(name)!r} and is {now.get(name)!r}" for name in differing[:3])
        folder = run.task.folder
        raise ConfigError(
            "out",
            f"{folder} has an unfinished run with other settings ({changes}): use the same, name another folder, or delete it",
        )
    about = saved.about
    run.task.model.restore({name: value.to(run.accelerator.device) for name, value in saved.part("moving").items()})
    for name, value in saved.part("ema").items():
        run.ema[name].copy_(value)
    checkpoint.restore_optimizer(run.optimizer.optimizer, saved.part("optimizer"))
    if run.accelerator.scaler is not None and about["scaler"]:
        run.accelerator.scaler.load_state_dict(about["scaler"])
    run.progression = Progression(**about["watch"])
    run.sums = Sums(**about["sums"])
    run.epoch, run.step, run.updates, run.accumulate = (about[name] for name in ("epoch", "step", "updates", "accumulate"))
    run.left_out = about["left_out"]
    run.failed = {int(number): QuickstepError(text) for number, text in about["failed"].items()}
    run.failed_val = {int(number): QuickstepError(text) for number, text in about["failed_val"].items()}
    run.task.report(f"resuming after epoch {run.epoch}" + (f", step {run.step}" if run.step else ""))


def save(run: Run) -> None:
    """Save the whole state; only the first process writes."""
    run.saved = time.monotonic()
    if not run.accelerator.is_main_process:
        return
    scaler = run.accelerator.scaler
    about = {
        "settings": dict(run.task.settings),
        "watch": asdict(run.progression),
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
    parts = {"moving": run.task.model.trained_tensors, "ema": run.ema, "optimizer": checkpoint.optimizer_tensors(run.optimizer.optimizer)}
    checkpoint.write(run.task.folder, checkpoint.LAST, about, parts, what=f"epoch {run.progression.epochs}")


def _find_parts(run: Run) -> int:
    """Find the number of parts of a step by trial: a forward and a backward pass with black frames."""
    config, model, device = run.task.config, run.task.model, run.accelerator.device
    view = run.task.reader.view
    channels = run.task.backbone.unit[-1]

    def trial(count: int) -> None:
        model.start_training()
        windows = torch.zeros((count, view.frames, view.size, view.size, channels), dtype=torch.uint8, device=device)
        with run.accelerator.autocast():
            loss = model(windows).float().sum()
        loss.backward()

    before = {name: value.detach().clone() for name, value in model.trained_tensors.items()}
    segments = -(-config.batch // run.accelerator.num_processes)
    device_name = str(device)
    with devices.explain_memory_errors(config, together=1, accumulate=segments, device=device_name):
        parts = devices.fitting_parts(config, segments, trial)
    model.zero_grad(set_to_none=True)
    model.restore(before)  # undo the change of the running means
    parts = max(devices.gather_all(run.accelerator, [parts]))
    run.task.report(f"`auto_batch`: {config.batch} segments a step, in {parts} part{'s' if parts > 1 else ''}")
    return int(parts)


def _class_weights(task: Task, device: torch.device) -> Tensor | None:
    """Return class weights whose mean over the training segments is 1."""
    if not task.config.class_weights:
        return None
    counts = np.array([sum(segment.label == label for segment in task.reader.segments) for label in task.reader.labels])
    weights = len(task.reader.segments) / (len(counts) * np.maximum(counts, 1))
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
