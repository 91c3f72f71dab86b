"""Vectors of sentences from the text encoder of a backbone, through the one cache of such vectors."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones import Backbone, require_text
from quickstep.datasets.class_prompts import ClassPrompts
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError
from quickstep.types.signals import Texts

BATCH = 256  # sentences that are encoded and cached together

_log = logging.getLogger(__name__)


def encode_prompts(backbone: Backbone, prompts: ClassPrompts, *, cache: Cache | None = None) -> Texts:
    """Embed the sentences of every label, and return them with the way in which the backbone compares them with a video."""
    sentences = [sentence for of_label in prompts.sentences for sentence in of_label]
    owners = np.repeat(np.arange(len(prompts.labels)), [len(of_label) for of_label in prompts.sentences])
    return Texts(sentence_vectors(backbone, sentences, cache=cache), owners, require_text(backbone).matching)


def apply_templates(prompts: ClassPrompts, backbone: Backbone, *, templates: Sequence[str]) -> ClassPrompts:
    """Put the prompts into the templates that the backbone was trained with, unless the user gave templates."""
    default = require_text(backbone).templates
    return prompts if templates or not default else prompts.with_templates(default)


def sentence_vectors(backbone: Backbone, sentences: Sequence[str], *, cache: Cache | None = None) -> NDArray[np.float32]:
    """Return one vector for each sentence, (N, D), from the cache where it has them.

    The key is the backbone's `text_identity` (weights, tokenizer, version) and the sentences themselves.
    """
    if not all(sentence.strip() for sentence in sentences) or not len(sentences):
        raise ConfigError("query", "the text is empty; say in words what to look for")
    reader, cache = require_text(backbone), cache or Cache()
    vectors = []
    for start in range(0, len(sentences), BATCH):
        batch = [" ".join(sentence.split()) for sentence in sentences[start : start + BATCH]]
        key = {"kind": "texts", "backbone": dict(reader.text_identity), "sentences": batch}
        arrays = cache.get(key)
        if arrays is None:
            _log.info("encoding %d sentences with %s", len(batch), backbone.name)
            arrays = {"vectors": np.asarray(reader.embed_text(batch), dtype=np.float32)}
            cache.put(key, arrays)
        vectors.append(arrays["vectors"])
    return np.concatenate(vectors)
