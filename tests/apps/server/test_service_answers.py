"""What the service answers: the same as Python and the command line, to the bit, alone and in company; and what else can be asked."""

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
from served import Held, Live, check_problem, named_by, running, until
from toys import Words

from quickstep.apps.server import Limits, Offer, ServeConfig
from quickstep.inference.predict import predict, to_json
from quickstep.inference.timelines import FORMATS, timeline
from quickstep.models.ensemble import Ensemble
from quickstep.models.model import Model
from quickstep.signals.poses.config import PoseConfig
from quickstep.signals.poses.estimation import find_poses
from quickstep.storage.cache import Cache
from quickstep.types.segment import Segment


def said_by_python(model: Model, segment: Segment) -> dict[str, object]:
    record: dict[str, object] = to_json(predict(model, [segment]))["predictions"][0]
    del record["path"]
    return record


@pytest.mark.parametrize("colour", ["red", "green", "blue", "both"])
def test_the_scores_are_those_of_python_to_the_bit(live: Live, model: Model, videos: dict[str, Path], colour: str) -> None:
    answer = live.post("/predict", videos[colour]).json()
    assert answer.pop("video") == f"{colour}.mp4"
    assert answer.pop("model") == "colours"
    assert answer.pop("reading") == "uncalibrated"
    assert answer == said_by_python(model, Segment(videos[colour]))
    if colour != "both":
        assert answer["label"] == colour


def test_a_part_of_a_video_and_the_top_labels(live: Live, model: Model, videos: dict[str, Path]) -> None:
    parts = {(0.0, 1.5): "red", (2.5, 4.0): "blue"}
    for (start, end), colour in parts.items():
        answer = live.post("/predict", videos["both"], params={"start": start, "end": end, "top": 2}).json()
        whole = said_by_python(model, Segment(videos["both"], start=start, end=end))
        assert answer["label"] == colour
        assert list(answer["scores"].items()) == list(whole["scores"].items())[:2]  # type: ignore[attr-defined]


def test_videos_of_several_clients_are_looked_at_together_and_nobody_notices(videos: dict[str, Path]) -> None:
    backbone = Held()
    model = named_by(backbone)
    with running(model, limits=Limits(batch=8)) as live, concurrent.futures.ThreadPoolExecutor(8) as clients:
        first = clients.submit(live.post, "/predict", videos["both"])
        assert backbone.looking.wait(10)
        others = [clients.submit(live.post, "/predict", videos[colour]) for colour in ("red", "green", "blue", "red", "green", "blue")]
        until(lambda: len(live.service.engine) == 6)
        assert live.metric("quickstep_model_queue_length") == 6
        backbone.may.set()
        answers = [each.result().json() for each in others]
        assert first.result().status_code == 200
        assert live.metric("quickstep_batch_videos_sum") == 7
        assert live.metric("quickstep_batch_videos_count") == 2
    # 3 frames a video and 8 a batch: the six videos went through the network in twos and threes, not one by one
    assert backbone.shown[0] == 1
    assert sum(backbone.shown[1:]) == 6
    assert len(backbone.shown[1:]) <= 3
    for colour, answer in zip(("red", "green", "blue") * 2, answers, strict=True):
        alone = said_by_python(model, Segment(videos[colour]))
        assert {name: answer[name] for name in alone} == alone


def test_a_broken_video_harms_nobody_in_its_batch(videos: dict[str, Path], tmp_path: Path) -> None:
    backbone = Held()
    blob = videos["both"].read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(blob[: blob.index(b"mdat") + 40] + bytes(len(blob) - blob.index(b"mdat") - 40))
    with running(named_by(backbone)) as live, concurrent.futures.ThreadPoolExecutor(8) as clients:
        asked = [clients.submit(live.post, "/predict", path) for path in (videos["red"], cut, videos["blue"])]
        backbone.may.set()
        red, broken, blue = [each.result() for each in asked]
    assert (red.json()["label"], blue.json()["label"]) == ("red", "blue")
    check_problem(broken, 422)


