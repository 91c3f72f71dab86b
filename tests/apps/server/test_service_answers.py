"""The responses of the service: bit for bit those of Python, alone and in batches; and the other routes."""

from __future__ import annotations

import concurrent.futures
import csv
import io
import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from library_sets import index_videos
from served import PausedBackbone, RunningService, check_error, colour_model, running, wait_until
from toys import Words

from quickstep.apps.server import Limits, ServeConfig, Served
from quickstep.inference.predict import predict, to_json
from quickstep.inference.timelines import FORMATS, timeline
from quickstep.models.ensemble import Ensemble
from quickstep.models.model import Model
from quickstep.signals.poses.config import PoseConfig
from quickstep.signals.poses.estimation import find_poses
from quickstep.storage.cache import Cache
from quickstep.types.segment import Segment


def predicted_in_python(model: Model, segment: Segment) -> dict[str, object]:
    record: dict[str, object] = to_json(predict(model, [segment]))["predictions"][0]
    del record["path"]
    return record


@pytest.mark.parametrize("colour", ["red", "green", "blue", "both"])
def test_the_scores_are_those_of_python_to_the_bit(live: RunningService, model: Model, videos: dict[str, Path], colour: str) -> None:
    answer = live.post("/predict", videos[colour]).json()
    assert answer.pop("video") == f"{colour}.mp4"
    assert answer.pop("model") == "colours"
    assert answer["confidence"] == "uncalibrated"
    assert answer == predicted_in_python(model, Segment(videos[colour]))
    if colour != "both":
        assert answer["label"] == colour


def test_a_part_of_a_video_and_the_top_labels(live: RunningService, model: Model, videos: dict[str, Path]) -> None:
    parts = {(0.0, 1.5): "red", (2.5, 4.0): "blue"}
    for (start, end), colour in parts.items():
        answer = live.post("/predict", videos["both"], params={"start": start, "end": end, "top": 2}).json()
        whole = predicted_in_python(model, Segment(videos["both"], start=start, end=end))
        assert answer["label"] == colour
        assert list(answer["scores"].items()) == list(whole["scores"].items())[:2]  # type: ignore[attr-defined]


def test_videos_of_several_clients_share_a_batch_without_changing_the_scores(videos: dict[str, Path]) -> None:
    backbone = PausedBackbone()
    model = colour_model(backbone)
    with running(model, limits=Limits(batch=8)) as live, concurrent.futures.ThreadPoolExecutor(8) as clients:
        first = clients.submit(live.post, "/predict", videos["both"])
        assert backbone.started.wait(10)
        others = [clients.submit(live.post, "/predict", videos[colour]) for colour in ("red", "green", "blue", "red", "green", "blue")]
        wait_until(lambda: len(live.service.worker) == 6)
        assert live.metric("quickstep_model_queue_length") == 6
        backbone.resume.set()
        answers = [future.result().json() for future in others]
        assert first.result().status_code == 200
        assert live.metric("quickstep_batch_videos_sum") == 7
        assert live.metric("quickstep_batch_videos_count") == 2
    # with 3 frames for each video and batches of 8, the network embeds the six videos two or three at a time, not one by one
    assert backbone.batches[0] == 1
    assert sum(backbone.batches[1:]) == 6
    assert len(backbone.batches[1:]) <= 3
    for colour, answer in zip(("red", "green", "blue") * 2, answers, strict=True):
        alone = predicted_in_python(model, Segment(videos[colour]))
        assert {name: answer[name] for name in alone} == alone


def test_a_broken_video_does_not_fail_the_others_in_its_batch(videos: dict[str, Path], tmp_path: Path) -> None:
    backbone = PausedBackbone()
    blob = videos["both"].read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(blob[: blob.index(b"mdat") + 40] + bytes(len(blob) - blob.index(b"mdat") - 40))
    with running(colour_model(backbone)) as live, concurrent.futures.ThreadPoolExecutor(8) as clients:
        requests = [clients.submit(live.post, "/predict", path) for path in (videos["red"], cut, videos["blue"])]
        backbone.resume.set()
        red, broken, blue = [future.result() for future in requests]
    assert (red.json()["label"], blue.json()["label"]) == ("red", "blue")
    check_error(broken, 422)


