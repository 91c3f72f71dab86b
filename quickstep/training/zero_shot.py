"""zero_shot: labels in words -> a Model that names them without one labelled video; saved, measured and served like any other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from quickstep.backbones import Backbone, BackboneSpec, view_for
from quickstep.datasets.class_prompts import check_templates, read_class_prompts
from quickstep.heads import Examples, FitConfig, open_head
from quickstep.models.model import Facts, Model
from quickstep.models.text_features import apply_templates, encode_prompts
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import to_plain
from quickstep.training.train import TrainConfig, library_version, open_for_training, versions
from quickstep.types.config_fields import between, setting


@dataclass(frozen=True)
class ZeroShotConfig:
    """What to look for, and what to look with."""

    labels: str = setting(
        "", "windmill,halo,... or a file (`label` or `label: a sentence; another`), or dance19, hmdb51, kinetics400, ucf101"
    )
    template: tuple[str, ...] = setting((), "what a label is put into, as in 'a video of {}'; several make an ensemble, as does 'ensemble'")
    backbone: str | None = setting(None, "what reads frames and words; by default clip-vit-b32")
    weights: str | None = setting(None, "a local folder (or another hub name) to take the backbone's weights from")
    precision: str | None = setting(None, "auto, fp32 or bf16; by default bf16 where the machine is fast in it and a trial finds it safe")
    engine: str | None = setting(None, "what runs the network: torch or openvino (extra)")
    frames: int | None = setting(None, "frames a window; by default the backbone's own number")

    def __post_init__(self) -> None:
        check_templates(self.template)
        if self.frames is not None:
            between("frames", self.frames, 1, 4096)


def zero_shot(config: ZeroShotConfig, *, backbone: Backbone | None = None, cache: Cache | None = None) -> Model:
    """The model that those words make; `backbone` is an instance to use in place of the config's name."""
    wording = read_class_prompts(config.labels or "", templates=config.template)
    looking = TrainConfig(
        backbone=config.backbone, weights=config.weights, precision=config.precision, engine=config.engine, frames=config.frames
    )
    spec, cache = looking.spec if backbone is None else BackboneSpec.of(backbone), cache or Cache()
    backbone = backbone if backbone is not None else open_for_training(looking, cache, parts=True)
    view = view_for(backbone, frames=config.frames)
    head = open_head("zero-shot")
    wording = apply_templates(wording, backbone, templates=config.template)
    texts = encode_prompts(backbone, wording, cache=cache)
    head.fit(Examples([], np.zeros(0, np.int64), texts=texts), classes=len(wording.labels), fitting=FitConfig())
    facts = Facts(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        quickstep=library_version("quickstep"),
        notes=("it was made of words alone: how well they fit your videos, only `quickstep evaluate --data` tells",),
        words=wording.by_label,
        training=to_plain(config),
        versions=versions(),
    )
    return Model(wording.labels, backbone, view, head, spec.settled(backbone), facts=facts)
