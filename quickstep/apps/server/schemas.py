"""The parameters of requests and the fields of responses, as types with examples; they make the OpenAPI description."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from quickstep.apps.server.error_responses import Problem
from quickstep.apps.server.multipart import FIELD
from quickstep.apps.server.video_input import Span

_MAX_SECONDS = 1e6

# -- requests ---------------------------------------------------------------------------------------------------------------


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ModelRequest(_Request):
    """The parameters of `GET /model`."""

    model: str | None = Field(None, max_length=200, description="which of several models (default: the first)")


class PosesRequest(_Request):
    """The parameters of `POST /poses`: a part of the video."""

    start: float = Field(0.0, ge=0, le=_MAX_SECONDS, allow_inf_nan=False, description="seconds; the start of the part")
    end: float | None = Field(None, gt=0, le=_MAX_SECONDS, allow_inf_nan=False, description="seconds; its end (default: of the video)")

    @property
    def span(self) -> Span:
        """The part as a span."""
        if self.end is not None and self.end <= self.start:
            raise Problem(422, f"end ({self.end:g} s) is not after start ({self.start:g} s)", "choose an end after the start")
        return Span(self.start, self.end)


class PredictRequest(PosesRequest):
    """The parameters of `POST /predict`."""

    top: int | None = Field(None, ge=1, le=100_000, description="how many labels, the most probable first (default: all)")
    model: str | None = Field(None, max_length=200, description="which of several models (default: the first)")


class TimelineRequest(ModelRequest):
    """The parameters of `POST /timeline`, which reads the whole video."""

    format: Literal["json", "srt", "vtt", "csv"] = Field("json", description="the format of the response")


class SearchRequest(_Request):
    """The parameters of `GET /search`."""

    text: str | None = Field(None, min_length=1, max_length=1000, description="a text to search for", examples=["spins on the head"])
    words: str | None = Field(None, min_length=1, max_length=1000, deprecated=True, description="the old name of `text`")
    label: str | None = Field(None, min_length=1, max_length=200, description="a label that a model gave when the library was indexed")
    top: int = Field(10, ge=1, le=1000, description="how many moments, at most")
    all: bool = Field(False, description="also return moments below the match threshold")


ModelQuery = Annotated[ModelRequest, Query()]
PosesQuery = Annotated[PosesRequest, Query()]
PredictQuery = Annotated[PredictRequest, Query()]
TimelineQuery = Annotated[TimelineRequest, Query()]
SearchQueryParameters = Annotated[SearchRequest, Query()]

# The body is read in pieces, without pydantic, so its description is written by hand.
_TEXT = {"type": "string", "minLength": 1}
VIDEO_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A video; or, if the service allows it, the path or the URL of one.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "additionalProperties": False,
                    "properties": {
                        FIELD: {"type": "string", "format": "binary", "description": "the video, in any container FFmpeg reads"}
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": False,
                    "properties": {
                        "path": {**_TEXT, "description": "a file in the folder of --allow-paths"},
                        "url": {**_TEXT, "description": "a public http(s) URL, with --allow-urls"},
                    },
                },
                "examples": {
                    "path": {"summary": "a file of the server", "value": {"path": "2026/dance.mp4"}},
                    "url": {"summary": "a URL", "value": {"url": "https://example.org/dance.mp4"}},
                },
            },
        },
    }
}

# -- responses --------------------------------------------------------------------------------------------------------------


class ErrorResponse(BaseModel):
    """The fields of every error."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": "dance.mp4: not a video, or damaged beyond reading",
                    "what_to_do": "send a whole video file (mp4, mov, mkv, webm, avi ...) that a player can open",
                }
            ]
        }
    )
    error: str = Field(description="what is wrong")
    what_to_do: str = Field(description="how to correct it")


