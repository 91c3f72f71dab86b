"""Where it runs: the device, the precision, how many processes; all by way of accelerate. And what is said when memory ends.

The only file that imports accelerate.
"""

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

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def open_accelerator(config: FinetuneConfig) -> Accelerator:
    """What computes, as the config asks; a GPU that is not there is said in one line."""
    from accelerate.state import AcceleratorState

    if config.device == "cuda" and not torch.cuda.is_available():
        why = "this torch is built without CUDA" if torch.version.cuda is None else "no GPU answers (is its driver there?)"
        raise ConfigError("device", f"no GPU can be used here: {why} (torch {torch.__version__}); leave out `device` to compute on the CPU")
    AcceleratorState._reset_state(reset_partial_state="LOCAL_RANK" not in os.environ)  # an earlier run may have asked for other things
    mixed = precision_of(config)
    return accelerate.Accelerator(mixed_precision="no" if mixed == "fp32" else mixed, cpu=config.device == "cpu" or _no_gpu())


def precision_of(config: FinetuneConfig) -> str:
    """fp32, bf16 or fp16: as asked, or what this machine is fast in."""
    from quickstep.backbones.precision import fast_in_bf16

    on_gpu = config.device != "cpu" and torch.cuda.is_available()
    if config.precision == "auto":  # on a CPU narrow networks lose by it, so it has to be asked for
        return "bf16" if on_gpu and fast_in_bf16("torch") else "fp32"
    if config.precision == "fp16" and not on_gpu:
        raise ConfigError("precision", "fp16 needs a GPU: take bf16 or fp32 on a CPU")
    return config.precision


def cores() -> int:
    """How many there are for decoding, shared by the processes of this machine."""
    return max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _no_gpu() -> bool:
    return not torch.cuda.is_available()


def add_up(accelerator: Accelerator, tensors: list[Tensor]) -> list[Tensor]:
    """The sum of each tensor over all processes, by way of one message."""
    if accelerator.num_processes == 1:
        return tensors
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    summed: Any = accelerator.reduce(flat, reduction="sum")
    return [part.view_as(tensor) for part, tensor in zip(summed.split([tensor.numel() for tensor in tensors]), tensors, strict=True)]


def from_all(accelerator: Accelerator, things: list[Any]) -> list[Any]:
    """The things of all processes, in one list."""
    if accelerator.num_processes == 1:
        return things
    from accelerate.utils import gather_object

    return list(gather_object(things))


def as_first(accelerator: Accelerator, tensors: list[Tensor]) -> None:
    """Gives every process the first one's values."""
    if accelerator.num_processes > 1:
        from accelerate.utils import broadcast

        for tensor in tensors:
            tensor.copy_(broadcast(tensor))


def lacks_memory(error: BaseException) -> bool:
    """Whether it says that memory ended."""
    return isinstance(error, (torch.OutOfMemoryError, RuntimeError)) and any(part in str(error).lower() for part in _NO_MEMORY)


@contextlib.contextmanager
def told_of_memory(config: FinetuneConfig, *, together: int, accumulate: int, device: str) -> Iterator[None]:
    """Memory that ends is answered with what to lower."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not lacks_memory(error):
            raise
        ways = [f"`accumulate={2 * accumulate}`"] if together > 1 else []
        ways += ["`auto_batch=True` finds it"] if together > 1 and not config.auto_batch else []
        ways += ["fewer `frames`", "a smaller `size`", "a smaller `unfreeze`"]
        ways += ["`precision=bf16`"] if precision_of(config) == "fp32" and device != "cpu" else []
        raise ConfigError(
            "batch", f"{together} segments at once do not fit into the memory of {device}: {'; or '.join(ways)}; what was learnt is kept"
        ) from error


def fitting_parts(config: FinetuneConfig, together: int, trial: Callable[[int], None]) -> int:
    """Into how many parts `together` segments must be divided, so that a trial of one part fits into memory."""
    parts = config.accumulate
    while True:
        try:
            trial(-(-together // parts))
            return parts
        except (RuntimeError, MemoryError) as error:
            if parts >= together or not (isinstance(error, MemoryError) or lacks_memory(error)):
                raise
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        parts = min(2 * parts, together)
