"""Which device, what precision it is fast in, how many frames at once; and the trial whether lower precision keeps the vectors.

Knows torch and this machine, no network.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

# Lower precision may turn a vector to a cosine of 0.9999 to fp32. In the trial it must do better: other pictures are not the trial's.
SAFE_COSINE = 0.99994

_CPU_BATCH = 8  # one window of the default view: nothing is wasted on a single video, and larger batches gain little
_GPU_BATCH = 64


def device_for(engine: str) -> str:
    """The kind of device an engine runs on here: "cuda" or "cpu"."""
    return "cuda" if engine == "torch" and torch.cuda.is_available() else "cpu"


def fast_in_bf16(engine: str) -> bool:
    """Whether the hardware that an engine runs on multiplies in bf16 (otherwise bf16 works, slowly)."""
    if device_for(engine) == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def machine(engine: str) -> str:
    """What decides how a product rounds: the device and the library's version."""
    device = torch.cuda.get_device_name() if device_for(engine) == "cuda" else torch.backends.cpu.get_cpu_capability()
    return f"{device}, torch {torch.__version__}"


def choose_batch(engine: str) -> int:
    """The one number of frames that a network is run on at once."""
    return _GPU_BATCH if device_for(engine) == "cuda" else _CPU_BATCH


def probe(count: int, size: int) -> NDArray[np.uint8]:
    """Pictures to try a network on, (count, size, size, 3), the same every time: noise, cells, darkness, one colour, a gradient."""
    rng = np.random.default_rng(0)
    pictures = np.empty((count, size, size, 3), np.uint8)
    for index in range(count):
        cell = (1, 1, 4, 1, size, 16, 8, 32)[index % 8]
        cells = -(-size // cell)
        picture = rng.integers(0, 40 if index % 8 == 3 else 256, (cells, cells, 3), np.uint8)
        pictures[index] = picture.repeat(cell, 0).repeat(cell, 1)[:size, :size]
        if index % 8 == 7:
            pictures[index] = np.linspace(0, 255, size)[:, None]
    return pictures


def cosine(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """The smallest cosine between the rows; 0 where one is not a number."""
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(found, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        smallest = ((expected * found).sum(axis=1) / norms).min()
    return float(np.nan_to_num(smallest))
