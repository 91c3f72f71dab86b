"""The loop of fine-tuning, to be read from top to bottom: epochs of steps, a look at validation after each, the state kept on disk.

Everything random follows from the seed, the epoch, the step and the segment, so a run that goes on from its state comes to the same end.
Several processes share each step's segments; their gradients are added up, so that the step is the one that a single process would take.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quickstep.heads import open_head
from quickstep.models.feature_extraction import extract
from quickstep.training.finetuning import checkpoint, devices
from quickstep.training.finetuning.batches import Batch, Sample, steps_of
from quickstep.training.finetuning.early_stopping import LOOK_AFTER, Measures, measured, on_chance
from quickstep.training.finetuning.run_state import Outcome, Run, Sums, Task, begin, save
from quickstep.training.finetuning.trainable_model import Tuning
from quickstep.types.errors import ConfigError, ManifestError, QuickstepError
from quickstep.types.signals import Features


def as_kept(run: Run) -> Tuning:
    """The tuning as it is measured and kept: a copy, with averaged weights where there are any."""
    copied = deepcopy(run.task.tuning)
    if run.ema:
        copied.take(run.ema)
    return copied.eval()


def validate(run: Run) -> tuple[Tuning, Measures | None, list[int]]:
    """Looks at the validation segments as `predict` does: through the model's view, its backbone and its head's own scores."""
    task, accelerator = run.task, run.accelerator
    devices.as_first(accelerator, [value for name, value in task.tuning.moving.items() if value.is_floating_point()])
    shown = as_kept(run)
    wanted = [number for number in range(len(task.val)) if number not in run.failed_val]
    mine = wanted[accelerator.process_index :: accelerator.num_processes]
    segments = {number: task.val[number] for number in mine}
    backbone = task.backbone.with_weights_of(shown.network)
    found = extract(list(segments.values()), backbone, view=task.feed.view, use_cache=False).check(strict=task.strict)
    seen = [(number, found.features[segment]) for number, segment in segments.items() if segment in found.features]
    lost = {failure.segment: failure.error for failure in found.failures}
    for number, text in devices.from_all(accelerator, [(n, str(lost[s])) for n, s in segments.items() if s in lost]):
        run.failed_val[number] = QuickstepError(text)
        task.tell(f"left out from now on: {text}")
    features: dict[int, Features] = dict(sorted(devices.from_all(accelerator, seen)))
    if not features:
        return shown, None, []
    head = open_head("window-average", {"together": task.together})
    head.load(shown.head())
    labels = np.array([task.feed.labels.index(str(task.val[number].label)) for number in features])
    return shown, measured(head.scores(list(features.values())), labels), list(features)


def fit(task: Task) -> Outcome:
    """Tunes, from the beginning or from where a state says; the tuning is left with the last epoch's weights."""
    with torch.random.fork_rng(devices=[]):
        run = begin(task)
        try:
            while not run.watch.over(task.config):
                _epoch(run)
                _turn(run)
                _note(run, validate(run))
        finally:
            task.feed.close()
            if run.board is not None:
                run.board.close()
    return _outcome(run)


# -- one epoch, one step -------------------------------------------------------------------------------------------------------


def _epoch(run: Run) -> None:
    """Shows every training segment once."""
    task, config = run.task, run.task.config
    steps, batches = run.coming or _coming(run)
    run.coming = None
    task.tuning.learn()
    began = time.perf_counter()
    for batch in batches:
        _lose(run, batch)
        for group in run.optimizer.param_groups:
            group["lr"] = group["first"] * config.left(run.epoch + (run.step + 0.5) / len(steps))
        _step(run, batch, steps[run.step])
        run.step += 1
        run.waited += batch.waited
        task.progress("tuning", run.epoch * len(steps) + run.step, config.epochs * len(steps))
        if run.step < len(steps) and run.accelerator.num_processes == 1 and time.monotonic() - run.saved > 60 * config.save_minutes:
            save(run)
    run.worked += time.perf_counter() - began


def _coming(run: Run) -> tuple[list[list[Sample]], Iterator[Batch]]:
    """The steps of the epoch and their batches, the first of which are decoded from now on."""
    task, config = run.task, run.task.config
    labels = [segment.label for segment in task.feed.segments]
    alive = [number for number in range(len(labels)) if number not in run.left_out]
    steps = steps_of(labels, alive, epoch=run.epoch, batch=config.batch, seed=config.seed, balanced=config.balanced)
    rank, processes = run.accelerator.process_index, run.accelerator.num_processes
    return steps, task.feed.batches([step[rank::processes] for step in steps[run.step :]])