def test_several_models_are_served_and_an_unknown_name_is_a_404(videos: dict[str, Path]) -> None:
    other = colour_model(Words("other"))
    with running(Served({"first": colour_model(Words()), "second": other})) as live:
        assert live.post("/predict", videos["red"]).json()["model"] == "first"
        answer = live.post("/predict", videos["red"], params={"model": "second"}).json()
        assert (answer["model"], answer["label"]) == ("second", "red")
        assert "first, second" in check_error(live.post("/predict", videos["red"], params={"model": "third"}), 404)["what_to_do"]
        assert live.get("/model", params={"model": "second"}).json()["models"] == ["first", "second"]


def test_an_ensemble_is_served_like_a_model(videos: dict[str, Path]) -> None:
    members = (colour_model(Words()), colour_model(Words("other")))
    ensemble = Ensemble(members, weights=(0.25, 0.75), names=("a", "b"))
    with running(Served({"both": ensemble})) as live:
        answer = live.post("/predict", videos["green"]).json()
        truth = to_json(predict(ensemble, [Segment(videos["green"])]))["predictions"][0]
        assert {name: answer[name] for name in truth if name != "path"} == {name: truth[name] for name in truth if name != "path"}
        assert live.post("/timeline", videos["green"]).json()["spans"][0]["label"] == "green"
        description = live.get("/model").json()
    assert description["backbone"] is None
    assert description["members"]["b"]["weight"] == 0.75


def test_a_timeline_in_every_format_equals_that_of_python(live: RunningService, model: Model, videos: dict[str, Path]) -> None:
    truth = timeline(model, videos["long"])
    answer = live.post("/timeline", videos["long"]).json()
    assert answer.pop("model") == "colours"
    assert answer.pop("video") == "long.mp4"
    expected = truth.to_json()
    del expected["video"]
    assert answer == json.loads(json.dumps(expected))
    assert [span["label"] for span in answer["spans"]] == ["red", "blue"]
    for format in ("srt", "vtt"):
        response = live.post("/timeline", videos["long"], params={"format": format})
        assert response.text == FORMATS[f".{format}"](truth)
        assert format in response.headers["content-type"] or format == "srt"
    rows = list(csv.reader(io.StringIO(live.post("/timeline", videos["long"], params={"format": "csv"}).text)))
    assert [row[0] for row in rows[1:]] == ["long.mp4", "long.mp4"]
    check_error(live.post("/timeline", videos["long"], params={"format": "exe"}), 422)


def test_poses_equal_those_of_python(model: Model, videos: dict[str, Path]) -> None:
    config = PoseConfig(estimator="pose_double:Corner", person="all")
    with running(Served({"colours": model}, poses=config)) as live:
        answer = live.post("/poses", videos["red"], params={"start": 0.5}).json()
    truth = find_poses(videos["red"], config)
    later = [float(time) for time in truth.times if time >= 0.5]
    (person,) = answer["people"]
    assert person["times"] == later
    assert answer["size"] == [32, 24]
    assert answer["moments"] == len(later)
    assert person["joints"][0][0] == pytest.approx(truth.joints[-len(later), 0, 0].tolist(), abs=1e-3)
    assert person["joints"][0][-1] is None  # the estimator never detects the last joint
    assert np.isnan(truth.joints[0, 0, -1, 0])


def test_poses_without_an_estimator_name_the_missing_file(model: Model, videos: dict[str, Path], tmp_path: Path) -> None:
    config = PoseConfig(pose_model=str(tmp_path / "nowhere.task"), person="all")
    with running(Served({"colours": model}, poses=config)) as live:
        assert "nowhere.task" in check_error(live.post("/poses", videos["red"]), 424)["error"]
        assert live.post("/predict", videos["red"]).json()["label"] == "red"


