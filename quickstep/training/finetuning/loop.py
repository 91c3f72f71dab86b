"""The training loop: epochs of steps, validation after each epoch, and a saved state.

Everything random depends on the seed, the epoch, the step and the segment, so a resumed run ends with the same weights. Several processes
share the segments of each step and sum their gradients, so the step is the same as on one process.
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
from quickstep.training.finetuning.early_stopping import CHECK_AFTER, Measures, measure, warn_of_chance
from quickstep.training.finetuning.run_state import Outcome, Run, Sums, Task, begin, save
from quickstep.training.finetuning.trainable_model import TrainableModel
from quickstep.types.errors import ConfigError, ManifestError, QuickstepError
from quickstep.types.signals import Features


def averaged_model(run: Run) -> TrainableModel:
    """Return a copy of the model as it is measured and saved: with averaged weights if there are any."""
    copied = deepcopy(run.task.model)
    if run.ema:
        copied.restore(run.ema)
    return copied.eval()


def validate(run: Run) -> tuple[TrainableModel, Measures | None, list[int]]:
    """Measure the validation segments exactly as `predict` scores them; return the model, the measures and the segments' numbers."""
    task, accelerator = run.task, run.accelerator
    devices.broadcast_first(accelerator, [value for name, value in task.model.trained_tensors.items() if value.is_floating_point()])
    model = averaged_model(run)
    readable = [number for number in range(len(task.val)) if number not in run.failed_val]
    mine = readable[accelerator.process_index :: accelerator.num_processes]
    segments = {number: task.val[number] for number in mine}
    backbone = task.backbone.with_weights_of(model.network)
    extraction = extract(list(segments.values()), backbone, view=task.reader.view, use_cache=False).check(strict=task.strict)
    numbered = [(number, extraction.features[segment]) for number, segment in segments.items() if segment in extraction.features]
    lost = {failure.segment: failure.error for failure in extraction.failures}
    for number, text in devices.gather_all(accelerator, [(n, str(lost[s])) for n, s in segments.items() if s in lost]):
        run.failed_val[number] = QuickstepError(text)
        task.report(f"skipped from now on: {text}")
    features: dict[int, Features] = dict(sorted(devices.gather_all(accelerator, numbered)))
    if not features:
        return model, None, []
    head = open_head("window-average", {"together": task.vectors_per_window})
    head.load(model.head())
    labels = np.array([task.reader.labels.index(str(task.val[number].label)) for number in features])
    return model, measure(head.scores(list(features.values())), labels), list(features)


def fit(task: Task) -> Outcome:
    """Train from the beginning or from a saved state; the model is left with the weights of the last epoch."""
    with torch.random.fork_rng(devices=[]):
        run = begin(task)
        try:
            while not run.progression.over(task.config):
                _train_epoch(run)
                _prepare_next_epoch(run)
                _finish_epoch(run, validate(run))
        finally:
            task.reader.close()
            if run.board is not None:
                run.board.close()
    return _outcome(run)


# -- one epoch, one step -------------------------------------------------------------------------------------------------------


def _train_epoch(run: Run) -> None:
    """Train on every training segment once."""
    task, config = run.task, run.task.config
    steps, batches = run.next_epoch or _plan_epoch(run)
    run.next_epoch = None
    task.model.start_training()
    began = time.perf_counter()
    for batch in batches:
        _record_failures(run, batch)
        for group in run.optimizer.param_groups:
            group["lr"] = group["first"] * config.rate_factor(run.epoch + (run.step + 0.5) / len(steps))
        _step(run, batch, steps[run.step])
        run.step += 1
        run.waited += batch.waited
        task.progress("tuning", run.epoch * len(steps) + run.step, config.epochs * len(steps))
        if run.step < len(steps) and run.accelerator.num_processes == 1 and time.monotonic() - run.saved > 60 * config.save_minutes:
            save(run)
    run.worked += time.perf_counter() - began


