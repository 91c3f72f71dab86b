"""The routes of the service: each receives its input, gives it to a worker and formats the result."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from quickstep.apps.server import metrics, openapi
from quickstep.apps.server.error_responses import Problem
from quickstep.apps.server.inference_tasks import SearchQuery, poses_to_json
from quickstep.apps.server.pages import add_pages
from quickstep.apps.server.schemas import (
    VIDEO_BODY,
    HealthResponse,
    ModelQuery,
    ModelResponse,
    PosesQuery,
    PosesResponse,
    PredictQuery,
    PredictResponse,
    SearchQueryParameters,
    SearchResponse,
    TimelineQuery,
    TimelineResponse,
)
from quickstep.apps.server.service import Service
from quickstep.apps.server.video_input import Video
from quickstep.evaluation import Report
from quickstep.inference.predict import to_json
from quickstep.inference.timelines import FORMATS, Timeline
from quickstep.models.classifier import Prediction, Predictions
from quickstep.models.ensemble import AnyModel, Ensemble
from quickstep.storage.serialization import to_plain
from quickstep.types.errors import QuickstepError

_MEDIA_TYPES = {"srt": "application/x-subrip", "vtt": "text/vtt", "csv": "text/csv"}
_TEXT_CONTENT = {media_type: {"schema": {"type": "string"}} for media_type in _MEDIA_TYPES.values()}
_PUBLIC_FACTS = ("created", "quickstep", "fingerprint", "splits", "notes", "words", "versions")


def add_routes(app: FastAPI, service: Service) -> None:
    """Add all routes of a service to the application."""
    _add_video_routes(app, service)
    _add_search_route(app, service)
    _add_status_routes(app, service)
    add_pages(app, needs_token=bool(service.tokens))


def _add_video_routes(app: FastAPI, service: Service) -> None:
    described: dict[str, Any] = {"responses": openapi.errors(*openapi.VIDEO_ERRORS), "openapi_extra": VIDEO_BODY}

    @app.post("/predict", response_model=PredictResponse, summary="Classify the move in a video", **described)
    async def predict(request: Request, query: PredictQuery) -> Response:
        """Return the label of a video, or of the part from `start` to `end`, with the model's calibrated scores."""
        name = service.model_name(query.model)
        finds_people = service.estimates_poses(name)
        async with service.receive(request, is_long=finds_people) as received:
            prediction = await service.predict(received, name, replace(query.span, whole=finds_people))
            return JSONResponse(_prediction_to_json(prediction, received.video, name, query.top))

    @app.post("/timeline", response_model=TimelineResponse, summary="Label the spans of a long video", **_with_text_formats(described))
    async def timeline(request: Request, query: TimelineQuery) -> Response:
        """Return the labelled spans of a long video: as JSON with the scores over time, or as srt, vtt or csv for other programs."""
        name = service.model_name(query.model)
        async with service.receive(request, is_long=True) as received:
            result = await service.timeline(received, name)
            return await asyncio.to_thread(_timeline_response, result, received.video, name, query.format)

    @app.post("/poses", response_model=PosesResponse, summary="Estimate the joints of all people", **described)
    async def poses(request: Request, query: PosesQuery) -> Response:
        """Return the joints of all people in a video, in pixels of its upright frames; needs a pose estimator."""
        async with service.receive(request, is_long=True) as received:
            result = await service.poses(received, replace(query.span, whole=True))
            return await asyncio.to_thread(lambda: JSONResponse({"video": received.video.name, **poses_to_json(result)}))


def _add_search_route(app: FastAPI, service: Service) -> None:
    errors = openapi.errors(*openapi.REQUEST_ERRORS, 404)

    @app.get("/search", response_model=SearchResponse, responses=errors, summary="Search the library")
    async def search(request: Request, query: SearchQueryParameters) -> Response:
        """Return moments that match a text, or that have a label; needs a service that was started with a library."""
        named = {name: value for name, value in query.model_dump(include={"text", "words", "label"}).items() if value is not None}
        if len(named) != 1:
            raise Problem(422, "name one thing to search for: a text or a label", "send ?text=... or ?label=...")
        text = named.get("text", named.get("words"))
        result = await service.search(request, SearchQuery(text, query.label, query.top, query.all))
        return JSONResponse({**result.to_json(), "sentences": list(result.sentences)})