class PredictResponse(BaseModel):
    """The prediction of a model for a video."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "video": "dance.mp4",
                    "model": "dances",
                    "start": 0.0,
                    "end": None,
                    "label": "windmill",
                    "score": 0.93,
                    "confidence": "sure",
                    "scores": {"windmill": 0.93, "halo": 0.05, "toprock": 0.02},
                }
            ]
        }
    )
    video: str = Field(description="the client's name for the video")
    model: str
    start: float = Field(description="seconds")
    end: float | None = Field(description="seconds; null: to the end of the video")
    label: str = Field(description="the most probable label")
    score: float = Field(description="its calibrated probability")
    confidence: Literal["sure", "not sure", "uncalibrated"] = Field(
        description="sure: predictions with such a score were 95 % accurate in validation"
    )
    scores: dict[str, float] = Field(description="the most probable labels first; all of them, or as many as `top`")
    damaged: float | None = Field(None, description="the share of frames that could not be read; absent if all could")


class TimelineResponse(BaseModel):
    """The timeline of a video."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "video": "show.mp4",
                    "model": "dances",
                    "duration": 12.0,
                    "labels": ["halo", "windmill"],
                    "spans": [
                        {"start": 0.0, "end": 7.5, "label": "windmill", "score": 0.91, "most_probable": "windmill", "confidence": "sure"}
                    ],
                    "moments": [{"window": 2.0, "stride": 0.5, "times": [1.0, 1.5], "scores": [[0.1, 0.9], None]}],
                    "failures": [],
                    "damaged": 0.0,
                }
            ]
        }
    )
    video: str
    model: str
    duration: float = Field(description="seconds")
    labels: list[str] = Field(description="in the order of each row of scores")
    spans: list[dict[str, Any]] = Field(description="in half-open seconds; the label is null where the model is not confident")
    moments: list[dict[str, Any]] = Field(description="the scores over time; null where no frame could be read")
    failures: list[str] = Field(description="parts that could not be read")
    damaged: float = Field(description="the share of frames that could not be read")


class PosesResponse(BaseModel):
    """The joints of all people in a video."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "video": "dance.mp4",
                    "skeleton": {"name": "coco-17", "joints": ["nose", "left_eye"], "edges": [[0, 1]]},
                    "size": [640, 480],
                    "moments": 2,
                    "people": [{"person": 0, "times": [0.0, 0.04], "joints": [[[310.2, 80.1, 0.98], None], [[311.0, 80.0, 0.97], None]]}],
                }
            ]
        }
    )
    video: str
    skeleton: dict[str, Any] = Field(description="the names of the joints, in order, and the edges between them")
    size: list[int] | None = Field(description="width and height of the upright frames")
    moments: int = Field(description="number of frames read")
    people: list[dict[str, Any]] = Field(description="for each person the times, and at each time the joints: [x, y, score] or null")


class SearchResponse(BaseModel):
    """The moments of a library that match."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "query": "spins on the head",
                    "good": True,
                    "best": 0.31,
                    "threshold": 0.27,
                    "false_alarms": 0.05,
                    "moments": [
                        {
                            "path": "/videos/a.mp4",
                            "start": 2.0,
                            "end": 8.0,
                            "score": 0.31,
                            "best": [4.0, 8.0],
                            "names": {"headspin": 0.9},
                            "metadata": {},
                        }
                    ],
                    "sentences": [],
                }
            ]
        }
    )
    query: str
    good: bool | None = Field(description="whether the best moment is a match; null: unknown")
    best: float | None
    threshold: float | None = Field(description="the match threshold")
    false_alarms: float | None
    moments: list[dict[str, Any]] = Field(description="best first; none below the match threshold unless `all`")
    sentences: list[str] = Field(description="the result in words")


class ModelResponse(BaseModel):
    """The description of a served model."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "dances",
                    "models": ["dances"],
                    "labels": ["halo", "toprock", "windmill"],
                    "backbone": {"name": "clip-vit-b32", "license": "MIT"},
                    "head": "linear",
                    "view": {"frames": 8, "size": 224},
                    "threshold": 0.7,
                    "facts": {"created": "2026-01-01T00:00:00+00:00"},
                    "cautions": [],
                    "report": ["82 of 100 segments are classified correctly."],
                }
            ]
        }
    )
    model: str
    models: list[str] = Field(description="all served models; the first is the default")
    labels: list[str]
    backbone: dict[str, Any] | None = Field(description="null: an ensemble of several models")
    head: str | None
    view: dict[str, Any] | None = Field(description="which frames of a video are read, and at what size")
    threshold: float | None = Field(description="the lowest score that counts as sure; null: uncalibrated")
    facts: dict[str, Any] = Field(description="how it was trained, and on how many segments")
    cautions: list[str] = Field(description="differences between this machine and the one it was trained on")
    report: list[str] | None = Field(description="its evaluation, in sentences; null: not evaluated")


class HealthResponse(BaseModel):
    """Whether the service accepts requests."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok", "version": "0.1.0", "waiting": 0}]})
    status: str = Field(description="ok, or stopping")
    version: str
    waiting: int = Field(description="requests that wait for a worker")
