"""How fast pictures are prepared and encoded here: ratios measured in one run, turn by turn, so that a busy machine harms all alike.

    python -m benchmarks.encoding            # a random ViT-B/32 of real size; nothing is downloaded
    python -m benchmarks.encoding --json

Encoding: frames/s in fp32, in bf16 and with OpenVINO, the cosine to fp32, and the share of this machine's matrix-multiply limit
at the same precision. Preparation: our two ways from a 1080p picture to the network's, against the checkpoint's own processor.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import transformers

from benchmarks.tables import show
from quickstep.backbones import open_backbone
from quickstep.backbones.preprocessing import resize_and_crop
from quickstep.signals.video.scaling import FrameScaler, orientation_of
from quickstep.storage.cache import Cache
from quickstep.types.errors import MissingExtra
from quickstep.types.signals import Frames

SIZE, PATCH, LAYERS, HIDDEN, INNER = 224, 32, 12, 768, 3072
PICTURE = {
    "crop_size": SIZE,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": SIZE,
}


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = {"encoding": encoding(Path(folder), options.rounds), "preparation": preparation(Path(folder), options.rounds)}
    if options.json:
        print(json.dumps(results, indent=2))
        return
    show(
        "Encoding, ViT-B/32",
        ("", "frames/s", "x fp32", "cosine", "of the multiply limit", "limit GFLOP/s"),
        [
            (
                name,
                f"{r['frames_per_second']:.1f}",
                f"{r['ratio']:.2f}",
                f"{r['cosine']:.6f}",
                f"{r['share_of_limit']:.0%}",
                f"{r['limit_gflops']:.0f}",
            )
            for name, r in results["encoding"].items()
        ],
    )
    show(
        "Preparation of 1080p pictures",
        ("", "ms a frame", "x the processor", "mean error of 255"),
        [(name, f"{r['milliseconds']:.2f}", f"{r['ratio']:.1f}", f"{r['error']:.3f}") for name, r in results["preparation"].items()],
    )


def encoding(folder: Path, rounds: int) -> dict[str, Any]:
    """Frames/s of each way of running the same network."""
    checkpoint, cache = make_checkpoint(folder), Cache(folder / "store")
    frames = Frames(pictures(16, SIZE, SIZE), np.arange(16.0))
    runs: dict[str, Callable[[], Any]] = {}
    for name, engine, precision in (
        ("torch fp32", "torch", "fp32"),
        ("torch bf16", "torch", "bf16"),
        ("openvino fp32", "openvino", "fp32"),
        ("openvino bf16", "openvino", "bf16"),
    ):
        backbone = open_backbone(f"hf-image:{checkpoint}", engine=engine, precision=precision, cache=cache)
        try:
            backbone.embed([frames])
        except MissingExtra as error:
            print(f"{name}: left out, {error}")
            continue
        runs[name] = lambda backbone=backbone: backbone.embed([frames])[0].values
    limits = {"fp32": torch.float32, "bf16": torch.bfloat16}
    multiply = {name: multiplication(kind) for name, kind in limits.items()}
    seconds = turn_by_turn({**runs, **multiply}, rounds)
    expected = runs["torch fp32"]()
    rows = {}
    for name, run in runs.items():
        precision = name.split()[1]
        limit = MULTIPLICATION / seconds[precision]
        rows[name] = {
            "frames_per_second": len(frames) / seconds[name],
            "ratio": seconds["torch fp32"] / seconds[name],
            "cosine": smallest_cosine(expected, run()),
            "limit_gflops": limit / 1e9,
            "share_of_limit": len(frames) * work_per_frame() / seconds[name] / limit,
        }
    return rows


def preparation(folder: Path, rounds: int) -> dict[str, Any]:
    """Milliseconds from a 1080p picture to the network's size, ours and the processor's, and how far they differ."""
    backbone = open_backbone(f"hf-image:{make_checkpoint(folder)}", cache=Cache(folder / "store"))
    processor = transformers.CLIPImageProcessorPil(**{key: value for key, value in PICTURE.items() if key != "feature_extractor_type"})
    originals = pictures(4, 1080, 1920)
    decoded = [av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p") for pixels in originals]
    converted = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded])
    scaler = FrameScaler(orientation_of(decoded[0], 1.0), backbone.view)

    def plain() -> Any:
        """Convert each whole frame, then run the processor on it, as most code does."""
        return np.concatenate([processor(frame.to_ndarray(format="rgb24"), return_tensors="np")["pixel_values"] for frame in decoded])

    runs: dict[str, Callable[[], Any]] = {
        "processor, frame by frame": plain,
        "ours, on tensors (raw arrays)": lambda: normalised(resize_and_crop(converted, backbone.view), backbone),
        "ours, scaled while decoding": lambda: normalised(np.stack([scaler.scale(frame) for frame in decoded]), backbone),
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # one thread for each of them, as decoding workers have it
    seconds = turn_by_turn(runs, rounds)
    torch.set_num_threads(threads)
    slow, expected = seconds["processor, frame by frame"], plain()
    spread = np.array(backbone.processor.slope)[:, None, None]  # what one step of a byte is to the network
    return {
        name: {
            "milliseconds": 1000 * seconds[name] / len(decoded),
            "ratio": slow / seconds[name],
            "error": float(np.abs((run() - expected) / spread).mean(axis=(1, 2, 3)).max()),
        }
        for name, run in runs.items()
    }


def normalised(pixels: Any, backbone: Any) -> Any:
    """As the network's first step does it."""
    slope, offset = (
        torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1) for values in (backbone.processor.slope, backbone.processor.offset)
    )
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() * slope + offset).numpy()


