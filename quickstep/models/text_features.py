"""texts_of: words -> Texts, what a backbone's text encoder makes of the labels' sentences, through the cache."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones import Backbone, require_text
from quickstep.datasets.class_prompts import ClassPrompts
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError
from quickstep.types.signals import Texts

MOST_AT_ONCE = 256  # sentences


def texts_of(backbone: Backbone, wording: ClassPrompts, *, cache: Cache | None = None) -> Texts:
    """The vectors of every label's sentences, and how the backbone holds them against what it sees."""
    sentences = [sentence for each in wording.sentences for sentence in each]
    owners = np.repeat(np.arange(len(wording.labels)), [len(each) for each in wording.sentences])
    return Texts(sentence_vectors(backbone, sentences, cache=cache), owners, require_text(backbone).matching)


def suited(wording: ClassPrompts, backbone: Backbone, *, templates: Sequence[str]) -> ClassPrompts:
    """The wording in the templates asked for, or in those that the backbone was taught with."""
    taught = require_text(backbone).templates
    return wording if templates or not taught else wording.with_templates(taught)


def sentence_vectors(backbone: Backbone, sentences: Sequence[str], *, cache: Cache | None = None) -> NDArray[np.float32]:
    """One vector a sentence, (N, D); what was read once is not read again."""
    if not all(sentence.strip() for sentence in sentences) or not len(sentences):
        raise ConfigError("query", "there is nothing to read; say what to look for, in words")
    reader, cache = require_text(backbone), cache or Cache()
    parts = []
    for start in range(0, len(sentences), MOST_AT_ONCE):
        some = [" ".join(sentence.split()) for sentence in sentences[start : start + MOST_AT_ONCE]]
        key = {"kind": "texts", "backbone": dict(reader.text_identity), "sentences": some}
        found = cache.get(key)
        if found is None:
            found = {"vectors": np.asarray(reader.embed_text(some), dtype=np.float32)}
            cache.put(key, found)
        parts.append(found["vectors"])
    return np.concatenate(parts)