def _add_status_routes(app: FastAPI, service: Service) -> None:
    errors = openapi.errors(*openapi.REQUEST_ERRORS, 404)

    @app.get("/model", response_model=ModelResponse, responses=errors, summary="Describe a model")
    async def model(query: ModelQuery) -> Response:
        """Return the labels of a model, how it reads videos, how it was trained, and its evaluation."""
        name = service.model_name(query.model)
        return JSONResponse(await asyncio.to_thread(describe_model, name, service.served.models[name], list(service.served.models)))

    @app.get("/healthz", response_model=HealthResponse, responses=openapi.errors(503), summary="Whether requests are accepted")
    async def healthz() -> Response:
        """Return 200 while requests are accepted, 503 while the service stops; needs no token."""
        if service.admission.stopping is not None:
            raise Problem(503, "the service is stopping", "use another instance", headers={"Retry-After": "5"})
        return JSONResponse({"status": "ok", "version": app.version, "waiting": service.waiting})

    text: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}}, **openapi.errors(401)}

    @app.get("/metrics", response_class=Response, responses=text, summary="Counters")
    async def counters() -> Response:
        """Return the counters of the service, for Prometheus."""
        return Response(service.metrics.text(), media_type=metrics.CONTENT_TYPE)


def _with_text_formats(described: dict[str, Any]) -> dict[str, Any]:
    """Add to a description that the response may also be text."""
    success = {200: {"content": _TEXT_CONTENT, "description": "the timeline in the requested format"}}
    return described | {"responses": success | described["responses"]}


def _prediction_to_json(prediction: Prediction, video: Video, model: str, top: int | None) -> dict[str, Any]:
    """Return what `quickstep predict --json` prints, with the client's name for the video."""
    record = to_json(Predictions((prediction,)), top=top)["predictions"][0]
    record.pop("path")
    return {"video": video.name, "model": model, **record}


def _timeline_response(result: Timeline, video: Video, model: str, format: str) -> Response:
    result = replace(result, video=Path(video.name))
    if format == "json":
        record = result.to_json()
        failures = [str(failure).replace(str(video.path), video.name) for failure in record["failures"]]
        return JSONResponse({**record, "video": video.name, "model": model, "failures": failures})
    text = FORMATS[f".{format}"]([result] if format == "csv" else result)
    return Response(text, media_type=_MEDIA_TYPES[format])


# -- a model's description --------------------------------------------------------------------------------------------------


def describe_model(name: str, model: AnyModel, names: Sequence[str]) -> dict[str, Any]:
    """Return what clients may know about a model, for `GET /model`; no path of this machine is in it."""
    facts = to_plain(model.facts)
    return {
        "model": name,
        "models": list(names),
        "labels": list(model.labels),
        **_parts_of(model),
        "threshold": model.threshold,
        "facts": {fact: facts[fact] for fact in _PUBLIC_FACTS},
        "cautions": list(model.warnings),
        "report": None if model.folder is None else _report_sentences(model.folder),
    }


def _parts_of(model: AnyModel) -> dict[str, Any]:
    if isinstance(model, Ensemble):
        parts = zip(model.names, model.weights, model.members, strict=True)
        members = {name: {"weight": weight, **_parts_of(member)} for name, weight, member in parts}
        return {"backbone": None, "head": None, "view": None, "members": members}
    backbone = {"name": model.backbone.name, "license": model.backbone.license}
    return {"backbone": backbone, "head": model.head.name, "view": to_plain(model.view)}


def _report_sentences(folder: Path) -> list[str] | None:
    """Return the summary of the model's report, if it was evaluated."""
    try:
        return list(Report.from_json((folder / "report.json").read_bytes()).summary)
    except (OSError, QuickstepError):
        return None
