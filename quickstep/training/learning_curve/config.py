"""CurveConfig: how a learning curve is drawn."""

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
    """How many segments a class are tried, how often, and what is fitted to them."""

    shots: str = setting(SHOTS, "numbers of segments a class to learn from")
    repeats: int = setting(5, "draws for each number: the more, the surer the curve")
    more: int = setting(8, "so many more labels of one class are tried, to say for which class they would help most (0: not asked)")
    test: float = setting(0.3, "share of the segments held out, where the manifest has no test part")
    head: str | None = setting(
        None, f"what is fitted: {', '.join(HEADS)}; by default few-shot where the backbone reads words, else prototypes"
    )
    backbone: str | None = setting(None, "what turns frames into numbers; by default clip-vit-b32; flow-hist needs no download")
    weights: str | None = setting(None, "a local folder (or another hub name) to take the backbone's weights from")
    precision: str | None = setting(None, "auto, fp32 or bf16; by default bf16 where the machine is fast in it and a trial finds it safe")
    engine: str | None = setting(None, "what runs the network: torch or openvino (extra), the fastest on Intel processors")
    frames: int | None = setting(None, "frames a window; by default the backbone's own number")
    template: tuple[str, ...] = setting((), "for backbones that read words: 'a video of {}' (the label goes into {}); several, or ensemble")
    prompts: str | None = setting(None, "for backbones that read text: a file of `label: a sentence; another`", was="words")
    seed: int = setting(0, "for the split, the draws and the fits: the same seed gives the same curve")

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
        """The shots as numbers, ascending, each once."""
        parts = [part.strip() for part in self.shots.split(",") if part.strip()]
        if not parts or not all(part.isdecimal() and 1 <= int(part) <= 100_000 for part in parts):
            raise ConfigError("shots", f"whole numbers from 1 on, as in {SHOTS}, not {self.shots!r}")
        return tuple(sorted({int(part) for part in parts}))

    def looking(self) -> TrainConfig:
        """The part of it that says what to look with."""
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
