"""FinetuneConfig: all settings of fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from quickstep.types.config_fields import at_least, between, one_of, setting
from quickstep.types.errors import ConfigError

if TYPE_CHECKING:
    from quickstep.backbones import BackboneSpec

METRICS = ("accuracy", "balanced-accuracy", "macro-f1", "loss")
SCHEDULES = ("cosine", "step", "exponential", "constant")
DEFAULT_BACKBONE = "clip-vit-b32"
DEFAULT_UNFREEZE = 3  # blocks of a network of single frames: with more, a few hundred videos make it forget more than it learns

# The default learning rate of pretrained networks, and of networks from scratch.
_RATES = {"adamw": (3e-5, 1e-3), "adam": (3e-5, 1e-3), "sgd": (0.003, 0.03)}
_HEAD_RATES = (10.0, 1.0)  # factors for the head


@dataclass(frozen=True)
class FinetuneConfig:
    """The network, its view, how it is trained and when to stop; the defaults suit some hundreds of videos."""

    # -- network
    backbone: str | None = setting(None, "the network to train further; by default clip-vit-b32")
    weights: str | None = setting(None, "a local file or folder (or another hub name) to take its weights from")
    init: str | None = setting(None, "without weights: scratch, or inflate:FILE for 3D weights from 2D ones")
    width: float | None = setting(None, "for init scratch: a narrower network, as a share of the full width")
    embedding: str | None = setting(None, "which embedding of the network: projected or pooled", was="output")
    flow: str | None = setting(None, "the optical flow for i3d-flow: dis, tvl1 or farneback; dis,camera removes camera motion")
    from_: str | None = setting(None, "a model folder to continue from, instead of a backbone")
    new_head: bool = setting(False, "replace a head that has other classes")
    unfreeze: str | None = setting(
        None, "how many blocks from the top are trained, or all; by default 3 for networks of single frames, else all", was="blocks"
    )

    # -- view
    frames: int | None = setting(None, "frames a window; by default the network's own number")
    fps: float | None = setting(None, "frames a second; by default the network's own rate, or spread over the segment")
    size: int | None = setting(None, "pixels of the square input, for networks that accept other sizes")
    windows: int | None = setting(None, "windows of a segment in testing; their scores are averaged")
    crops: int | None = setting(None, "crops of each window in testing: 1, 3, 5 or 10")

    # -- optimization
    epochs: int = setting(30, "passes over the training segments, at most")
    batch: int = setting(8, "segments a step, over all GPUs together")
    accumulate: int = setting(1, "divide a step into this many parts, one after the other: less memory, the same step")
    auto_batch: bool = setting(False, "find the number of parts that makes a step fit into memory")
    optimizer: Literal["adamw", "adam", "sgd"] = setting("adamw", "adamw, adam or sgd (with momentum)")
    learning_rate: float | None = setting(None, "initial learning rate; the default depends on the optimizer and on init")
    head_rate: float | None = setting(None, "factor of the head's learning rate; by default 10, from scratch 1")
    layer_decay: float = setting(1.0, "factor of the learning rate from one block to the one below it")
    momentum: float = setting(0.9, "momentum of sgd")
    weight_decay: float = setting(0.01, "weight decay, except of biases and norms")
    grad_clip: float = setting(1.0, "largest norm of the gradient of a step; 0: no limit", was="clip")
    schedule: Literal["cosine", "step", "exponential", "constant"] = setting(
        "cosine", "schedule of the learning rate: cosine, step, exponential, constant"
    )
    warmup: float = setting(1.0, "epochs in which the learning rate rises from 0")
    decay: float = setting(0.1, "step and exponential: factor of the learning rate after `step_epochs` epochs")
    step_epochs: float | None = setting(
        None, "step and exponential: epochs from one step to the next; by default a third of all", was="every"
    )

    # -- loss and sampling
    label_smoothing: float = setting(0.0, "share of each label that is spread over all classes")
    mixup: float = setting(0.0, "mix pairs of segments; a larger value mixes more evenly (0.2 is common)")
    class_weights: bool = setting(False, "weight classes equally, whatever their number of segments")
    balanced: bool = setting(False, "sample every class equally often instead")
    dropout: float = setting(0.2, "share of the features that dropout zeroes before the head")
    ema: float = setting(0.0, "exponential moving average of the weights with this decay (0.999 is common); the average is saved")

    # -- stopping
    metric: Literal["accuracy", "balanced-accuracy", "macro-f1", "loss"] = setting(
        "loss", "the metric that chooses the best epoch on validation: accuracy, balanced-accuracy, macro-f1 or loss", was="measure"
    )
    patience: int | None = setting(None, "stop after this many epochs without a better one; by default a third of all")
    save_minutes: float = setting(10.0, "save the state this often, and after every epoch")

    # -- device
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "auto, cpu or cuda")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting("auto", "fp32, bf16 or fp16; auto is bf16 on GPUs that are fast in it")
    workers: int | None = setting(None, "threads that decode ahead of the network; by default one per core")
    frame_cache_gb: float = setting(2.0, "GB of decoded frames to keep in memory, where the timestamps do not change", was="memory")
    tensorboard: str | None = setting(None, "a folder for TensorBoard")
    seed: int = setting(0, "for the split and the fit; the same seed gives the same model on the same machine")

    def __post_init__(self) -> None:
        self._check_counts()
        one_of("optimizer", self.optimizer, _RATES)
        one_of("schedule", self.schedule, SCHEDULES)
        one_of("metric", self.metric, METRICS)
        one_of("device", self.device, ("auto", "cpu", "cuda"))
        one_of("precision", self.precision, ("auto", "fp32", "bf16", "fp16"))
        for name, low, high in (("label_smoothing", 0, 0.99), ("dropout", 0, 0.95), ("ema", 0, 0.99999), ("momentum", 0, 0.999)):
            between(name, getattr(self, name), low, high)
        between("layer_decay", self.layer_decay, 0.01, 1)
        between("decay", self.decay, 1e-6, 1)
        for name in ("weight_decay", "grad_clip", "warmup", "mixup", "frame_cache_gb", "save_minutes"):
            at_least(name, getattr(self, name), 0)
        for name in ("learning_rate", "head_rate", "step_epochs", "width"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(name, f"must be above 0, not {value:g}")
        if self.unfreeze is not None and self.unfreeze != "all" and not self.unfreeze.isdecimal():
            raise ConfigError("unfreeze", f"a number from 0 on, or all, not {self.unfreeze!r}")
        if self.class_weights and self.balanced:
            raise ConfigError("balanced", "already samples every class equally often; leave out `class_weights`")
        if self.from_ is not None and (self.backbone or self.weights or self.init):
            raise ConfigError("from", "a model has its own network; leave out `backbone`, `weights` and `init`")

    def _check_counts(self) -> None:
        between("epochs", self.epochs, 1, 1_000_000)
        between("batch", self.batch, 1, 65_536)
        between("accumulate", self.accumulate, 1, self.batch)
        between("seed", self.seed, 0, 2**63 - 1)
        for name, low in (("patience", 1), ("workers", 1), ("frames", 1), ("size", 8), ("windows", 1)):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name), low)

    @property
    def spec(self) -> BackboneSpec:
        """Which backbone it starts from; `precision` is not the backbone's but that of the training."""
        from quickstep.backbones import BackboneSpec  # which imports NumPy: help texts need none

        return BackboneSpec.named(
            self.backbone or DEFAULT_BACKBONE,
            weights=self.weights,
            embedding=self.embedding,
            flow=self.flow,
            init=self.init,
            width=self.width,
        )

    @property
    def scratch(self) -> bool:
        """Whether the network starts with random weights."""
        return (self.init or "").partition(":")[0] == "scratch"

    @property
    def rate(self) -> float:
        """The initial learning rate of the network's last block."""
        return self.learning_rate or _RATES[self.optimizer][self.scratch]

    @property
    def head_learning_rate(self) -> float:
        """The initial learning rate of the head."""
        return self.rate * (self.head_rate or _HEAD_RATES[self.scratch])

    @property
    def patience_epochs(self) -> int:
        """The number of epochs without a better one after which training stops."""
        return self.patience or max(5, -(-self.epochs // 3))

    def rate_factor(self, epochs: float) -> float:
        """Return the factor of the initial learning rate after a number of epochs, which need not be whole."""
        if epochs < self.warmup:
            return epochs / self.warmup
        return _scheduled_factor(self, epochs)

    def unfrozen_blocks(self, count: int, *, single_frames: bool) -> int:
        """Return how many of the network's blocks are trained, counted from the output."""
        if self.unfreeze == "all" or (self.unfreeze is None and (self.scratch or not single_frames)):
            return count
        requested = DEFAULT_UNFREEZE if self.unfreeze is None else int(self.unfreeze)
        if self.unfreeze is not None and requested > count:
            raise ConfigError("unfreeze", f"the network has only {count} blocks, not {requested}")
        return min(requested, count)


def _scheduled_factor(config: FinetuneConfig, epochs: float) -> float:
    import math

    span = max(config.epochs - config.warmup, 1e-9)
    share = min(1.0, (epochs - config.warmup) / span)
    step = config.step_epochs or max(1.0, config.epochs / 3)
    if config.schedule == "cosine":
        return 0.5 + 0.5 * math.cos(math.pi * share)
    if config.schedule == "step":
        return float(config.decay ** math.floor(epochs / step + 1e-9))
    return float(config.decay ** (epochs / step)) if config.schedule == "exponential" else 1.0
