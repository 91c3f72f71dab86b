"""What is asked of a library: words or an example as a vector, and which windows may answer, as SQL. Finds nothing itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quickstep.backbones import Backbone
from quickstep.library import match_threshold
from quickstep.library.config import SearchConfig
from quickstep.library.match_threshold import Cutoff
from quickstep.library.query_vectors import example_to_vector, words_to_vector
from quickstep.library.schema import described, quoted
from quickstep.library.table import Library
from quickstep.library.windows import Vectors
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, QuickstepError


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of a library, ready to be held against it."""

    text: str
    where: str  # SQL: the windows that may answer
    vector: Vectors | None = None
    label: str | None = None


def ask_words(library: Library, words: str, backbone: Backbone, where: str, cache: Cache) -> tuple[Question, Cutoff | None]:
    """Words, ready to be held against the windows of which `where` is true, and from which score on they match."""
    question = Question(words.strip(), where, words_to_vector(words, backbone, library))
    return _checked(question, backbone), match_threshold.of_words(library, backbone, where, cache)


def ask_example(library: Library, like: str, backbone: Backbone, where: str, cache: Cache) -> tuple[Question, Cutoff | None]:
    """An example in the same way; what it was taken from does not answer."""
    example = example_to_vector(like, backbone, library, cache=cache)
    span, own = example.segment, f"path = {quoted(example.path)}"
    if span.start or span.end is not None:  # other moments of the same video may answer
        own += f" AND end > {span.start!r}" + (f" AND start < {span.end!r}" if span.end is not None else "")
    question = _checked(Question(f"like {like}", f"({where}) AND NOT ({own})", example.vector), backbone)
    return question, match_threshold.of_example(library, example.vector, where, cache, digest=cache.digest(span.path))


def _checked(question: Question, backbone: Backbone) -> Question:
    assert question.vector is not None
    if not np.isfinite(question.vector).all() or not question.vector.any():
        raise QuickstepError(f"{backbone.name} makes nothing of {question.text!r}")
    return question


def windows_asked(library: Library, config: SearchConfig) -> str:
    """The windows that may answer: those of files that are there, and what else was asked."""
    clauses = ["NOT gone"]
    if config.where is not None:
        _check_where(library, config.where)
        clauses.append(f"({config.where}\n)")
    if config.label is not None:
        label = quoted(config.label)
        if config.min_score is None:
            clauses.append(f"array_element(names, 1) = {label}")
        else:
            place = f"cast(array_position(names, {label}) as bigint)"
            clauses.append(f"(array_has(names, {label}) AND array_element(scores, {place}) >= {config.min_score - 1e-7!r})")
    return " AND ".join(clauses)


def _check_where(library: Library, where: str) -> None:
    try:
        library.table.search().where(where).select(["start"]).limit(1).to_arrow()
    except (ValueError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0].removeprefix("Invalid input, ").split(", /")[0].split(" Valid fields are")[0]
        raise ConfigError("where", f"{reason[:200]}; the columns are {described(library.schema)}") from error
