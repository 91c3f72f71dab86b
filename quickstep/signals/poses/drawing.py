"""draw_poses: skeletons over their video, or stick figures alone, as a new video; knows no estimator.

Decoding, drawing and encoding overlap. A bone is thick and bright where its joints are sure, thin and pale where they are not. Stick
figures show no pixel of the video: nobody's face and nobody's room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from quickstep.signals.video import VideoReader, write_video
from quickstep.signals.video.prefetch import prefetch
from quickstep.types.errors import ConfigError, MediaError
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Poses
from quickstep.types.skeleton import Skeleton
from quickstep.types.view import View

Pixels = NDArray[np.uint8]

LARGEST = 720  # pixels of the shorter edge: a larger video is drawn smaller
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

_PAPER = (18, 20, 26)  # behind stick figures
_QUICK = "ultrafast"  # larger files, and a third of the work: encoding keeps up with the estimator, which needs the processor too
_AT_ONCE = 8  # frames
_APART = 0.25  # seconds between two poses at most, so that one can be drawn between them
_FINE = 4  # binary places of a pixel to which lines are drawn
_LONGEST = 48  # letters of a caption


@dataclass(frozen=True)
class Caption:
    """What is written during some seconds: beside one person, or above all."""

    start: float
    end: float
    text: str
    person: int | None = None


@dataclass(frozen=True)
class Look:
    """How poses are drawn; `names` say what the people are called instead of by number."""

    stick_figures: bool = False
    captions: Sequence[Caption] = ()
    names: Mapping[int, str] = field(default_factory=dict)


def draw_poses(
    poses: Poses, out: str | Path, *, video: str | Path | None = None, look: Look | None = None, progress: Progress = silent
) -> None:
    """Write a video of the poses, as long and as fast as the one they are of; without one, as fast as they were found."""
    look, out = look or Look(), Path(out)
    if poses.skeleton.dimensions != 2:
        raise ConfigError("draw", f"poses of {poses.skeleton.name} stand in space; only those in a picture can be drawn")
    if video is None and not look.stick_figures:
        raise ConfigError("draw", "there is no video to draw on; ask for --stick-figures")
    if out.suffix.lower() not in (".mp4", ".m4v", ".mov"):
        raise ConfigError("draw", f"a video's name ends in .mp4, unlike {out.name}")
    if video is not None and Path(video).resolve() == out.resolve():
        raise ConfigError("draw", f"{out} is the video itself; give another name")
    if video is None:
        times, fps = _moments_of(poses, out)
        write_video(out, _papers(poses, times, look, progress), fps=fps, threads=2, preset=_QUICK)
        return
    draw_video(video, lambda moments: (poses.people, joints_at(poses, moments)), out, poses=poses, look=look, progress=progress)


Source = Callable[[NDArray[np.float64]], tuple[tuple[int, ...], NDArray[np.float32]]]  # moments -> people, joints (N, P, K, 3)


def draw_video(video: str | Path, source: Source, out: Path, *, poses: Poses, look: Look, progress: Progress = silent) -> None:
    """Draw what `source` knows of each moment on a video's pictures; `poses` say whose joints those are, and of what size of picture."""
    with VideoReader(video, threads=2) as reader:
        info = reader.info
        fps = min(max(info.fps or 25.0, 1.0), 120.0)
        times = np.arange(max(1, round(info.duration * fps))) / fps
        view = View(frames=1, size=min(LARGEST, info.width, info.height), fit="whole") if min(info.width, info.height) >= 8 else None
        pictures = _blank(len(times), info.width, info.height) if look.stick_figures else _pictures(reader, times, view)
        canvas = replace(poses, joints=poses.joints[:0], times=poses.times[:0], size=poses.size or (info.width, info.height))
        decoding = prefetch(pictures, size=2, name="decode")
        drawing = prefetch(_drawn(decoding, times, source, (canvas, look), progress), size=2, name="draw")
        try:
            write_video(out, (picture for part in drawing for picture in part), fps=fps, threads=2, preset=_QUICK)
        finally:  # whatever went wrong: their threads end before the reader is closed under them
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
    """Draw everybody's joints (P, K, 3), in pixels of the picture, into it, and what is said at that moment."""
    look = look or Look()
    for person, body in zip(people, joints, strict=True):
        if (body[:, 2] > 0).any():
            colour = COLOURS[(person - 1) % len(COLOURS)]
            _body(picture, body, skeleton, colour)
            told = [look.names.get(person, f"person {person}"), *_captions(look, person, at)]
            if any(told):
                _name(picture, body, " · ".join(filter(None, told)), colour)
    above = _captions(look, None, at)
    if above:
        height = _letters(picture)
        _write(picture, "   ".join(above), (height // 2, height // 2), round(1.4 * height), (255, 255, 255))


def write_line(picture: Pixels, text: str) -> None:
    """A line above everything, in the picture itself."""
    height = _letters(picture)
    _write(picture, text, (height // 2, height // 2), round(1.6 * height), (255, 255, 255))


def _captions(look: Look, person: int | None, at: float) -> list[str]:
    return [each.text for each in look.captions if each.person == person and each.start <= at < each.end]


# -- frames ------------------------------------------------------------------------------------------------------------------


def _pictures(reader: VideoReader, times: NDArray[np.float64], view: View | None) -> Iterator[Pixels]:
    """The video's pictures, some at a time (T, H, W, 3), of an even width and height."""
    for frames in reader.windows([times[at : at + _AT_ONCE] for at in range(0, len(times), _AT_ONCE)], view=view):
        height, width = frames.pixels.shape[1:3]
        if width < 2 or height < 2:
            raise MediaError(reader.path, f"is too small to draw on ({width}x{height})")
        yield frames.pixels[:, : height // 2 * 2, : width // 2 * 2]


def _blank(count: int, width: int, height: int) -> Iterator[Pixels]:
    """Empty paper of a video's shape."""
    scale = min(1.0, LARGEST / min(width, height))
    size = max(2, round(height * scale) // 2 * 2), max(2, round(width * scale) // 2 * 2)
    for at in range(0, count, _AT_ONCE):
        yield np.full((min(_AT_ONCE, count - at), *size, 3), _PAPER, np.uint8)


def _drawn(
    parts: Iterable[Pixels], times: NDArray[np.float64], source: Source, of: tuple[Poses, Look], progress: Progress
) -> Iterator[list[Pixels]]:
    """The pictures with what is to be seen on them."""
    canvas, look = of
    assert canvas.size is not None
    done = 0
    for part in parts:
        scale = np.array([part.shape[2] / canvas.size[0], part.shape[1] / canvas.size[1], 1], np.float32)
        moments = times[done : done + len(part)]
        people, joints = source(moments)
        pictures = []
        for pixels, at, bodies in zip(part, moments.tolist(), joints, strict=True):
            picture = pixels.copy()
            draw_bodies(picture, bodies * scale, people, canvas.skeleton, look=look, at=at)
            pictures.append(picture)
        done += len(part)
        progress("drawing", done, len(times))
        yield pictures


def _papers(poses: Poses, times: NDArray[np.float64], look: Look, progress: Progress) -> Iterator[Pixels]:
    """Stick figures of poses whose video is not here."""
    seen = poses.joints[poses.seen][:, :2]
    low, high = (seen.min(axis=0), seen.max(axis=0)) if len(seen) else (np.zeros(2), np.ones(2))
    joints = joints_at(poses, times)
    if poses.size is not None:
        size = poses.size
    else:  # what the joints say, with a margin
        spread = float(max(high - low).item() if len(seen) else 1.0) or 1.0
        scale = 640 / spread
        joints[..., :2] = (joints[..., :2] - (low - 0.1 * spread)) * scale
        wide, tall = ((high - low + 0.2 * spread) * scale).tolist()
        size = max(16, round(wide)), max(16, round(tall))

    def source(moments: NDArray[np.float64]) -> tuple[tuple[int, ...], NDArray[np.float32]]:
        first = int(np.searchsorted(times, moments[0]))
        return poses.people, joints[first : first + len(moments)]

    for part in _drawn(_blank(len(times), *size), times, source, (replace(poses, size=size), look), progress):
        yield from part


def _moments_of(poses: Poses, out: Path) -> tuple[NDArray[np.float64], float]:
    if not len(poses):
        raise MediaError(out, "there is nothing to draw: no moment was looked at")
    step = float(np.median(np.diff(poses.times))) if len(poses) > 1 else 0.04
    fps = min(max(1 / step, 1.0), 120.0)
    return poses.times[0] + np.arange(max(1, round((poses.times[-1] - poses.times[0]) * fps) + 1)) / fps, fps


def joints_at(poses: Poses, times: NDArray[np.float64]) -> NDArray[np.float32]:
    """The joints at other moments (N, P, K, 3): between two poses that are near, on the way; else as in one that is near; else unseen."""
    if not len(poses):
        return np.zeros((len(times), len(poses.people), len(poses.skeleton), 3), np.float32)
    after = np.clip(np.searchsorted(poses.times, times), 0, len(poses) - 1)
    before = np.maximum(np.where(poses.times[after] > times, after - 1, after), 0)
    gap = poses.times[after] - poses.times[before]
    share = np.where(gap > 0, (times - poses.times[before]) / np.where(gap > 0, gap, 1), 0).astype(np.float32)
    early, late = poses.joints[before], poses.joints[after]
    there = (early[..., -1] > 0).any(axis=2), (late[..., -1] > 0).any(axis=2)  # (N, P)
    way = share[:, None, None, None]
    joints = (1 - way) * early + way * late
    joints[..., -1] = np.where(np.isfinite(joints[..., 0]), joints[..., -1], 0)
    joints = np.where((there[0] & ~there[1] & (share < 0.5)[:, None])[..., None, None], early, joints)
    joints = np.where((there[1] & ~there[0] & (share >= 0.5)[:, None])[..., None, None], late, joints)
    far = np.minimum(np.abs(times - poses.times[before]), np.abs(times - poses.times[after])) > _APART / 2
    joints[far | (gap > 2 * _APART)] = 0
    joints[joints[..., -1] <= 0] = 0
    return np.nan_to_num(joints).astype(np.float32)


# -- strokes -----------------------------------------------------------------------------------------------------------------


def _body(picture: Pixels, joints: NDArray[np.float32], skeleton: Skeleton, colour: tuple[int, int, int]) -> None:
    """Bones, then joints."""
    sure = joints[:, 2]
    points = np.clip(np.round(joints[:, :2] * 2**_FINE), -(2**26), 2**26).astype(int)
    width = max(1.0, min(picture.shape[:2]) / 110)
    for one, other in skeleton.edges:
        if sure[one] > 0 and sure[other] > 0:
            score = float(min(sure[one], sure[other]))
            stroke = max(1, round(width * (0.25 + 0.75 * score)))
            cv2.line(picture, points[one].tolist(), points[other].tolist(), _faded(colour, score), stroke, cv2.LINE_AA, _FINE)
    for joint in np.flatnonzero(sure > 0):
        score = float(sure[joint])
        radius = round(width * (0.35 + 0.5 * score) * 2**_FINE)
        cv2.circle(
            picture,
            points[joint].tolist(),
            max(2**_FINE, radius),
            _faded(tuple((c + 255) // 2 for c in colour), score),
            -1,
            cv2.LINE_AA,
            _FINE,
        )


def _faded(colour: tuple[int, ...], score: float) -> tuple[int, ...]:
    """The colour, greyer where it is less sure."""
    share = 0.25 + 0.75 * min(1.0, max(0.0, score))
    return tuple(round(share * part + (1 - share) * 110) for part in colour)


def _name(picture: Pixels, joints: NDArray[np.float32], text: str, colour: tuple[int, int, int]) -> None:
    """The person's name above the surer joints."""
    sure = joints[:, 2] >= min(0.3, float(joints[:, 2].max()))
    height = _letters(picture)
    x, y = float(joints[sure, 0].mean()), float(joints[sure, 1].min()) - 2.2 * height
    mask = _mask(text[:_LONGEST], height)
    _write(picture, text, (round(x - mask.shape[1] / 2), round(y)), height, colour)


def _letters(picture: Pixels) -> int:
    return max(10, int(min(picture.shape[:2])) // 26)


def _write(picture: Pixels, text: str, where: tuple[int, int], height: int, colour: tuple[int, int, int]) -> None:
    """Letters on a darkened strip, moved so that they are wholly in the picture where they fit."""
    mask = _mask(text[:_LONGEST], height)[: picture.shape[0], : picture.shape[1]]
    left = min(max(0, where[0]), picture.shape[1] - mask.shape[1])
    top = min(max(0, where[1]), picture.shape[0] - mask.shape[0])
    part = picture[top : top + mask.shape[0], left : left + mask.shape[1]]
    share = (mask[..., None].astype(np.float32)) / 255
    part[:] = (part * 0.45 * (1 - share) + np.array(colour, np.float32) * share).astype(np.uint8)


@lru_cache(maxsize=256)
def _mask(text: str, height: int) -> NDArray[np.uint8]:
    """How much of each pixel the letters cover, with a margin."""
    font = _font(height)
    left, top, right, bottom = font.getbbox(text or " ")
    margin = height // 3
    image = Image.new("L", (round(right - left) + 2 * margin, round(max(bottom - top, height)) + margin))
    ImageDraw.Draw(image).text((margin - left, margin // 2 - top), text, fill=255, font=font)
    return np.asarray(image)


@cache
def _font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(height)
