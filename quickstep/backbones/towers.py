"""Tower: an image tower of transformers with our preparation of pictures in front, loaded strictly from a checkpoint.

The only file that imports transformers. Bytes go in, one vector a picture comes out.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import transformers
from safetensors import SafetensorError

from quickstep.errors import WeightsError

if TYPE_CHECKING:
    from quickstep.backbones.images import ImageTower

# What a checkpoint may hold besides its image tower: the other half, the heads of other tasks, counters that older versions saved.
_OTHER_PARTS = ("text_model.", "text_projection.", "logit_scale", "logit_bias", "classifier.")
_COUNTERS = ("position_ids",)


class Tower(torch.nn.Module):
    """uint8 (B, H, W, 3) -> float32 (B, D)"""

    slope: torch.Tensor
    offset: torch.Tensor

    def __init__(self, network: torch.nn.Module, field: str, slope: tuple[float, ...], offset: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.field = field
        self.register_buffer("slope", torch.tensor(slope, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("offset", torch.tensor(offset, dtype=torch.float32).view(1, 3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        values = pixels.permute(0, 3, 1, 2).float() * self.slope + self.offset  # (B, 3, H, W)
        vectors: torch.Tensor = getattr(self.network(pixel_values=values), self.field)
        return vectors.float()


def load_tower(backbone: ImageTower) -> Tower:
    """The backbone's network in fp32 on the CPU; weights that are missing, left over or of another shape are refused."""
    projected = backbone.output == "projected" and backbone.family.projected is not None
    name = backbone.family.projected if projected else backbone.family.pooled
    network = _load(backbone, getattr(transformers, str(name)))
    _settle_positions(network, backbone.view.size)
    field = "image_embeds" if str(name).endswith("WithProjection") else "pooler_output"
    return Tower(network, field, backbone.processor.slope, backbone.processor.offset).eval().requires_grad_(False)


def _load(backbone: ImageTower, network: Any) -> torch.nn.Module:
    checkpoint = backbone.checkpoint
    try:
        with _quiet():
            loaded, info = network.from_pretrained(
                checkpoint.folder,
                config=_config(backbone),
                dtype=torch.float32,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are told in `info`, and refused below by name
            )
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise WeightsError(
            f"{checkpoint.source} cannot be loaded, its files may be broken ({_first_line(error)}): fetch or copy it again"
        ) from error
    missing = sorted(info["missing_keys"])
    left_over = sorted(key for key in info["unexpected_keys"] if not _belongs_elsewhere(key, backbone.output))
    other_shape = sorted(str(each[0] if isinstance(each, tuple) else each) for each in info["mismatched_keys"])
    for keys, what in ((missing, "lacks"), (other_shape, "has of another shape"), (left_over, "has besides what its config describes:")):
        if keys:
            raise WeightsError(f"{checkpoint.source} {what} {_few(keys)}: its config and its weights do not belong together")
    return loaded  # type: ignore[no-any-return]


def _settle_positions(network: torch.nn.Module, size: int) -> None:
    """DINOv2 stretches its position table to each picture's size: once is enough, and translators cannot do it exactly."""
    module: Any
    for module in network.modules():
        if type(module).__name__.startswith("Dinov2") and hasattr(module, "interpolate_pos_encoding"):
            with torch.inference_mode(False), torch.no_grad():
                embedded = module.patch_embeddings(torch.zeros(1, 3, size, size))
                tokens = torch.cat((embedded[:, :1], embedded), dim=1)  # the class token stands first
                module.interpolate_pos_encoding = _Settled(module.interpolate_pos_encoding(tokens, size, size))


class _Settled(torch.nn.Module):
    """The same table for every picture."""

    table: torch.Tensor

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table)

    def forward(self, *_: object) -> torch.Tensor:
        return self.table


def _config(backbone: ImageTower) -> Any:
    """The image tower's own config; the width of a projection stands beside it in the config of both towers."""
    config = transformers.AutoConfig.from_pretrained(backbone.checkpoint.folder, local_files_only=True)
    if not backbone.family.nested:
        return config
    tower = config.vision_config
    if hasattr(tower, "projection_dim"):
        tower.projection_dim = config.projection_dim
    return tower


def _belongs_elsewhere(key: str, output: str) -> bool:
    others = (*_OTHER_PARTS, "visual_projection.") if output == "pooled" else _OTHER_PARTS
    return key.startswith(others) or key.endswith(_COUNTERS)


def _few(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


@contextmanager
def _quiet() -> Iterator[None]:
    """Its progress bars and tables of left-over weights say less than our one line."""
    logging = transformers.utils.logging
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
