"""What an epoch is worth: the validation segments, looked at exactly as `predict` looks at them."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from quickstep.backbones import open_backbone
from quickstep.heads import open_head
from quickstep.models.feature_extraction import extract
from quickstep.training.finetuning import devices
from quickstep.training.finetuning.early_stopping import Measures, measured
from quickstep.training.finetuning.run_state import Run, Task
from quickstep.training.finetuning.trainable_model import Tuning
from quickstep.types.errors import QuickstepError
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
    found = extract(list(segments.values()), _backbone(task, shown), view=task.feed.view, keep=False).check(strict=task.strict)
    seen = [(number, found.features[segment]) for number, segment in segments.items() if segment in found.features]
    lost = {failure.segment: failure.error for failure in found.failures}
    for number, text in devices.from_all(accelerator, [(n, str(lost[s])) for n, s in segments.items() if s in lost]):
        run.failed_val[number] = QuickstepError(text)
        task.tell(f"left out from now on: {text}")
    features: dict[int, Features] = dict(sorted(devices.from_all(accelerator, seen)))
    if not features:
        return shown, None, []
    head = open_head("averaged", {"together": task.together})
    head.load(shown.head())
    labels = np.array([task.feed.labels.index(str(task.val[number].label)) for number in features])
    return shown, measured(head.scores(list(features.values())), labels), list(features)


def _backbone(task: Task, shown: Tuning) -> Any:
    """The backbone as it will be opened again, with the weights that it has by now."""
    held = getattr(task.backbone, "with_weights_of", None)
    if held is not None:
        return held(shown.network)
    with tempfile.TemporaryDirectory() as folder:  # somebody's own
        task.backbone.write(shown.network, Path(folder) / "network")
        opened = open_backbone(task.backbone.name, weights=Path(folder) / "network")
        opened.embed([])
        return opened
