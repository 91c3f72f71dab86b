"""A step of fine-tuning: how long it takes, how much of it is waiting for data, and what bf16 is worth.

    python -m benchmarks.finetune [--videos 24] [--seconds 6] [--size 640x480] [--batch 4] [--frames 16] [--picture 112] [--width 0.5]

The loop is the one that `finetune` runs, decoding and changing of pictures included, at a size where a step takes about a second on two
cores; on a GPU too, where there is one (give it --width 1 --picture 224 --frames 64). Products in bf16 and fp32 are timed on the same
batch, without data.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.tables import show
from benchmarks.throughput import draw_videos
from quickstep.backbones import open_backbone
from quickstep.backbones.precision import fast_in_bf16
from quickstep.datasets.manifest import Manifest
from quickstep.training.augmentation.augment import Augment
from quickstep.training.finetuning import FinetuneConfig, finetune
from quickstep.training.finetuning.trainable_model import build_model
from quickstep.types.segment import Segment


def labelled(folder: Path, args: argparse.Namespace) -> Manifest:
    """Drawn videos with labels that mean nothing."""
    width, height = map(int, args.size.split("x"))
    paths = draw_videos(folder, args.videos, (width, height), args.seconds)
    held = [Segment(path, "ab"[n % 2], group=str(n), split="val" if n < 2 else "train") for n, path in enumerate(paths)]
    return Manifest(tuple(held), folder)


def config_of(args: argparse.Namespace, device: str, precision: str) -> FinetuneConfig:
    """Return the fine-tuning settings of a run."""
    return FinetuneConfig(
        backbone="i3d-rgb", init="scratch", width=args.width, frames=args.frames, fps=12.5, size=args.picture, batch=args.batch,
        epochs=args.epochs, device=device, precision=precision, patience=args.epochs, auto_batch=device == "cuda",
    )  # fmt: skip


def waiting(manifest: Manifest, config: FinetuneConfig, augment: Augment) -> tuple[str, str]:
    """Seconds a step, and the share of them that is waiting for data."""
    times: list[float] = []

    def heard(stage: str, _done: int, _total: int) -> None:
        if stage == "tuning":
            times.append(time.perf_counter())

    result = finetune(manifest, config, augment=augment, progress=heard)
    steps = len(times) // config.epochs
    inside = [b - a for n, (a, b) in enumerate(zip(times, times[1:])) if (n + 1) % steps]  # noqa: RUF007 - between epochs is validation
    return f"{np.median(inside):.2f} s", f"{result.waiting:.1%}"


def products(config: FinetuneConfig, device: str, repeats: int = 5) -> float:
    """Seconds of forward and backward of one batch that is at hand."""
    backbone = open_backbone("i3d-rgb", init="scratch", width=config.width)
    tuning = build_model(backbone, config, classes=2, width=backbone.width, layer=None).to(device).learn()  # type: ignore[arg-type]
    windows = torch.zeros((config.batch, config.frames or 16, config.size or 112, config.size or 112, 3), dtype=torch.uint8, device=device)
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=config.precision == "bf16"):
            loss = tuning(windows).float().square().sum()
        loss.backward()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return best


def main() -> None:
    """Measure the speed of fine-tuning, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each")
    parser.add_argument("--size", default="640x480", help="of the videos")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--picture", type=int, default=112, help="pixels that the network sees")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["QUICKSTEP_CACHE"] = f"{temporary}/cache"
        manifest = labelled(Path(temporary) / "videos", args)
        rows, ratios = [], []
        for device in devices:
            precision = "bf16" if device == "cuda" else "fp32"
            for name, augment in (("as tested", Augment(augment=0.0)), ("changed, --augment 0.5", Augment())):
                rows.append((f"{device} {precision}, {name}", *waiting(manifest, config_of(args, device, precision), augment)))
            if fast_in_bf16("torch") or device == "cuda":
                full, half = (products(config_of(args, device, kind), device) for kind in ("fp32", "bf16"))
                ratios.append((device, f"{full:.3f} s", f"{half:.3f} s", f"{full / half:.2f}x"))
            else:
                ratios.append((device, f"{products(config_of(args, device, 'fp32'), device):.3f} s", "not fast in bf16", ""))
    show(f"a step of {args.batch} windows of {args.frames} frames, {args.size} videos", ("", "a step", "waiting for data"), rows)
    show("the network alone", ("", "fp32", "bf16", "fp32 / bf16"), ratios)


if __name__ == "__main__":
    main()
