"""Recipe: the settings of one fit, of `train` or of `finetune`, behind one face: fit a model, say what is special, be JSON and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from quickstep.datasets.manifest import Manifest
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import from_plain, to_plain
from quickstep.training.augmentation.augment import Augment
from quickstep.training.finetuning.config import FinetuneConfig
from quickstep.training.train import TrainConfig, train
from quickstep.types.progress import Progress, silent

SHORT = 10  # epochs of a fine-tuning trial, where no number was said: it goes once over each picture an epoch


@dataclass(frozen=True)
class Fit:
    """What a fit leaves."""

    model: Model
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """One set of settings."""

    train: TrainConfig
    finetune: FinetuneConfig | None = None  # where the network is opened: then these are what counts
    augment: Augment | None = None

    @classmethod
    def opened(cls, base: TrainConfig, **more: Any) -> Recipe:
        """One that fine-tunes, with what was said of `train` taken over where fine-tuning has the same setting."""
        augment = more.pop("augment", None)
        usual = TrainConfig()
        known = {field.name for field in fields(FinetuneConfig)}
        said = {
            f.name: getattr(base, f.name)
            for f in fields(TrainConfig)
            if f.name in known and getattr(base, f.name) != getattr(usual, f.name)
        }
        config = FinetuneConfig(**{"epochs": SHORT, **said, **more})
        return cls(base, config, Augment(augment=augment) if augment is not None else Augment())

    def fit(self, manifest: Manifest, *, cache: Cache, progress: Progress = silent) -> Fit:
        """A model of its settings."""
        if self.finetune is None:
            trained = train(manifest, self.train, cache=cache, progress=progress)
            return Fit(trained.model, trained.warnings)
        from quickstep.training.finetuning import finetune

        tuned = finetune(manifest, self.finetune, augment=self.augment, cache=cache, progress=progress)
        return Fit(tuned.model, tuned.warnings)

    def shortened(self, share: float, segments: int) -> Recipe:
        """The same with a share of its epochs."""
        if share == 1.0:
            return self
        if self.finetune is not None:
            return replace(self, finetune=replace(self.finetune, epochs=max(1, round(share * self.finetune.epochs))))
        whole = self.train.fitting().passes(segments)
        return replace(self, train=replace(self.train, epochs=max(1, round(share * whole))))

    @property
    def told(self) -> dict[str, Any]:
        """What it says that would not be done by itself, and always the backbone, and the head where there is a choice."""
        config: Any = self.train if self.finetune is None else self.finetune
        always = ("backbone", "head") if self.finetune is None else ("backbone", "epochs")
        usual = type(config)()
        named = {field.name: getattr(config, field.name) for field in fields(config)}
        told = {name: value for name, value in named.items() if name in always or value != getattr(usual, name)}
        if self.finetune is not None and self.augment is not None:
            told = {"fine-tuned": True, **told, "augment": self.augment.augment}
        return told

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        data: dict[str, Any] = to_plain(self)
        return data

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Recipe:
        """The reverse of `to_json`."""
        return from_plain(cls, dict(data), where="a trial")