def test_several_models_and_none_of_that_name(videos: dict[str, Path]) -> None:
    other = named_by(Words("other"))
    with running(Offer({"first": named_by(Words()), "second": other})) as live:
        assert live.post("/predict", videos["red"]).json()["model"] == "first"
        answer = live.post("/predict", videos["red"], params={"model": "second"}).json()
        assert (answer["model"], answer["label"]) == ("second", "red")
        assert "first, second" in check_problem(live.post("/predict", videos["red"], params={"model": "third"}), 404)["what_to_do"]
        assert live.get("/model", params={"model": "second"}).json()["models"] == ["first", "second"]


def test_an_ensemble_is_served_as_one_model_is(videos: dict[str, Path]) -> None:
    members = (named_by(Words()), named_by(Words("other")))
    together = Ensemble(members, weights=(0.25, 0.75), names=("a", "b"))
    with running(Offer({"both": together})) as live:
        answer = live.post("/predict", videos["green"]).json()
        truth = to_json(predict(together, [Segment(videos["green"])]))["predictions"][0]
        assert {name: answer[name] for name in truth if name != "path"} == {name: truth[name] for name in truth if name != "path"}
        assert live.post("/timeline", videos["green"]).json()["spans"][0]["label"] == "green"
        said = live.get("/model").json()
    assert said["backbone"] is None
    assert said["members"]["b"]["weight"] == 0.75


def test_a_timeline_in_every_form_is_that_of_python(live: Live, model: Model, videos: dict[str, Path]) -> None:
    truth = timeline(model, videos["long"])
    answer = live.post("/timeline", videos["long"]).json()
    assert answer.pop("model") == "colours"
    assert answer.pop("video") == "long.mp4"
    told = truth.to_json()
    del told["video"]
    assert answer == json.loads(json.dumps(told))
    assert [span["label"] for span in answer["spans"]] == ["red", "blue"]
    for form in ("srt", "vtt"):
        got = live.post("/timeline", videos["long"], params={"format": form})
        assert got.text == FORMATS[f".{form}"](truth)
        assert form in got.headers["content-type"] or form == "srt"
    rows = list(csv.reader(io.StringIO(live.post("/timeline", videos["long"], params={"format": "csv"}).text)))
    assert [row[0] for row in rows[1:]] == ["long.mp4", "long.mp4"]
    check_problem(live.post("/timeline", videos["long"], params={"format": "exe"}), 422)


def test_poses_are_those_of_python(model: Model, videos: dict[str, Path]) -> None:
    config = PoseConfig(estimator="pose_double:Corner", person="all")
    with running(Offer({"colours": model}, poses=config)) as live:
        answer = live.post("/poses", videos["red"], params={"start": 0.5}).json()
    truth = find_poses(videos["red"], config)
    later = [float(time) for time in truth.times if time >= 0.5]
    (person,) = answer["people"]
    assert person["times"] == later
    assert answer["size"] == [32, 24]
    assert answer["moments"] == len(later)
    assert person["joints"][0][0] == pytest.approx(truth.joints[-len(later), 0, 0].tolist(), abs=1e-3)
    assert person["joints"][0][-1] is None  # it never sees the last joint
    assert np.isnan(truth.joints[0, 0, -1, 0])


def test_poses_that_cannot_be_found_here_say_what_is_missing(model: Model, videos: dict[str, Path], tmp_path: Path) -> None:
    config = PoseConfig(pose_model=str(tmp_path / "nowhere.task"), person="all")
    with running(Offer({"colours": model}, poses=config)) as live:
        assert "nowhere.task" in check_problem(live.post("/poses", videos["red"]), 424)["error"]
        assert live.post("/predict", videos["red"]).json()["label"] == "red"


def test_search_finds_in_the_library_and_says_when_there_is_none(model: Model, live: Live, videos: dict[str, Path], tmp_path: Path) -> None:
    index_videos(tmp_path / "library", [videos["both"], videos["green"]], cache=Cache())
    with running(Offer({"colours": model}, library=str(tmp_path / "library"))) as searching:
        found = searching.get("/search", params={"words": "blue", "all": True, "top": 1}).json()
        assert [Path(moment["path"]).name for moment in found["moments"]] == ["both.mp4"]
        check_problem(searching.get("/search", params={"label": "red"}), 424)
        check_problem(searching.get("/search", params={"words": "   "}), 422)
        check_problem(searching.get("/search"), 422)
    assert "--library" in check_problem(live.get("/search", params={"words": "blue"}), 404)["what_to_do"]


