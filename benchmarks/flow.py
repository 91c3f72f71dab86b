"""Measure speed and error of each method of optical flow with known motions, in one run, on one core.

    python -m benchmarks flow [--pairs 3] [--json]

Speed: pairs of frames a second at a short edge of 224 and of 256 (4:3), in processor time, alternating. Error: mean length of the
difference between the estimated and the true motion, in pixels, on synthetic textures that are moved, rotated and scaled. Camera: a
textured body moves in front of a scene while the camera pans, zooms, rolls and turns; error on the scene, which should not move, and on the
body. "OpenCV's settings" is TV-L1 with its defaults. Cache: size and speed of the compression of a window.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import show
from quickstep.signals.flow import METHODS, PRESETS, FlowConfig
from quickstep.signals.flow.methods import one_thread, open_method, stabilize
from quickstep.signals.flow.reader import FlowEstimator, compress, decompress
from quickstep.types.signals import Frames

Grey = NDArray[np.uint8]
Array = NDArray[np.float64]
Find = Callable[[Grey, Grey], NDArray[np.float32]]

SIZES = {224: (224, 298), 256: (256, 341)}
MARGIN = 20  # pixels at the edge that are excluded: a point there may leave the frame
OWN = "tvl1, OpenCV's settings"


def plane(*, angle: float = 0, zoom: float = 1, right: float = 0, down: float = 0, tilt: tuple[float, float] = (0, 0)) -> Array:
    """Return a motion about the centre of the larger frame, as a 3x3 matrix."""
    height, width = SIZES[256]
    middle = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
    a = np.radians(angle)
    inner = np.array([[zoom * np.cos(a), -zoom * np.sin(a), right], [zoom * np.sin(a), zoom * np.cos(a), down], [*tilt, 1]])
    result: Array = np.linalg.inv(middle) @ inner @ middle
    return result


MOTIONS = {
    "1 px": plane(right=1, down=0.5),
    "7 px": plane(right=-6, down=3),
    "15 px": plane(right=12, down=-9),
    "turned 3°": plane(angle=3),
    "turned 8°": plane(angle=-8),
    "zoom 5 %": plane(zoom=1.05),
    "zoom 10 %": plane(zoom=0.9),
}
CAMERAS = {
    "at rest": plane(),
    "pan 8 px": plane(right=8, down=2),
    "pan 18 px": plane(right=-18, down=3),
    "zoom 4 %": plane(zoom=1.04, right=2),
    "roll 2°": plane(angle=2, right=1),
    "turn": plane(tilt=(2e-4, 1e-4), right=5),
}


def texture(seed: int) -> NDArray[np.float32]:
    """Draw a texture of coarse and fine detail."""
    rng = np.random.default_rng(seed)
    drawn = np.full((800, 900), 128, np.float32)
    for points, height in ((8, 55), (24, 40), (80, 25), (240, 12)):
        drawn += height * cv2.resize(rng.standard_normal((points, points)).astype(np.float32), (900, 800), interpolation=cv2.INTER_CUBIC)
    return np.clip(drawn, 0, 255)


OFFSET = np.array([[1, 0, -260], [0, 1, -240], [0, 0, 1.0]])  # texture -> first picture


def warped(drawn: NDArray[np.float32], motion: Array) -> NDArray[np.float32]:
    """Warp the texture by a motion, as a frame shows it."""
    height, width = SIZES[256]
    return cv2.warpPerspective(drawn, motion @ OFFSET, (width, height), flags=cv2.INTER_CUBIC)


def to_bytes(picture: NDArray[np.float32], rng: np.random.Generator) -> Grey:
    """With a camera's noise."""
    return np.clip(np.rint(picture + rng.normal(0, 1.5, picture.shape)), 0, 255).astype(np.uint8)


def moved(motion: Array) -> Array:
    """How far each point goes, (H, W, 2)."""
    y, x = np.mgrid[: SIZES[256][0], : SIZES[256][1]].astype(float)
    points = np.stack([x, y], axis=-1)
    whole = points @ motion[:, :2].T + motion[:, 2]
    result: Array = whole[..., :2] / whole[..., 2:] - points
    return result


def error(found: NDArray[np.float32], truth: Array, where: NDArray[np.bool_] | None = None) -> float:
    """Return the mean endpoint error in pixels, without a margin."""
    long = np.linalg.norm(found - truth, axis=-1)
    inside = np.zeros(long.shape, bool)
    inside[MARGIN:-MARGIN, MARGIN:-MARGIN] = True
    return float(long[inside if where is None else inside & where].mean())


@dataclass(frozen=True)
class Scene:
    """Two pictures of a body that moves before a scene while the camera moves."""

    before: Grey
    after: Grey
    truth: Array  # of the body without the camera, as seen from where the camera was
    body: NDArray[np.bool_]  # well inside it
    scene: NDArray[np.bool_]  # well outside


