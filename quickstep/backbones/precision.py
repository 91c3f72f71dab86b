"""The device, the precision that it is fast in, the batch size; and the trial whether lower precision keeps the vectors.

Imports torch only where its answer is needed: a machine without a GPU needs it for bf16 alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Lower precision may change a vector to a cosine of 0.9999 to fp32. The trial demands more, because videos differ from the trial's frames.
SAFE_COSINE = 0.99994

_CPU_BATCH = 8  # one window of the default view: nothing is wasted on a single video, and larger batches gain little
_GPU_BATCH = 64
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # of NVIDIA, of Windows' Linux, of AMD


def device_for(engine: str) -> str:
    """Return the kind of device that an engine runs on here: "cuda" or "cpu"."""
    if engine != "torch" or not _may_have_gpu():
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _may_have_gpu() -> bool:
    """Whether torch could find a GPU; False is certain."""
    if sys.platform == "darwin":
        return False
    return sys.platform != "linux" or any(Path(device).exists() for device in _GPU_DEVICES)


def fast_in_bf16(engine: str) -> bool:
    """Whether the hardware that an engine runs on multiplies in bf16 (otherwise bf16 works, slowly)."""
    import torch

    if device_for(engine) == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def machine(engine: str) -> str:
    """Return what decides how a product rounds: the device and torch's version."""
    import torch

    device = torch.cuda.get_device_name() if device_for(engine) == "cuda" else torch.backends.cpu.get_cpu_capability()
    return f"{device}, torch {torch.__version__}"


def choose_batch(engine: str) -> int:
    """Return the number of frames that a network is always run on at once."""
    return _GPU_BATCH if device_for(engine) == "cuda" else _CPU_BATCH


def probe(count: int, size: int) -> NDArray[np.uint8]:
    """Make frames for the trial, (count, size, size, 3), always the same: noise, squares, darkness, one colour, a gradient."""
    rng = np.random.default_rng(0)
    frames = np.empty((count, size, size, 3), np.uint8)
    for index in range(count):
        square = (1, 1, 4, 1, size, 16, 8, 32)[index % 8]
        squares = -(-size // square)
        frame = rng.integers(0, 40 if index % 8 == 3 else 256, (squares, squares, 3), np.uint8)
        frames[index] = frame.repeat(square, 0).repeat(square, 1)[:size, :size]
        if index % 8 == 7:
            frames[index] = np.linspace(0, 255, size)[:, None]
    return frames


def cosine(expected: NDArray[np.float32], actual: NDArray[np.float32]) -> float:
    """Return the smallest cosine between the rows; 0 where one is not a number."""
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(actual, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        smallest = ((expected * actual).sum(axis=1) / norms).min()
    return float(np.nan_to_num(smallest))
