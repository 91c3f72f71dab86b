"""The table of heads: names, renamed heads, declared capabilities."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from scipy import special

from quickstep.heads import (
    HEADS,
    RENAMED_HEADS,
    HeadCapabilities,
    capabilities_of,
    current_head_name,
    log_softmax,
    logsumexp,
    open_head,
    softmax,
)


@pytest.mark.parametrize("name", HEADS)
def test_every_head_has_its_table_name_and_declares_capabilities(name: str) -> None:
    head = open_head(name)
    assert head.name == name
    assert isinstance(head.capabilities, HeadCapabilities)
    assert capabilities_of(name) == head.capabilities
    assert head.classes == 0


def test_capabilities_are_those_of_the_head() -> None:
    assert capabilities_of("linear") == HeadCapabilities()
    assert capabilities_of("few-shot") == HeadCapabilities(reads_texts=True)
    assert capabilities_of("zero-shot") == HeadCapabilities(reads_texts=True, reads_image_parts=True)
    assert {name for name in HEADS if capabilities_of(name).reads_joints} == {"lstm", "pose-ensemble", "pose-trees", "stgcn"}


@pytest.mark.parametrize(("old", "new"), RENAMED_HEADS.items())
def test_an_old_name_opens_the_renamed_head(old: str, new: str) -> None:
    assert open_head(old).name == new
    assert current_head_name(old) == current_head_name(new) == new


def test_an_old_name_in_a_file_is_not_noted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        open_head(current_head_name("forest"))
    assert not caplog.records


@pytest.mark.parametrize("axis", [0, 1])
def test_probabilities_equal_scipy_to_the_bit(axis: int) -> None:
    rng = np.random.default_rng(0)
    for scale in (0.1, 3.0, 500.0):
        logits = rng.normal(0, scale, (40, 7))
        logits[3] = logits[3, 0]  # equal logits
        np.testing.assert_array_equal(softmax(logits, axis=axis), special.softmax(logits, axis=axis))
        np.testing.assert_array_equal(log_softmax(logits, axis=axis), special.log_softmax(logits, axis=axis))
        np.testing.assert_array_equal(logsumexp(logits, axis=axis), special.logsumexp(logits, axis=axis))