def test_search_needs_a_library(model: Model, live: RunningService, videos: dict[str, Path], tmp_path: Path) -> None:
    index_videos(tmp_path / "library", [videos["both"], videos["green"]], cache=Cache())
    with running(Served({"colours": model}, library=str(tmp_path / "library"))) as searching:
        result = searching.get("/search", params={"text": "blue", "all": True, "top": 1}).json()
        assert [Path(moment["path"]).name for moment in result["moments"]] == ["both.mp4"]
        assert searching.get("/search", params={"words": "blue", "all": True, "top": 1}).json() == result  # the name of 0.1
        check_error(searching.get("/search", params={"words": "blue", "text": "blue"}), 422)
        check_error(searching.get("/search", params={"label": "red"}), 424)
        check_error(searching.get("/search", params={"text": "   "}), 422)
        check_error(searching.get("/search"), 422)
    assert "--library" in check_error(live.get("/search", params={"text": "blue"}), 404)["what_to_do"]


def test_the_description_of_a_model_contains_no_path(live: RunningService, model: Model, tmp_path: Path) -> None:
    description = live.get("/model").json()
    assert description["labels"] == ["red", "green", "blue"]
    assert description["view"]["frames"] == 3
    assert (description["backbone"]["name"], description["backbone"]["license"], description["head"]) == ("words", "MIT", "zero-shot")
    model.save(tmp_path / "kept")
    assert "source" not in description["facts"]
    assert "training" not in description["facts"]


def test_health_counters_and_pages(live: RunningService, videos: dict[str, Path]) -> None:
    assert live.get("/healthz").json()["status"] == "ok"
    before = live.metric("quickstep_requests_total", route="/predict", status="200")
    received = live.metric("quickstep_received_bytes_total")
    live.post("/predict", videos["red"])
    assert live.metric("quickstep_requests_total", route="/predict", status="200") == before + 1
    assert live.metric("quickstep_received_bytes_total") - received == videos["red"].stat().st_size
    assert live.metric("quickstep_request_seconds_count", route="/predict") >= 1
    live.get("/a/made/up/route")
    assert live.metric("quickstep_requests_total", route="/a/made/up/route") == 0  # else clients could fill the memory with names


def test_the_description_has_examples_and_errors(live: RunningService) -> None:
    described = live.get("/openapi.json").json()
    for path in ("/predict", "/timeline", "/poses"):
        route = described["paths"][path]["post"]
        assert {"413", "415", "422", "503", "408"} <= route["responses"].keys()
        assert set(route["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    for schema in ("PredictResponse", "ErrorResponse", "TimelineResponse", "PosesResponse", "ModelResponse", "SearchResponse"):
        assert described["components"]["schemas"][schema]["examples"]


@pytest.mark.parametrize(
    ("method", "route", "status"),
    [("GET", "/nothing", 404), ("GET", "/predict", 405), ("DELETE", "/model", 405), ("TRACE", "/healthz", 405)],
)
def test_an_unknown_route_or_method_gets_the_same_form_of_error(live: RunningService, method: str, route: str, status: int) -> None:
    with live.client() as client:
        check_error(client.request(method, route), status)


def test_nothing_is_kept_without_keep_features(model: Model, videos: dict[str, Path], own_cache: Path) -> None:
    with running(Served({"colours": model}, cache=Cache(own_cache))) as live:
        assert live.post("/predict", videos["red"]).status_code == 200
        assert live.post("/timeline", videos["red"]).status_code == 200
        assert live.uploads == []
    assert [path for path in own_cache.rglob("*") if path.is_file()] == []
    with running(Served({"colours": model}, cache=Cache(own_cache)), ServeConfig(keep_features=True)) as live:
        first = live.post("/predict", videos["red"]).json()
        assert live.post("/predict", videos["red"]).json() == first
    assert len(list((own_cache / "arrays").rglob("*.safetensors"))) == 1


def test_other_origins_may_send_requests_only_with_cors(model: Model, live: RunningService) -> None:
    origin = {"Origin": "https://example.org"}
    assert "access-control-allow-origin" not in live.get("/model", headers=origin).headers
    with running(model, ServeConfig(cors=("https://example.org",), token="word")) as open_service:
        preflight = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        allowed = httpx.options(f"{open_service.address}/predict", headers=preflight, trust_env=False)
        assert allowed.headers["access-control-allow-origin"] == "https://example.org"
        refused = open_service.get("/model", headers=origin)
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://example.org"
        assert "access-control-allow-origin" not in open_service.get("/model", headers={"Origin": "https://elsewhere.org"}).headers
