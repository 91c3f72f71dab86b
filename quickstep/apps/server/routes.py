"""What can be asked: each route takes its video in, hands it to an engine and says what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from quickstep.apps.server import metrics, openapi
from quickstep.apps.server.error_responses import Problem
from quickstep.apps.server.inference_tasks import Question, poses_to_json
from quickstep.apps.server.model_info import facts_of
from quickstep.apps.server.prediction_service import Service
from quickstep.apps.server.request_fields import BODY, Moments, Names, Part, Timeline, Which
from quickstep.apps.server.schemas import Health, ModelFacts, MomentsFound, Named, PeopleFound, TimelineMade
from quickstep.apps.server.video_input import Video, told_as
from quickstep.apps.server.video_limits import Span
from quickstep.backbones import reads_poses
from quickstep.inference.predict import to_json
from quickstep.inference.timelines import FORMATS
from quickstep.inference.timelines import Timeline as Made
from quickstep.models.predictions import Prediction, Predictions
from quickstep.training.train import library_version
from quickstep.types.segment import Segment

_TYPES = {"srt": "application/x-subrip", "vtt": "text/vtt", "csv": "text/csv"}
_TEXTS = {kind: {"schema": {"type": "string"}} for kind in _TYPES.values()}

_COUNTED: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}}, **openapi.errors(401)}


def add_routes(app: FastAPI, service: Service) -> None:
    """Let the application answer for a service."""
    _about_videos(app, service)
    _about_itself(app, service)

    @app.get("/search", response_model=MomentsFound, responses=openapi.errors(*openapi.ASKED, 404), summary="Find moments in the library")
    async def search(request: Request, asked: Moments) -> Response:
        """Find moments by words, or by the name that a model gave them; needs a service that was started with a library."""
        if service.searching is None:
            raise Problem(404, "no library is served here", "have the service started with --library LIBRARY")
        if (asked.words is None) == (asked.label is None):
            raise Problem(422, "say what to find: either words or a label", "send ?words=... or ?label=...")
        question = Question(asked.words, asked.label, asked.top, asked.all)
        found = await service.done(request, service.engine, service.searching, question)
        return JSONResponse({**found.to_json(), "sentences": list(found.sentences)})


def _about_videos(app: FastAPI, service: Service) -> None:
    sent: dict[str, Any] = {"responses": openapi.errors(*openapi.SENT), "openapi_extra": BODY}

    @app.post("/predict", response_model=Named, summary="Name the move in a video", **sent)
    async def predict(request: Request, asked: Names) -> Response:
        """The label of a video, or of the part from `start` to `end`, with the model's calibrated scores."""
        name = service.named(asked.model)
        span = replace(asked.span, whole=any(reads_poses(member.backbone) for member in service.offer.models[name].members))
        async with service.videos.of(request, span) as video:
            with told_as(video):
                said = await service.done(request, service.engine, service.naming[name], _segment(video, span))
            return JSONResponse(_named(said, video, name, asked.top))

    @app.post("/timeline", response_model=TimelineMade, summary="Say what is danced when", **_with_texts(sent))
    async def timeline(request: Request, asked: Timeline) -> Response:
        """A long video as labelled spans; as JSON with the scores over time, or as srt, vtt or csv for other programs."""
        name = service.named(asked.model)
        span = Span(whole=True)
        async with service.videos.of(request, span) as video:
            with told_as(video):
                made = await service.done(request, service.engine, service.timing[name], _segment(video, span))
            return await asyncio.to_thread(_timeline, made, video, name, asked.format)

    @app.post("/poses", response_model=PeopleFound, summary="Find everybody's joints", **sent)
    async def poses(request: Request, asked: Part) -> Response:
        """The joints of everybody in a video, in pixels of its upright picture; needs what finds poses to be installed."""
        span = replace(asked.span, whole=True)
        async with service.videos.of(request, span) as video:
            with told_as(video):
                found = await service.done(request, service.poser, service.posing, _segment(video, span))
            return await asyncio.to_thread(lambda: JSONResponse({"video": video.name, **poses_to_json(found)}))


def _about_itself(app: FastAPI, service: Service) -> None:
    @app.get("/model", response_model=ModelFacts, responses=openapi.errors(*openapi.ASKED, 404), summary="What is served")
    async def model(asked: Which) -> Response:
        """The labels of a model, how it looks at videos, how it came to be and how good it is."""
        name = service.named(asked.model)
        return JSONResponse(await asyncio.to_thread(facts_of, name, service.offer.models[name], list(service.offer.models)))

    @app.get("/healthz", response_model=Health, responses=openapi.errors(503), summary="Whether requests are taken")
    async def healthz() -> Response:
        """200 while requests are taken, 503 while the service stops; needs no token."""
        if service.gate.stopping is not None:
            raise Problem(503, "the service is stopping", "ask another one", headers={"Retry-After": "5"})
        waiting = len(service.engine) + len(service.poser)
        return JSONResponse({"status": "ok", "version": library_version("quickstep"), "waiting": waiting})

    @app.get("/metrics", response_class=Response, responses=_COUNTED, summary="Counters")
    async def counters() -> Response:
        """What the service counts about itself, for Prometheus."""
        return Response(service.metrics.text(), media_type=metrics.CONTENT_TYPE)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(openapi.page(app.openapi()))


def _with_texts(sent: dict[str, Any]) -> dict[str, Any]:
    """The same, where the answer may also be text for other programs."""
    described = {200: {"content": _TEXTS, "description": "the timeline in the form that was asked for"}}
    return sent | {"responses": described | sent["responses"]}


def _segment(video: Video, span: Span) -> Segment:
    return Segment(video.path, start=span.start, end=span.end)


def _named(said: Prediction, video: Video, model: str, top: int | None) -> dict[str, Any]:
    """What `quickstep predict --json` says, under the client's name for the video."""
    record = to_json(Predictions((said,)), top=top)["predictions"][0]
    record.pop("path")
    return {"video": video.name, "model": model, **record, "reading": said.confidence}


def _timeline(made: Made, video: Video, model: str, form: str) -> Response:
    own: Callable[[object], str] = lambda text: str(text).replace(str(video.path), video.name)  # noqa: E731 - where our path stood
    made = replace(made, video=Path(video.name))
    if form == "json":
        told = made.to_json()
        return JSONResponse({**told, "video": video.name, "model": model, "failures": [own(each) for each in told["failures"]]})
    text = FORMATS[f".{form}"]([made] if form == "csv" else made)
    return Response(text, media_type=_TYPES[form])
