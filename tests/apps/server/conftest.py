"""What the service's tests share: drawn videos, and a model that names their colours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from library_sets import draw
from served import RunningService, colour_model, running
from toys import Words

from quickstep.models.model import Model


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write a video of each colour, and two of two colours."""
    folder = tmp_path_factory.mktemp("served")
    drawn = {colour: draw(folder / f"{colour}.mp4", (colour, 1.0), seed=seed) for seed, colour in enumerate(("red", "green", "blue"))}
    return drawn | {
        "both": draw(folder / "both.mp4", ("red", 2), ("blue", 2), seed=9),
        "long": draw(folder / "long.mp4", ("red", 12), ("blue", 12)),
    }


@pytest.fixture(scope="session")
def model() -> Model:
    return colour_model(Words())


@pytest.fixture(scope="module")
def live(model: Model) -> Iterator[RunningService]:
    with running(model) as service:
        yield service
