"""OpenVinoEngine: runs a network with OpenVINO, the fastest on CPUs (extra `openvino`).

Translating a network takes some seconds, so the result is kept beside the computed features.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
import torch
from numpy.typing import NDArray

from quickstep.types.errors import CacheError

if TYPE_CHECKING:
    from quickstep.backbones.base_network import Network

_TRANSLATION = 1  # goes up when the translation changes


class OpenVinoEngine:
    """One network, translated and compiled for batches of one shape."""

    def __init__(self, backbone: Network, precision: str) -> None:
        settings = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32", "PERFORMANCE_HINT": "LATENCY"}
        core = openvino.Core()
        self._compiled = core.compile_model(core.read_model(_translated_file(backbone)), "CPU", settings)

    def __call__(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """uint8 (B, ...) -> (B, ...), for each batch."""
        for pixels in batches:
            yield np.array(self._compiled(np.ascontiguousarray(pixels))[0], np.float32)


def _translated_file(backbone: Network) -> Path:
    """Return the file of the network in OpenVINO's form; it is translated once."""
    key = {**backbone.description, "batch": backbone.together, "library": openvino.__version__, "translation": _TRANSLATION}
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    folder = backbone.cache.folder / "networks" / name
    if not (folder / "network.xml").is_file():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            aside = Path(tempfile.mkdtemp(dir=folder.parent))
            _translate(backbone, aside / "network.xml")
            _move(aside, folder)
        except OSError as error:
            raise CacheError(folder, f"the translated network cannot be written: {error.strerror or error}") from error
    return folder / "network.xml"


def _translate(backbone: Network, file: Path) -> None:
    from quickstep.backbones.checkpoints.transformers_loading import quiet  # imports transformers, which a translated network does not need

    module = backbone.ready()
    example = torch.zeros((backbone.together, *backbone.unit), dtype=torch.uint8)
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")  # tracing warns of branches on shapes, which are fixed here
        network: Any = openvino.convert_model(module, example_input=example, input=list(example.shape))
    openvino.save_model(network, file, compress_to_fp16=False)


def _move(aside: Path, folder: Path) -> None:
    try:
        aside.replace(folder)
    except OSError:
        if not (folder / "network.xml").is_file():
            raise
        shutil.rmtree(aside)  # another process was first
