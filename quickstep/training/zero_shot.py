"""Make a classifier from text alone: labels and their descriptions, without a labelled video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quickstep.backbones import Backbone, BackboneSpec, view_for
from quickstep.datasets.class_prompts import check_templates, read_class_prompts
from quickstep.heads import Examples, FitConfig, open_head
from quickstep.models.model import Model
from quickstep.models.text_features import apply_templates, encode_prompts
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import to_plain
from quickstep.training.provenance import make_facts
from quickstep.training.train import TrainConfig, open_for_training
from quickstep.types.config_fields import between, setting


@dataclass(frozen=True)
class ZeroShotConfig:
    """The labels, their templates and the backbone."""

    labels: str = setting(
        "", "windmill,halo,... or a file (`label` or `label: a sentence; another`), or dance19, hmdb51, kinetics400, ucf101"
    )
    template: tuple[str, ...] = setting((), "a sentence for each label, such as 'a video of {}'; several, or ensemble")
    backbone: str | None = setting(None, "the feature extractor for frames and text; by default clip-vit-b32")
    weights: str | None = setting(None, "a local folder (or another hub name) to take the backbone's weights from")
    precision: str | None = setting(None, "auto, fp32 or bf16; by default bf16 where it is fast on this machine and accurate in a check")
    engine: str | None = setting(None, "the runtime of the network: torch or openvino (an extra)")
    frames: int | None = setting(None, "frames a window; by default the backbone's own number")

    def __post_init__(self) -> None:
        check_templates(self.template)
        if self.frames is not None:
            between("frames", self.frames, 1, 4096)


def zero_shot(
    labels: ZeroShotConfig | str | Path | Sequence[str], *, backbone: Backbone | None = None, cache: Cache | None = None
) -> Model:
    """Return a model for labels given as a list, as `a,b,c`, as a file or as the name of a label set, or in a config.

    `backbone` is an instance to use instead of the config's.
    """
    config, cache = labels if isinstance(labels, ZeroShotConfig) else ZeroShotConfig(), cache or Cache()
    named = config.labels if isinstance(labels, ZeroShotConfig) else labels
    if not isinstance(named, str | Path | Sequence) or isinstance(named, bytes):
        raise TypeError(f"expected labels, a file of labels or a ZeroShotConfig; got {type(named).__name__} {named!r:.60}")
    prompts = read_class_prompts(named, templates=config.template)
    train_config = TrainConfig(
        backbone=config.backbone, weights=config.weights, precision=config.precision, engine=config.engine, frames=config.frames
    )
    spec = train_config.spec if backbone is None else BackboneSpec.of(backbone)
    backbone = backbone if backbone is not None else open_for_training(train_config, cache, image_parts=True)
    view = view_for(backbone, frames=config.frames)
    prompts = apply_templates(prompts, backbone, templates=config.template)
    head = open_head("zero-shot")
    texts = encode_prompts(backbone, prompts, cache=cache)
    head.fit(Examples([], np.zeros(0, np.int64), texts=texts), classes=len(prompts.labels), fitting=FitConfig())
    facts = make_facts(
        notes=("made from text alone: measure it on labelled videos with `quickstep evaluate --data`",),
        words=prompts.by_label,
        training=to_plain(config) | ({"labels": ",".join(prompts.labels)} if named is not config.labels else {}),
    )
    return Model(prompts.labels, backbone, view, head, spec.settled(backbone), facts=facts)
