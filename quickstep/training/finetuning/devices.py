"""Device, precision and processes through accelerate, and what to do when memory runs out."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from quickstep.training.finetuning.config import FinetuneConfig
from quickstep.types.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from accelerate import Accelerator

try:
    import accelerate
except ImportError as error:
    raise MissingExtra("finetune", "fine-tuning") from error

_MEMORY_ERRORS = ("out of memory", "can't allocate memory", "not enough memory")


def open_accelerator(config: FinetuneConfig) -> Accelerator:
    """Open the device that the config asks for; refuse a GPU that is not available."""
    from accelerate.state import AcceleratorState

    if config.device == "cuda" and not torch.cuda.is_available():
        why = "this torch is built without CUDA" if torch.version.cuda is None else "no GPU responds (is its driver installed?)"
        raise ConfigError("device", f"no GPU can be used: {why} (torch {torch.__version__}); leave out `device` to use the CPU")
    AcceleratorState._reset_state(reset_partial_state="LOCAL_RANK" not in os.environ)  # an earlier run may have had other settings
    mixed = precision_of(config)
    return accelerate.Accelerator(mixed_precision="no" if mixed == "fp32" else mixed, cpu=config.device == "cpu" or _no_gpu())


def precision_of(config: FinetuneConfig) -> str:
    """Return fp32, bf16 or fp16: as configured, or the fastest on this machine."""
    from quickstep.backbones.precision import fast_in_bf16

    on_gpu = config.device != "cpu" and torch.cuda.is_available()
    if config.precision == "auto":  # on a CPU bf16 slows small networks, so it must be set
        return "bf16" if on_gpu and fast_in_bf16("torch") else "fp32"
    if config.precision == "fp16" and not on_gpu:
        raise ConfigError("precision", "fp16 needs a GPU; use bf16 or fp32 on a CPU")
    return config.precision


def cores() -> int:
    """Return the cores for decoding: those of this machine, shared by its processes."""
    return max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _no_gpu() -> bool:
    return not torch.cuda.is_available()


def add_up(accelerator: Accelerator, tensors: list[Tensor]) -> list[Tensor]:
    """Return the sum of each tensor over all processes, in one message."""
    if accelerator.num_processes == 1:
        return tensors
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    summed: Any = accelerator.reduce(flat, reduction="sum")
    return [part.view_as(tensor) for part, tensor in zip(summed.split([tensor.numel() for tensor in tensors]), tensors, strict=True)]


def gather_all(accelerator: Accelerator, items: list[Any]) -> list[Any]:
    """Return the items of all processes in one list."""
    if accelerator.num_processes == 1:
        return items
    from accelerate.utils import gather_object

    return list(gather_object(items))


def broadcast_first(accelerator: Accelerator, tensors: list[Tensor]) -> None:
    """Give every process the values of the first."""
    if accelerator.num_processes > 1:
        from accelerate.utils import broadcast

        for tensor in tensors:
            tensor.copy_(broadcast(tensor))


def is_memory_error(error: BaseException) -> bool:
    """Return whether the error says that memory ran out."""
    return isinstance(error, (torch.OutOfMemoryError, RuntimeError)) and any(part in str(error).lower() for part in _MEMORY_ERRORS)


@contextlib.contextmanager
def explain_memory_errors(config: FinetuneConfig, *, together: int, accumulate: int, device: str) -> Iterator[None]:
    """Turn an error about memory into one that says what to reduce."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not is_memory_error(error):
            raise
        ways = [f"`accumulate={2 * accumulate}`"] if together > 1 else []
        ways += ["`auto_batch=True`, which finds it"] if together > 1 and not config.auto_batch else []
        ways += ["fewer `frames`", "a smaller `size`", "a smaller `unfreeze`"]
        ways += ["`precision=bf16`"] if precision_of(config) == "fp32" and device != "cpu" else []
        raise ConfigError(
            "batch",
            f"{together} segments at once do not fit into the memory of {device}: use {', or '.join(ways)}; the saved state is kept",
        ) from error


def fitting_parts(config: FinetuneConfig, together: int, trial: Callable[[int], None]) -> int:
    """Find the number of parts to divide `together` segments into, so that one part fits into memory."""
    parts = config.accumulate
    while True:
        try:
            trial(-(-together // parts))
            return parts
        except (RuntimeError, MemoryError) as error:
            if parts >= together or not (isinstance(error, MemoryError) or is_memory_error(error)):
                raise
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        parts = min(2 * parts, together)