def _plan_epoch(run: Run) -> tuple[list[list[Sample]], Iterator[Batch]]:
    """Return the steps of the epoch and their batches, and start decoding the first of them."""
    task, config = run.task, run.task.config
    labels = [segment.label for segment in task.reader.segments]
    readable = [number for number in range(len(labels)) if number not in run.left_out]
    steps = steps_of(labels, readable, epoch=run.epoch, batch=config.batch, seed=config.seed, balanced=config.balanced)
    rank, processes = run.accelerator.process_index, run.accelerator.num_processes
    return steps, task.reader.batches([step[rank::processes] for step in steps[run.step :]])


def _step(run: Run, batch: Batch, planned: Sequence[Sample]) -> None:
    """Take one step of the optimizer, with the gradient of all segments of the step, over all parts and processes."""
    config, accelerator, model = run.task.config, run.accelerator, run.task.model
    run.optimizer.zero_grad()
    torch.manual_seed(_seed(config.seed, run.epoch, run.step, accelerator.process_index))
    loss, right = torch.zeros((), device=accelerator.device), torch.zeros((), device=accelerator.device)
    device = str(accelerator.device)
    with devices.explain_memory_errors(config, together=-(-len(planned) // run.accumulate), accumulate=run.accumulate, device=device):
        for places in np.array_split(np.arange(len(batch)), run.accumulate):
            if len(places):
                part_loss, hits = _train_part(run, batch, places, len(planned))
                loss, right = loss + part_loss, right + hits.sum()
                run.sums.wrong += [batch.numbers[place] for place, hit in zip(places, hits.tolist()) if not hit]
    count = _sum_over_processes(run, batch, (loss, right), len(planned))
    if not count:
        return
    if config.grad_clip:
        accelerator.clip_grad_norm_([weight for weight in model.parameters() if weight.requires_grad], config.grad_clip)
    run.optimizer.step()
    run.updates += 1
    _update_ema(run)


def _train_part(run: Run, batch: Batch, places: Any, planned: int) -> tuple[Tensor, Tensor]:
    """Add the gradient of some segments; return the sum of their plain losses, and which are classified correctly."""
    config, accelerator = run.task.config, run.accelerator
    windows = torch.from_numpy(batch.windows[places]).to(accelerator.device)
    labels = torch.from_numpy(batch.labels[places]).to(accelerator.device)
    other, share = labels, 1.0
    if config.mixup and len(labels) > 1:
        rng = np.random.default_rng([config.seed, run.epoch, run.step, int(places[0])])
        share = rng.beta(config.mixup, config.mixup)
        share = float(max(share, 1 - share))  # the segment itself keeps the larger share
        other = labels.roll(1)
        windows = (share * windows.float() + (1 - share) * windows.roll(1, dims=0).float()).round().to(torch.uint8)
    with accelerator.autocast():
        logits = run.task.model(windows)
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


def _sum_over_processes(run: Run, batch: Batch, sums: tuple[Tensor, Tensor], planned: int) -> float:
    """Sum gradients and losses over all processes; return the number of segments that were read."""
    open_weights = [weight for weight in run.task.model.parameters() if weight.requires_grad]
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
            f"the loss is not a number in epoch {run.epoch + 1}; lower the learning rate from {rate:.2g} to about {rate / 10:.2g}; "
            "the state before that epoch is saved",
        )
    run.sums.loss, run.sums.right, run.sums.count = run.sums.loss + loss, run.sums.right + right, run.sums.count + count
    if 0 < count < planned:  # some could not be read, so the mean is over the others
        for weight in open_weights:
            if weight.grad is not None:
                weight.grad *= planned / count
    return float(count)


def _update_ema(run: Run) -> None:
    """Update the moving average of the weights; the decay is smaller at first."""
    decay = min(run.task.config.ema, (1 + run.updates) / (10 + run.updates))
    trained_tensors = run.task.model.trained_tensors
    with torch.no_grad():
        for name, average in run.ema.items():
            if average.is_floating_point():
                average.lerp_(trained_tensors[name], 1 - decay)
            else:
                average.copy_(trained_tensors[name])


def _record_failures(run: Run, batch: Batch) -> None:
    """Record segments that cannot be read; they are skipped from now on."""
    for number, error in batch.failures:
        if run.task.strict:
            raise error
        if number not in run.failed:
            run.task.report(f"skipped from now on: {error}")
        run.failed[number] = error


# -- after an epoch ------------------------------------------------------------------------------------------------------------


def _prepare_next_epoch(run: Run) -> None:
    """Go to the next epoch and start decoding it, while validation runs."""
    for number, text in devices.gather_all(run.accelerator, [(number, str(error)) for number, error in run.failed.items()]):
        run.failed.setdefault(number, QuickstepError(text))
    run.epoch, run.step, run.left_out = run.epoch + 1, 0, sorted(run.failed)
    _check_classes(run)
    if run.epoch < run.task.config.epochs:
        run.next_epoch = _plan_epoch(run)


def _finish_epoch(run: Run, validation: tuple[TrainableModel, Measures | None, list[int]]) -> None:
    """Report and save the result of the epoch."""
    task, config, progression, sums = run.task, run.task.config, run.progression, run.sums
    model, measures, numbers = validation
    wrong = devices.gather_all(run.accelerator, sums.wrong)
    count = max(sums.count, 1.0)
    better = progression.add(sums.loss / count, sums.right / count, wrong, measures, numbers, config.metric)
    result = f", {measures.describe(config.metric)}{' (the best so far)' if better else ''}" if measures else ""
    task.report(f"epoch {progression.epochs} of {config.epochs}: training loss {progression.train_loss[-1]:.4f}{result}")
    if progression.epochs == CHECK_AFTER and (warning := warn_of_chance(progression, config, classes=len(task.reader.labels))):
        task.report(warning)
    if run.board is not None:
        curves = {"loss/training": progression.train_loss[-1], "accuracy/training": progression.train_accuracy[-1]}
        curves |= {"rate": run.optimizer.param_groups[0]["lr"], "waiting": run.waited / max(run.worked, 1e-9)}
        if measures:
            curves |= {"loss/validation": measures.loss, "accuracy/validation": measures.accuracy}
            curves |= {"balanced-accuracy/validation": measures.balanced_accuracy, "macro-f1/validation": measures.macro_f1}
        run.board.write(progression.epochs, curves)
    run.sums = Sums()
    if better and run.accelerator.is_main_process:
        checkpoint.write(
            task.folder,
            checkpoint.BEST,
            {"epoch": progression.epochs},
            {"moving": model.trained_tensors},
            what=f"epoch {progression.epochs}",
        )
    save(run)


def _check_classes(run: Run) -> None:
    """Refuse to continue when no segment of a class can be read."""
    segments = run.task.reader.segments
    readable = {segment.label for number, segment in enumerate(segments) if number not in run.failed}
    lost = sorted(set(run.task.reader.labels) - {str(label) for label in readable})
    if lost:
        error = next(error for number, error in run.failed.items() if segments[number].label == lost[0])
        raise ManifestError(segments[0].path.parent, f"none of the training videos of {lost[0]!r} can be used; one failed with: {error}")


def _outcome(run: Run) -> Outcome:
    run.accelerator.wait_for_everyone()
    last = {name: value.detach().cpu().clone() for name, value in averaged_model(run).trained_tensors.items()}
    best = checkpoint.read(run.task.folder, checkpoint.BEST)
    tensors = best.part("moving") if best is not None and best.about["epoch"] == run.progression.best_epoch else last
    share = run.waited / run.worked if run.worked else 0.0
    run.task.model.to("cpu")
    return Outcome(run.progression, tensors, last, run.failed, run.failed_val, share, run.accumulate, run.accelerator.is_main_process)


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
