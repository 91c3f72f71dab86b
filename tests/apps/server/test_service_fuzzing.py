"""The service against what schemathesis makes of its own description: valid and invalid requests, each answered as described."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from library_sets import index_videos
from schemathesis.specs.openapi.checks import positive_data_acceptance
from served import RunningService, check_error, running

from quickstep.apps.server import ServeConfig, Served
from quickstep.models.model import Model
from quickstep.signals.poses.config import PoseConfig
from quickstep.storage.cache import Cache

MODES = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
FEW, MANY = 15, 300


@pytest.fixture(scope="module")
def fuzzed(model: Model, tmp_path_factory: pytest.TempPathFactory, videos: dict[str, Path]) -> Iterator[RunningService]:
    """Start a service that allows every kind of request."""
    folder = tmp_path_factory.mktemp("fuzzed")
    index_videos(folder / "library", [videos["both"], videos["green"]], cache=Cache(folder / "cache"))
    (folder / "open").mkdir()
    (folder / "open" / "red.mp4").write_bytes(videos["red"].read_bytes())
    config = ServeConfig(allow_paths=folder / "open", allow_urls=True)
    poses = PoseConfig(estimator="pose_double:Corner", person="all")
    offer = Served({"colours": model, "again": model}, library=str(folder / "library"), poses=poses, cache=Cache(folder / "cache"))
    with running(offer, config) as live:
        yield live


def fuzz(live: RunningService, examples: int) -> int:
    """Send so many requests of each kind to each route; how many were sent."""
    description = schemathesis.openapi.from_url(f"{live.address}/openapi.json")
    sent = 0
    for operation in description.get_all_operations():
        for mode in MODES:

            @settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
            @given(case=operation.ok().as_strategy(generation_mode=mode))
            def try_it(case: schemathesis.Case) -> None:
                nonlocal sent
                answer = case.call()
                # Bytes that fit the description need not be a video: only people can describe those.
                case.validate_response(answer, excluded_checks=[positive_data_acceptance])
                assert answer.status_code < 500 or answer.status_code == 503, answer.text
                if answer.status_code >= 400:
                    assert answer.json().keys() == {"error", "what_to_do"}
                sent += 1

            try:
                try_it()
            except Exception as error:
                if type(error).__name__ != "Unsatisfiable":  # a route without parameters cannot be asked wrongly
                    raise
    return sent


def check(live: RunningService, examples: int) -> None:
    sent = fuzz(live, examples)
    assert sent > 7 * examples
    assert live.uploads == []
    assert live.get("/healthz").status_code == 200
    assert live.metric("quickstep_requests_total") >= sent
    check_error(live.get("/search"), 422)


def test_every_answer_is_one_that_is_described(fuzzed: RunningService) -> None:
    check(fuzzed, FEW)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_answer_to_many_is_one_that_is_described(fuzzed: RunningService) -> None:
    check(fuzzed, MANY)