MULTIPLICATION = 2 * 2048**3


def multiplication(kind: torch.dtype) -> Callable[[], Any]:
    """Return a product of two large square matrices, which shows the peak speed of this machine."""
    left, right = torch.randn(2048, 2048).to(kind), torch.randn(2048, 2048).to(kind)
    return lambda: left @ right


def work_per_frame() -> float:
    """Floating-point operations of one ViT-B/32 picture."""
    tokens = (SIZE // PATCH) ** 2 + 1
    layer = 4 * tokens * HIDDEN**2 + 2 * tokens**2 * HIDDEN + 2 * tokens * HIDDEN * INNER
    return 2.0 * (LAYERS * layer + (tokens - 1) * 3 * PATCH**2 * HIDDEN)


def turn_by_turn(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Run all in turn and return the fewest seconds of each, which other load on the machine changes least."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if number:  # the first round warms up
                taken[name].append(time.perf_counter() - started)
    return {name: min(durations) for name, durations in taken.items()}


def smallest_cosine(expected: Any, actual: Any) -> float:
    """Return the smallest cosine of the pairs of rows."""
    return float(((expected * actual).sum(1) / np.linalg.norm(expected, axis=1) / np.linalg.norm(actual, axis=1)).min())


def pictures(count: int, height: int, width: int) -> Any:
    """Smooth shapes with some grain, as cameras give."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    frames = np.empty((count, height, width, 3), np.uint8)
    for index in range(count):
        for channel in range(3):
            a, b, phase = rng.uniform(0.005, 0.05), rng.uniform(0.005, 0.05), rng.uniform(0, 6)
            wave = 120 + 90 * np.sin(a * rows + phase) * np.cos(b * columns + phase)
            frames[index, :, :, channel] = np.clip(wave + rng.normal(0, 8, (height, width)), 0, 255)
    return frames


def make_checkpoint(folder: Path) -> Path:
    """Save a random ViT-B/32 of real size in the real format."""
    checkpoint = folder / "vit-b32"
    if not checkpoint.exists():
        torch.manual_seed(0)
        config = transformers.CLIPVisionConfig(
            hidden_size=HIDDEN,
            intermediate_size=INNER,
            num_hidden_layers=LAYERS,
            num_attention_heads=12,
            image_size=SIZE,
            patch_size=PATCH,
            projection_dim=512,
        )
        transformers.utils.logging.disable_progress_bar()
        transformers.CLIPVisionModelWithProjection(config).save_pretrained(checkpoint)
        (checkpoint / "preprocessor_config.json").write_text(json.dumps(PICTURE))
    return checkpoint


if __name__ == "__main__":
    main()
