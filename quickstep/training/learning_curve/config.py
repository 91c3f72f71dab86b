"""CurveConfig: the points of a learning curve, and the backbone and head that it is measured with."""

from __future__ import annotations

from dataclasses import dataclass

from quickstep.datasets.class_prompts import check_templates
from quickstep.heads import HEADS
from quickstep.training.train import TrainConfig
from quickstep.types.config_fields import at_least, between, setting
from quickstep.types.errors import ConfigError

SHOTS = "1,2,4,8,16"


@dataclass(frozen=True)
class CurveConfig:
    """The numbers of segments a class, the draws of each, the backbone and the head."""

    shots: str = setting(SHOTS, "numbers of training segments a class")
    repeats: int = setting(5, "draws for each number; more draws make the curve more precise")
    more: int = setting(8, "labels to add to one class at a time, to find the class that they would help most; 0: none")
    test: float = setting(0.3, "share of the segments to hold out, if the manifest has no test part")
    head: str | None = setting(
        None, f"the classifier to fit: {', '.join(HEADS)}; by default few-shot if the backbone embeds text, else prototypes"
    )
    backbone: str | None = setting(None, "the feature extractor; by default clip-vit-b32; flow-hist needs no download")
    weights: str | None = setting(None, "a local folder (or another hub name) to take the backbone's weights from")
    precision: str | None = setting(None, "auto, fp32 or bf16; by default bf16 where it is fast on this machine and accurate in a check")
    engine: str | None = setting(None, "the runtime of the network: torch or openvino (an extra), the fastest on Intel processors")
    frames: int | None = setting(None, "frames a window; by default the backbone's own number")
    template: tuple[str, ...] = setting((), "for backbones that embed text: 'a video of {}' (the label replaces {}); several, or ensemble")
    prompts: str | None = setting(None, "for backbones that embed text: a file of `label: a sentence; another`", was="words")
    seed: int = setting(0, "for the split, the draws and the fits; the same seed gives the same curve")

    def __post_init__(self) -> None:
        _ = self.numbers
        between("repeats", self.repeats, 1, 1000)
        between("more", self.more, 0, 10_000)
        between("test", self.test, 0.05, 0.9)
        at_least("seed", self.seed, 0)
        if self.frames is not None:
            between("frames", self.frames, 1, 4096)
        check_templates(self.template)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The shots as numbers, ascending, without repeats."""
        parts = [part.strip() for part in self.shots.split(",") if part.strip()]
        if not parts or not all(part.isdecimal() and 1 <= int(part) <= 100_000 for part in parts):
            raise ConfigError("shots", f"whole numbers from 1 on, as in {SHOTS}, not {self.shots!r}")
        return tuple(sorted({int(part) for part in parts}))

    def train_config(self) -> TrainConfig:
        """Return the settings of the backbone."""
        return TrainConfig(
            backbone=self.backbone,
            weights=self.weights,
            precision=self.precision,
            engine=self.engine,
            frames=self.frames,
            template=self.template,
            prompts=self.prompts,
            seed=self.seed,
        )
