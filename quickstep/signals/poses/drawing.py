"""draw_poses: write a video of skeletons over the original frames, or of stick figures alone.

Decoding, drawing and encoding overlap. A bone is thick and bright where its joints have a high score, thin and pale where they have a low
one. Stick figures contain no pixel of the video: neither a face nor the surroundings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from quickstep.signals.opencv import cv2
from quickstep.signals.video import VideoReader, write_video
from quickstep.signals.video.prefetch import prefetch
from quickstep.types.errors import ConfigError, MediaError
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Poses
from quickstep.types.skeleton import Skeleton
from quickstep.types.view import View

Pixels = NDArray[np.uint8]

MAX_EDGE = 720  # pixels of the shorter edge: a larger video is scaled down
COLOURS = (
    (255, 99, 72),
    (64, 196, 255),
    (255, 202, 40),
    (105, 240, 124),
    (224, 128, 255),
    (255, 138, 198),
    (38, 222, 200),
    (200, 160, 110),
)

_BACKGROUND = (18, 20, 26)  # behind stick figures
_PRESET = "ultrafast"  # larger files for a third of the work: encoding keeps up with the estimator, which needs the processor too
_BATCH = 8  # frames
_MAX_GAP = 0.25  # seconds between two poses, for others to be interpolated between them
_SUBPIXEL_BITS = 4  # binary places of a pixel
_CAPTION_LENGTH = 48  # letters


@dataclass(frozen=True)
class Caption:
    """A text that is shown from `start` to `end` seconds: at one person, or at the top of the frame."""

    start: float
    end: float
    text: str
    person: int | None = None


@dataclass(frozen=True)
class Look:
    """How poses are drawn; `names` replace the numbers of the people."""

    stick_figures: bool = False
    captions: Sequence[Caption] = ()
    names: Mapping[int, str] = field(default_factory=dict)


def draw_poses(
    poses: Poses, out: str | Path, *, video: str | Path | None = None, look: Look | None = None, progress: Progress = silent
) -> None:
    """Write a video of the poses, with the length and frame rate of the original; without one, with the frame rate of the poses."""
    look, out = look or Look(), Path(out)
    if poses.skeleton.dimensions != 2:
        raise ConfigError("draw", f"poses of {poses.skeleton.name} have three dimensions; only those with two can be drawn")
    if video is None and not look.stick_figures:
        raise ConfigError("draw", "without a video only stick figures can be drawn (stick_figures)")
    if out.suffix.lower() not in (".mp4", ".m4v", ".mov"):
        raise ConfigError("draw", f"a video's name ends in .mp4, unlike {out.name}")
    if video is not None and Path(video).resolve() == out.resolve():
        raise ConfigError("draw", f"{out} is the video itself; give another name")
    if video is None:
        times, fps = _even_times(poses, out)
        write_video(out, _stick_figures(poses, times, look, progress), fps=fps, threads=2, preset=_PRESET)
        return
    draw_video(video, lambda moments: (poses.people, interpolate_joints(poses, moments)), out, poses=poses, look=look, progress=progress)


Source = Callable[[NDArray[np.float64]], tuple[tuple[int, ...], NDArray[np.float32]]]  # moments -> people, joints (N, P, K, 3)


def draw_video(video: str | Path, source: Source, out: Path, *, poses: Poses, look: Look, progress: Progress = silent) -> None:
    """Draw the people that `source` returns for each moment on the frames of a video; `poses` give their skeleton and frame size."""
    with VideoReader(video, threads=2) as reader:
        info = reader.info
        fps = min(max(info.fps or 25.0, 1.0), 120.0)
        times = np.arange(max(1, round(info.duration * fps))) / fps
        view = View(frames=1, size=min(MAX_EDGE, info.width, info.height), fit="whole") if min(info.width, info.height) >= 8 else None
        batches = _blank(len(times), info.width, info.height) if look.stick_figures else _frames(reader, times, view)
        canvas = replace(poses, joints=poses.joints[:0], times=poses.times[:0], size=poses.size or (info.width, info.height))
        decoding = prefetch(batches, size=2, name="decode")
        drawing = prefetch(_drawn(decoding, times, source, (canvas, look), progress), size=2, name="draw")
        try:
            write_video(out, (frame for batch in drawing for frame in batch), fps=fps, threads=2, preset=_PRESET)
        finally:  # the threads must end before the reader is closed
            drawing.close()
            decoding.close()


def draw_bodies(
    picture: Pixels,
    joints: NDArray[np.float32],
    people: Sequence[int],
    skeleton: Skeleton,
    *,
    look: Look | None = None,
    at: float = 0.0,
) -> None:
    """Draw the joints (P, K, 3) of people into a frame, in its pixels, with the captions of this moment."""
    look = look or Look()
    for person, body in zip(people, joints, strict=True):
        if (body[:, 2] > 0).any():
            colour = COLOURS[(person - 1) % len(COLOURS)]
            _body(picture, body, skeleton, colour)
            texts = [look.names.get(person, f"person {person}"), *_captions(look, person, at)]
            if any(texts):
                _name(picture, body, " · ".join(filter(None, texts)), colour)
    captions = _captions(look, None, at)
    if captions:
        height = _letter_height(picture)
        _write(picture, "   ".join(captions), (height // 2, height // 2), round(1.4 * height), (255, 255, 255))


def write_line(picture: Pixels, text: str) -> None:
    """Write a line at the top of a frame."""
    height = _letter_height(picture)
    _write(picture, text, (height // 2, height // 2), round(1.6 * height), (255, 255, 255))


def _captions(look: Look, person: int | None, at: float) -> list[str]:
    return [caption.text for caption in look.captions if caption.person == person and caption.start <= at < caption.end]


# -- frames ------------------------------------------------------------------------------------------------------------------


def _frames(reader: VideoReader, times: NDArray[np.float64], view: View | None) -> Iterator[Pixels]:
    """Yield the video's frames in batches (T, H, W, 3), of an even width and height."""
    for frames in reader.windows([times[at : at + _BATCH] for at in range(0, len(times), _BATCH)], view=view):
        height, width = frames.pixels.shape[1:3]
        if width < 2 or height < 2:
            raise MediaError(reader.path, f"is too small to draw on ({width}x{height})")
        yield frames.pixels[:, : height // 2 * 2, : width // 2 * 2]


def _blank(count: int, width: int, height: int) -> Iterator[Pixels]:
    """Yield empty frames in batches, in a video's shape."""
    scale = min(1.0, MAX_EDGE / min(width, height))
    size = max(2, round(height * scale) // 2 * 2), max(2, round(width * scale) // 2 * 2)
    for at in range(0, count, _BATCH):
        yield np.full((min(_BATCH, count - at), *size, 3), _BACKGROUND, np.uint8)


def _drawn(
    batches: Iterable[Pixels], times: NDArray[np.float64], source: Source, of: tuple[Poses, Look], progress: Progress
) -> Iterator[list[Pixels]]:
    """Draw the people of each moment into batches of frames."""
    canvas, look = of
    assert canvas.size is not None
    done = 0
    for batch in batches:
        scale = np.array([batch.shape[2] / canvas.size[0], batch.shape[1] / canvas.size[1], 1], np.float32)
        moments = times[done : done + len(batch)]
        people, joints = source(moments)
        drawn = []
        for pixels, at, bodies in zip(batch, moments.tolist(), joints, strict=True):
            picture = pixels.copy()
            draw_bodies(picture, bodies * scale, people, canvas.skeleton, look=look, at=at)
            drawn.append(picture)
        done += len(batch)
        progress("drawing", done, len(times))
        yield drawn


def _stick_figures(poses: Poses, times: NDArray[np.float64], look: Look, progress: Progress) -> Iterator[Pixels]:
    """Draw stick figures of poses without their video."""
    points = poses.joints[poses.seen][:, :2]
    low, high = (points.min(axis=0), points.max(axis=0)) if len(points) else (np.zeros(2), np.ones(2))
    joints = interpolate_joints(poses, times)
    if poses.size is not None:
        size = poses.size
    else:  # the extent of the joints, with a margin
        spread = float(max(high - low).item() if len(points) else 1.0) or 1.0
        scale = 640 / spread
        joints[..., :2] = (joints[..., :2] - (low - 0.1 * spread)) * scale
        wide, tall = ((high - low + 0.2 * spread) * scale).tolist()
        size = max(16, round(wide)), max(16, round(tall))

    def source(moments: NDArray[np.float64]) -> tuple[tuple[int, ...], NDArray[np.float32]]:
        first = int(np.searchsorted(times, moments[0]))
        return poses.people, joints[first : first + len(moments)]

    for batch in _drawn(_blank(len(times), *size), times, source, (replace(poses, size=size), look), progress):
        yield from batch


def _even_times(poses: Poses, out: Path) -> tuple[NDArray[np.float64], float]:
    """Return evenly spaced times over the poses, and their frame rate."""
    if not len(poses):
        raise MediaError(out, "cannot be drawn: there are no poses")
    step = float(np.median(np.diff(poses.times))) if len(poses) > 1 else 0.04
    fps = min(max(1 / step, 1.0), 120.0)
    return poses.times[0] + np.arange(max(1, round((poses.times[-1] - poses.times[0]) * fps) + 1)) / fps, fps


def interpolate_joints(poses: Poses, times: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the joints at other moments (N, P, K, 3): interpolated between two near poses, else from one near pose, else invisible."""
    if not len(poses):
        return np.zeros((len(times), len(poses.people), len(poses.skeleton), 3), np.float32)
    after = np.clip(np.searchsorted(poses.times, times), 0, len(poses) - 1)
    before = np.maximum(np.where(poses.times[after] > times, after - 1, after), 0)
    gap = poses.times[after] - poses.times[before]
    share = np.where(gap > 0, (times - poses.times[before]) / np.where(gap > 0, gap, 1), 0).astype(np.float32)
    early, late = poses.joints[before], poses.joints[after]
    visible = (early[..., -1] > 0).any(axis=2), (late[..., -1] > 0).any(axis=2)  # (N, P)
    fraction = share[:, None, None, None]
    joints = (1 - fraction) * early + fraction * late
    joints[..., -1] = np.where(np.isfinite(joints[..., 0]), joints[..., -1], 0)
    joints = np.where((visible[0] & ~visible[1] & (share < 0.5)[:, None])[..., None, None], early, joints)
    joints = np.where((visible[1] & ~visible[0] & (share >= 0.5)[:, None])[..., None, None], late, joints)
    far = np.minimum(np.abs(times - poses.times[before]), np.abs(times - poses.times[after])) > _MAX_GAP / 2
    joints[far | (gap > 2 * _MAX_GAP)] = 0
    joints[joints[..., -1] <= 0] = 0
    return np.nan_to_num(joints).astype(np.float32)


# -- lines -------------------------------------------------------------------------------------------------------------------


def _body(picture: Pixels, joints: NDArray[np.float32], skeleton: Skeleton, colour: tuple[int, int, int]) -> None:
    """Draw bones, then joints."""
    scores = joints[:, 2]
    points = np.clip(np.round(joints[:, :2] * 2**_SUBPIXEL_BITS), -(2**26), 2**26).astype(int)
    width = max(1.0, min(picture.shape[:2]) / 110)
    for one, other in skeleton.edges:
        if scores[one] > 0 and scores[other] > 0:
            score = float(min(scores[one], scores[other]))
            stroke = max(1, round(width * (0.25 + 0.75 * score)))
            cv2.line(picture, points[one].tolist(), points[other].tolist(), _faded(colour, score), stroke, cv2.LINE_AA, _SUBPIXEL_BITS)
    for joint in np.flatnonzero(scores > 0):
        score = float(scores[joint])
        radius = round(width * (0.35 + 0.5 * score) * 2**_SUBPIXEL_BITS)
        cv2.circle(
            picture,
            points[joint].tolist(),
            max(2**_SUBPIXEL_BITS, radius),
            _faded(tuple((c + 255) // 2 for c in colour), score),
            -1,
            cv2.LINE_AA,
            _SUBPIXEL_BITS,
        )


def _faded(colour: tuple[int, ...], score: float) -> tuple[int, ...]:
    """Return the colour, greyer for a lower score."""
    share = 0.25 + 0.75 * min(1.0, max(0.0, score))
    return tuple(round(share * part + (1 - share) * 110) for part in colour)


def _name(picture: Pixels, joints: NDArray[np.float32], text: str, colour: tuple[int, int, int]) -> None:
    """Write a person's name above the joints with a high score."""
    certain = joints[:, 2] >= min(0.3, float(joints[:, 2].max()))
    height = _letter_height(picture)
    x, y = float(joints[certain, 0].mean()), float(joints[certain, 1].min()) - 2.2 * height
    mask = _mask(text[:_CAPTION_LENGTH], height)
    _write(picture, text, (round(x - mask.shape[1] / 2), round(y)), height, colour)


def _letter_height(picture: Pixels) -> int:
    return max(10, int(min(picture.shape[:2])) // 26)


def _write(picture: Pixels, text: str, where: tuple[int, int], height: int, colour: tuple[int, int, int]) -> None:
    """Write text on a darkened strip, moved so that it is completely in the frame if it fits."""
    mask = _mask(text[:_CAPTION_LENGTH], height)[: picture.shape[0], : picture.shape[1]]
    left = min(max(0, where[0]), picture.shape[1] - mask.shape[1])
    top = min(max(0, where[1]), picture.shape[0] - mask.shape[0])
    part = picture[top : top + mask.shape[0], left : left + mask.shape[1]]
    share = (mask[..., None].astype(np.float32)) / 255
    part[:] = (part * 0.45 * (1 - share) + np.array(colour, np.float32) * share).astype(np.uint8)


@lru_cache(maxsize=256)
def _mask(text: str, height: int) -> NDArray[np.uint8]:
    """Return how much of each pixel the letters cover, with a margin."""
    font = _font(height)
    left, top, right, bottom = font.getbbox(text or " ")
    margin = height // 3
    image = Image.new("L", (round(right - left) + 2 * margin, round(max(bottom - top, height)) + margin))
    ImageDraw.Draw(image).text((margin - left, margin // 2 - top), text, fill=255, font=font)
    return np.asarray(image)


@cache
def _font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(height)
