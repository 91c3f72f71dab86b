"""TorchEngine: runs a network with torch, on the GPU where there is one, in fp32 or with products in bf16."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from quickstep.backbones.precision import device_for

if TYPE_CHECKING:
    from quickstep.backbones.base_network import Network


class TorchEngine:
    """One network, ready to run on batches of one shape.

    On a CPU several batches run in parallel, each on one thread. Splitting one batch over all threads would be as fast on an idle
    machine, but its threads wait for each other after every layer: if one core has other work (such as decoding), it is ten times slower.
    """

    def __init__(self, backbone: Network, precision: str) -> None:
        self.device = device_for("torch")
        self.lower = precision == "bf16"
        self.workers = (os.cpu_count() or 1) if self.device == "cpu" else 1
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="encode")
        self.network = backbone.ready().to(self.device)
        if self.lower:
            _products_in_bf16(self.network)

    def __call__(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """uint8 (B, ...) -> (B, ...), for each batch."""
        if self.device != "cpu":
            yield from map(self._encode, batches)
            return
        rest = iter(batches)
        with one_thread_each():
            while block := list(islice(rest, 4 * self.workers)):
                yield from self._pool.map(self._encode_alone, block)

    def _encode_alone(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        take_one_thread()
        return self._encode(pixels)

    def _encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16, enabled=self.lower):
            vectors: NDArray[np.float32] = self.network(torch.from_numpy(pixels).to(self.device)).cpu().numpy()
        return vectors


def take_one_thread() -> None:
    """Let this thread compute without helpers."""
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)  # each thread has its own setting, read when it first computes


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let threads that start inside compute without helpers, as `take_one_thread` does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _products_in_bf16(network: torch.nn.Module) -> None:
    """Keep the weights of the large products in bf16, and all sums (residuals, norms) in fp32.

    As fast as all in bf16, and about five times closer to fp32: the sums pass through every layer, and their rounding errors add up.
    """
    for module in network.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d, torch.nn.Conv3d)):
            module.to(torch.bfloat16)