def test_the_model_is_told_without_where_it_lies(live: Live, model: Model, tmp_path: Path) -> None:
    said = live.get("/model").json()
    assert said["labels"] == ["red", "green", "blue"]
    assert said["view"]["frames"] == 3
    assert (said["backbone"]["name"], said["backbone"]["license"], said["head"]) == ("words", "MIT", "zero-shot")
    model.save(tmp_path / "kept")
    assert "source" not in said["facts"]
    assert "training" not in said["facts"]


def test_health_counters_and_pages(live: Live, videos: dict[str, Path]) -> None:
    assert live.get("/healthz").json()["status"] == "ok"
    before = live.metric("quickstep_requests_total", route="/predict", status="200")
    received = live.metric("quickstep_received_bytes_total")
    live.post("/predict", videos["red"])
    assert live.metric("quickstep_requests_total", route="/predict", status="200") == before + 1
    assert live.metric("quickstep_received_bytes_total") - received == videos["red"].stat().st_size
    assert live.metric("quickstep_request_seconds_count", route="/predict") >= 1
    live.get("/a/made/up/route")
    assert live.metric("quickstep_requests_total", route="/a/made/up/route") == 0  # or clients could fill the memory with names
    page = live.get("/docs").text
    assert "/predict" in page
    assert "://" not in page.replace("http(s)://", ""), "the page needs nothing from the net"


def test_the_description_has_examples_and_errors(live: Live) -> None:
    described = live.get("/openapi.json").json()
    for path in ("/predict", "/timeline", "/poses"):
        route = described["paths"][path]["post"]
        assert {"413", "415", "422", "503", "408"} <= route["responses"].keys()
        assert set(route["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    for schema in ("Named", "Wrong", "TimelineMade", "PeopleFound", "ModelFacts", "MomentsFound"):
        assert described["components"]["schemas"][schema]["examples"]


@pytest.mark.parametrize(
    ("method", "route", "status"),
    [("GET", "/nothing", 404), ("GET", "/predict", 405), ("DELETE", "/model", 405), ("TRACE", "/healthz", 405)],
)
def test_what_is_not_there_is_told_in_the_same_form(live: Live, method: str, route: str, status: int) -> None:
    with live.client() as client:
        check_problem(client.request(method, route), status)


def test_nothing_is_kept_unless_it_is_asked_for(model: Model, videos: dict[str, Path], own_cache: Path) -> None:
    with running(Offer({"colours": model}, cache=Cache(own_cache))) as live:
        assert live.post("/predict", videos["red"]).status_code == 200
        assert live.post("/timeline", videos["red"]).status_code == 200
        assert live.on_the_desk == []
    assert [path for path in own_cache.rglob("*") if path.is_file()] == []
    with running(Offer({"colours": model}, cache=Cache(own_cache)), ServeConfig(keep_features=True)) as live:
        first = live.post("/predict", videos["red"]).json()
        assert live.post("/predict", videos["red"]).json() == first
    assert len(list((own_cache / "arrays").rglob("*.safetensors"))) == 1


def test_pages_of_other_origins_may_ask_only_when_told_so(model: Model, live: Live) -> None:
    origin = {"Origin": "https://example.org"}
    assert "access-control-allow-origin" not in live.get("/model", headers=origin).headers
    with running(model, ServeConfig(cors=("https://example.org",), token="word")) as open_one:
        asked = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        allowed = httpx.options(f"{open_one.address}/predict", headers=asked, trust_env=False)
        assert allowed.headers["access-control-allow-origin"] == "https://example.org"
        refused = open_one.get("/model", headers=origin)
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://example.org"
        assert "access-control-allow-origin" not in open_one.get("/model", headers={"Origin": "https://elsewhere.org"}).headers