def scene(camera: Array, seed: int) -> Scene:
    """Head, trunk and legs, about a sixth of the picture, that go somewhere and lean."""
    rng = np.random.default_rng(seed)
    step = plane(right=rng.uniform(-6, 6), down=rng.uniform(-6, 6), angle=rng.uniform(-5, 5))
    height, width = SIZES[256]
    shape = np.zeros((height, width), np.float32)
    x = int(width / 2 + rng.uniform(-40, 40))
    cv2.circle(shape, (x, 60), 22, 1.0, -1)
    cv2.ellipse(shape, (x, 125), (34, 50), 0, 0, 360, 1.0, -1)
    for side in (-1, 1):
        cv2.line(shape, (x + 12 * side, 165), (x + 30 * side, 235), 1.0, 24)
    grounds = texture(seed), texture(seed + 500)

    def filmed(camera: Array, step: Array) -> NDArray[np.float32]:
        mask = cv2.warpPerspective(shape, camera @ step, (width, height))
        return warped(grounds[0], camera) * (1 - mask) + warped(grounds[1], camera @ step) * mask

    truth = np.where(shape[..., None] > 0.5, moved(step), 0.0)
    body = cv2.erode((shape > 0.5).astype(np.uint8), np.ones((9, 9))) > 0
    far = cv2.dilate((shape > 0.5).astype(np.uint8), np.ones((21, 21))) == 0
    return Scene(to_bytes(filmed(np.eye(3), np.eye(3)), rng), to_bytes(filmed(camera, step), rng), truth, body, far)


def default_tvl1(before: Grey, after: Grey) -> NDArray[np.float32]:
    """Compute TV-L1 with OpenCV's own settings."""
    return cv2.optflow.DualTVL1OpticalFlow.create().calc(before, after, None)  # type: ignore[no-any-return]


def all_methods() -> Iterator[tuple[str, Find]]:
    """Yield every method with every preset."""
    for method in METHODS:
        for preset in PRESETS:
            yield f"{method} {preset}", open_method(FlowConfig(method=method, preset=preset)).between
    yield OWN, default_tvl1


def methods(pairs: int) -> dict[str, dict[str, float]]:
    """Measure speed and error of each method."""
    rows: dict[str, dict[str, float]] = {}
    for name, find in all_methods():
        row: dict[str, float] = {}
        few = 1 if name == OWN else pairs
        for label, motion in MOTIONS.items():
            errors = []
            for seed in range(few):
                rng, drawn = np.random.default_rng(seed), texture(seed)
                errors.append(error(find(to_bytes(warped(drawn, np.eye(3)), rng), to_bytes(warped(drawn, motion), rng)), moved(motion)))
            row[label] = float(np.mean(errors))
        for short, (height, width) in SIZES.items():
            stage = scene(CAMERAS["pan 8 px"], 0)
            before, after = stage.before[:height, :width].copy(), stage.after[:height, :width].copy()
            began, count = time.process_time(), 0
            while count < few or time.process_time() - began < 0.5:
                find(before, after)
                count += 1
            row[f"pairs/s {short}"] = count / (time.process_time() - began)
        rows[name] = row
    for row in rows.values():
        row["x dis"] = row["pairs/s 256"] / rows["dis usual"]["pairs/s 256"]
    return rows


def camera(pairs: int) -> dict[str, dict[str, float]]:
    """Errors on the scene and on the body, with the camera's motion in and without."""
    find = open_method(FlowConfig()).between
    rows: dict[str, dict[str, float]] = {}
    for name, motion in CAMERAS.items():
        errors: dict[str, list[float]] = {}
        for seed in range(pairs):
            stage = scene(motion, seed)
            for way, after in (("as filmed", stage.after), ("camera removed", stabilize(stage.before, stage.after))):
                field = find(stage.before, after)
                for part, where in (("scene", stage.scene), ("body", stage.body)):
                    errors.setdefault(f"{part}, {way}", []).append(error(field, stage.truth, where))
        rows[name] = {way: float(np.mean(values)) for way, values in errors.items()}
        rows[name]["scene, x less"] = rows[name]["scene, as filmed"] / max(rows[name]["scene, camera removed"], 1e-9)
    stage = scene(CAMERAS["pan 8 px"], 0)
    began = time.process_time()
    for _ in range(20):
        stabilize(stage.before, stage.after)
    rows["pan 8 px"]["ms a pair"] = (time.process_time() - began) * 50
    return rows


def cache_costs() -> dict[str, float]:
    """Measure the size of a compressed window of 64 fields, and the speed of its compression relative to its computation."""
    stages = [scene(motion, seed) for seed, motion in enumerate(CAMERAS.values())]
    pictures = [picture for stage in stages for picture in (stage.before, stage.after)]
    window = np.stack([np.repeat(picture[..., None], 3, axis=2) for picture in (pictures * 6)[:65]])
    began = time.process_time()
    with FlowEstimator(FlowConfig()) as estimator:
        levels = estimator.estimate(Frames(window, np.arange(65) / 25)).levels
    computed = time.process_time()
    packed = compress(levels)
    squeezed = time.process_time()
    same = decompress(packed, levels.shape[:3])
    opened = time.process_time()
    assert (same == levels).all()
    return {
        "share of its size": packed.nbytes / levels.nbytes,
        "packing, of the time to find it": (squeezed - computed) / (computed - began),
        "decompression, times as fast as computing": (computed - began) / (opened - squeezed),
    }


def main() -> None:
    """Measure, and print tables or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3, help="pairs of frames for each value")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with one_thread():
        results = {"methods": methods(options.pairs), "camera": camera(options.pairs), "kept": cache_costs()}
    if options.json:
        print(json.dumps(results, indent=2))
        return
    for title, rows in (
        ("Methods: pixels of error, speed on one core", results["methods"]),
        ("The camera: pixels of error", results["camera"]),
    ):
        columns = list(dict.fromkeys(name for row in rows.values() for name in row))
        show(title, ("", *columns), [(name, *(_figure(row.get(column)) for column in columns)) for name, row in rows.items()])
    show("A window of 64 fields in the cache", ("", "ratio"), [(name, f"{value:.2f}") for name, value in results["kept"].items()])


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}"


if __name__ == "__main__":
    main()