def _step(run: Run, batch: Batch, planned: Sequence[Sample]) -> None:
    """One step of the optimizer: the gradient of all segments of the step, gathered part by part and over all processes."""
    config, accelerator, tuning = run.task.config, run.accelerator, run.task.tuning
    run.optimizer.zero_grad()
    torch.manual_seed(_seed(config.seed, run.epoch, run.step, accelerator.process_index))
    loss, right = torch.zeros((), device=accelerator.device), torch.zeros((), device=accelerator.device)
    device = str(accelerator.device)
    with devices.told_of_memory(config, together=-(-len(planned) // run.accumulate), accumulate=run.accumulate, device=device):
        for places in np.array_split(np.arange(len(batch)), run.accumulate):
            if len(places):
                one, hits = _part(run, batch, places, len(planned))
                loss, right = loss + one, right + hits.sum()
                run.sums.wrong += [batch.numbers[place] for place, hit in zip(places, hits.tolist()) if not hit]
    count = _gather(run, batch, (loss, right), len(planned))
    if not count:
        return
    if config.grad_clip:
        accelerator.clip_grad_norm_([weight for weight in tuning.parameters() if weight.requires_grad], config.grad_clip)
    run.optimizer.step()
    run.updates += 1
    _average(run)


def _part(run: Run, batch: Batch, places: Any, planned: int) -> tuple[Tensor, Tensor]:
    """The gradient of some segments; their plain losses added up, and which of them are named rightly."""
    config, accelerator = run.task.config, run.accelerator
    windows = torch.from_numpy(batch.windows[places]).to(accelerator.device)
    labels = torch.from_numpy(batch.labels[places]).to(accelerator.device)
    other, share = labels, 1.0
    if config.mixup and len(labels) > 1:
        rng = np.random.default_rng([config.seed, run.epoch, run.step, int(places[0])])
        share = rng.beta(config.mixup, config.mixup)
        share = float(max(share, 1 - share))  # most of it is itself
        other = labels.roll(1)
        windows = (share * windows.float() + (1 - share) * windows.roll(1, dims=0).float()).round().to(torch.uint8)
    with accelerator.autocast():
        logits = run.task.tuning(windows)
    logits = logits.float()
    losses = share * _losses(logits, labels, run) + (1 - share) * _losses(logits, other, run)
    accelerator.backward(losses.sum() / planned)
    with torch.no_grad():
        plain = nn.functional.cross_entropy(logits, labels, reduction="none")
        if share < 1:
            plain = share * plain + (1 - share) * nn.functional.cross_entropy(logits, other, reduction="none")
    return plain.sum(), logits.argmax(dim=1) == labels


def _losses(logits: Tensor, labels: Tensor, run: Run) -> Tensor:
    smoothing = run.task.config.label_smoothing
    return nn.functional.cross_entropy(logits, labels, weight=run.weights, label_smoothing=smoothing, reduction="none")


def _gather(run: Run, batch: Batch, sums: tuple[Tensor, Tensor], planned: int) -> float:
    """Adds up gradients and sums over all processes; how many segments the step really had."""
    open_weights = [weight for weight in run.task.tuning.parameters() if weight.requires_grad]
    counted = torch.stack([sums[0], sums[1], torch.tensor(float(len(batch)), device=sums[0].device)])
    if run.accelerator.num_processes > 1:
        grads = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in open_weights]
        counted, *grads = devices.add_up(run.accelerator, [counted, *grads])
        for weight, grad in zip(open_weights, grads, strict=True):
            weight.grad = grad.clone()
    loss, right, count = counted.tolist()
    if not math.isfinite(loss):
        rate = run.task.config.rate
        raise ConfigError(
            "learning_rate",
            f"the loss was no number any more in epoch {run.epoch + 1}; lower it (it was {rate:.2g}), say to {rate / 10:.2g}; "
            "what was learnt before that epoch is kept",
        )
    run.sums.loss, run.sums.right, run.sums.count = run.sums.loss + loss, run.sums.right + right, run.sums.count + count
    if 0 < count < planned:  # some could not be read: the mean is over the others
        for weight in open_weights:
            if weight.grad is not None:
                weight.grad *= planned / count
    return float(count)


def _average(run: Run) -> None:
    """Lets the averaged weights follow; quickly at first, when there is little to remember."""
    memory = min(run.task.config.ema, (1 + run.updates) / (10 + run.updates))
    moving = run.task.tuning.moving
    with torch.no_grad():
        for name, kept in run.ema.items():
            if kept.is_floating_point():
                kept.lerp_(moving[name], 1 - memory)
            else:
                kept.copy_(moving[name])


def _lose(run: Run, batch: Batch) -> None:
    """Takes note of what could not be read: it is left out from now on, and the run goes on."""
    for number, error in batch.failures:
        if run.task.strict:
            raise error
        if number not in run.failed:
            run.task.tell(f"left out from now on: {error}")
        run.failed[number] = error


# -- after an epoch ------------------------------------------------------------------------------------------------------------


def _turn(run: Run) -> None:
    """From one epoch to the next, whose first batches are decoded while validation is looked at."""
    for number, text in devices.from_all(run.accelerator, [(number, str(error)) for number, error in run.failed.items()]):
        run.failed.setdefault(number, QuickstepError(text))
    run.epoch, run.step, run.left_out = run.epoch + 1, 0, sorted(run.failed)
    _still_all(run)
    if run.epoch < run.task.config.epochs:
        run.coming = _coming(run)


def _note(run: Run, validation: tuple[Tuning, Measures | None, list[int]]) -> None:
    """The epoch is over: what it was worth, said and kept."""
    task, config, watch, sums = run.task, run.task.config, run.watch, run.sums
    shown, measures, numbers = validation
    wrong = devices.from_all(run.accelerator, sums.wrong)
    count = max(sums.count, 1.0)
    better = watch.note(sums.loss / count, sums.right / count, wrong, measures, numbers, config.metric)
    told = f", {measures.told(config.metric)}{' (the best so far)' if better else ''}" if measures else ""
    task.tell(f"epoch {watch.epochs} of {config.epochs}: training loss {watch.train_loss[-1]:.4f}{told}")
    if watch.epochs == LOOK_AFTER and (warning := on_chance(watch, config, classes=len(task.feed.labels))):
        task.tell(warning)
    if run.board is not None:
        numbers_now = {"loss/training": watch.train_loss[-1], "accuracy/training": watch.train_accuracy[-1]}
        numbers_now |= {"rate": run.optimizer.param_groups[0]["lr"], "waiting": run.waited / max(run.worked, 1e-9)}
        if measures:
            numbers_now |= {"loss/validation": measures.loss, "accuracy/validation": measures.accuracy}
            numbers_now |= {"balanced-accuracy/validation": measures.balanced_accuracy, "macro-f1/validation": measures.macro_f1}
        run.board.write(watch.epochs, numbers_now)
    run.sums = Sums()
    if better and run.accelerator.is_main_process:
        checkpoint.write(task.folder, checkpoint.BEST, {"epoch": watch.epochs}, {"moving": shown.moving}, what=f"epoch {watch.epochs}")
    save(run)


def _still_all(run: Run) -> None:
    """A class of which nothing can be read any more cannot be learnt."""
    segments = run.task.feed.segments
    left = {segment.label for number, segment in enumerate(segments) if number not in run.failed}
    lost = sorted(set(run.task.feed.labels) - {str(label) for label in left})
    if lost:
        error = next(error for number, error in run.failed.items() if segments[number].label == lost[0])
        raise ManifestError(segments[0].path.parent, f"no training video of {lost[0]!r} can be used any more, such as {error}")


def _outcome(run: Run) -> Outcome:
    run.accelerator.wait_for_everyone()
    last = {name: value.detach().cpu().clone() for name, value in as_kept(run).moving.items()}
    best = checkpoint.read(run.task.folder, checkpoint.BEST)
    moved = best.part("moving") if best is not None and best.about["epoch"] == run.watch.best_epoch else last
    share = run.waited / run.worked if run.worked else 0.0
    run.task.tuning.to("cpu")
    return Outcome(run.watch, moved, last, run.failed, run.failed_val, share, run.accumulate, run.accelerator.is_main_process)


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
