"""What somebody asks -> a vector: their words, or an example of what they look for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quickstep.backbones import Backbone, with_words
from quickstep.library.table import Library
from quickstep.library.video_metadata import full
from quickstep.library.windows import Vectors, mean_of, unit
from quickstep.models.feature_extraction import extract
from quickstep.storage.cache import Cache, hash_of
from quickstep.types.errors import ConfigError, LibraryError, QuickstepError
from quickstep.types.segment import Segment

_SPAN = re.compile(r"(?P<path>.+)@(?P<start>[\d:.]+)-(?P<end>[\d:.]*)", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Example:
    """A video, or a span of it, that shows what is looked for."""

    segment: Segment
    vector: Vectors  # (D,)

    @property
    def path(self) -> str:
        """As the library spells it."""
        return full(self.segment.path)


def words_to_vector(words: str, backbone: Backbone, library: Library) -> Vectors:
    """The direction in which a sentence points."""
    if not words.strip():
        raise QuickstepError("the words to look for are empty; say what to find, or give --like or --label")
    vectors: Vectors = texts_to_vectors((words.strip(),), backbone, library, cache=None)
    return np.asarray(vectors[0], dtype=np.float32)


def texts_to_vectors(texts: tuple[str, ...], backbone: Backbone, library: Library, *, cache: Cache | None) -> Vectors:
    """One vector of length 1 a text (N, D); with a cache they are made once."""
    reader = with_words(backbone)
    key = {"kind": "texts", "texts": hash_of(list(texts)), "backbone": dict(backbone.identity)}
    kept = cache.get(key) if cache is not None else None
    if kept is None:
        kept = {"vectors": np.asarray(reader.embed_text(texts), dtype=np.float32)}
        if cache is not None:
            cache.put(key, kept)
    vectors = kept["vectors"]
    if vectors.shape != (len(texts), library.card.width):
        raise LibraryError(
            library.uri, f"holds vectors of {library.card.width} numbers, and the words of {backbone.name} have {vectors.shape[1]}"
        )
    made: Vectors = unit(vectors)
    return made


def example_to_vector(like: str, backbone: Backbone, library: Library, *, cache: Cache) -> Example:
    """What an example looks like, seen as the library sees its windows."""
    segment = read_example(like)
    found = extract([segment], backbone, view=library.card.looking, cache=cache).check(strict=True)
    return Example(segment, mean_of(unit(found.features[segment].values)))


def read_example(like: str) -> Segment:
    """`video.mp4`, `video.mp4@12.5-16` or `video.mp4@1:02-1:10`; a file that is really called so is that file."""
    match = _SPAN.fullmatch(like)
    if match is None or Path(like).expanduser().exists():
        return Segment(Path(like).expanduser())
    start, end = (_seconds(match[part], like) for part in ("start", "end"))
    if end is not None and end <= (start or 0.0):
        raise ConfigError("like", f"{like}: a span ends after its start")
    return Segment(Path(match["path"]).expanduser(), start=start or 0.0, end=end)


def _seconds(text: str, like: str) -> float | None:
    if not text:
        return None
    try:
        parts = [float(part) for part in text.split(":")]
        return sum((part * 60.0**place for place, part in enumerate(reversed(parts))), 0.0)
    except ValueError:
        raise ConfigError("like", f"{like}: {text!r} is no time; write VIDEO@12.5-16 or VIDEO@1:02-1:10") from None
