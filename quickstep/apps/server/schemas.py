"""What is answered, as types with examples: they make the description that programs and people read, and check nothing themselves."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Wrong(BaseModel):
    """What every error says."""

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
    what_to_do: str = Field(description="the way out")


class Named(BaseModel):
    """What a model says of a video."""

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
                    "sure": True,
                    "reading": "sure",
                    "scores": {"windmill": 0.93, "halo": 0.05, "toprock": 0.02},
                }
            ]
        }
    )
    video: str = Field(description="the client's name for it")
    model: str
    start: float = Field(description="seconds")
    end: float | None = Field(description="seconds; null: to the end of the video")
    label: str = Field(description="the likeliest label")
    score: float = Field(description="its calibrated probability")
    sure: bool | None = Field(description="whether answers this sure were right 95 times in 100 on validation; null: not known")
    reading: str = Field(description="the same in words")
    scores: dict[str, float] = Field(description="the likeliest labels first; all of them, or as many as `top`")
    damaged: float | None = Field(None, description="the share of moments that could not be read; absent where all could")


class TimelineMade(BaseModel):
    """What is danced when."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "video": "show.mp4",
                    "model": "dances",
                    "duration": 12.0,
                    "labels": ["halo", "windmill"],
                    "spans": [{"start": 0.0, "end": 7.5, "label": "windmill", "score": 0.91, "likeliest": "windmill"}],
                    "moments": [{"window": 2.0, "hop": 0.5, "times": [1.0, 1.5], "scores": [[0.1, 0.9], None]}],
                    "failures": [],
                    "damaged": 0.0,
                }
            ]
        }
    )
    video: str
    model: str
    duration: float = Field(description="seconds")
    labels: list[str] = Field(description="in the order of every row of scores")
    spans: list[dict[str, Any]] = Field(description="in half-open seconds; the label is null where the model is not sure of any")
    moments: list[dict[str, Any]] = Field(description="the scores over time behind the spans; null where there was nothing to look at")
    failures: list[str] = Field(description="stretches that could not be read")
    damaged: float = Field(description="the share of moments that could not be read")


class PeopleFound(BaseModel):
    """Where everybody's joints are."""

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
    skeleton: dict[str, Any] = Field(description="the joints' names, in order, and which are joined")
    size: list[int] | None = Field(description="width and height of the upright picture")
    moments: int = Field(description="moments looked at")
    people: list[dict[str, Any]] = Field(description="of each person the times, and at each the joints: [x, y, score] in pixels, or null")


class MomentsFound(BaseModel):
    """The moments of a library that match."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "query": "spins on the head",
                    "good": True,
                    "best": 0.31,
                    "cutoff": 0.27,
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
    good: bool | None = Field(description="whether the best is a match; null: not known")
    best: float | None
    cutoff: float | None = Field(description="from which score on something was really found")
    false_alarms: float | None
    moments: list[dict[str, Any]] = Field(description="best first; none below the cut-off unless `all`")
    sentences: list[str] = Field(description="the same in words")


class ModelFacts(BaseModel):
    """What a served model is."""

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
                    "report": ["82 of 100 segments named right."],
                }
            ]
        }
    )
    model: str
    models: list[str] = Field(description="all that are served; the first is asked where a request names none")
    labels: list[str]
    backbone: dict[str, Any] | None = Field(description="null: it is made of several models")
    head: str | None
    view: dict[str, Any] | None = Field(description="which moments of a video are looked at, and at what size")
    threshold: float | None = Field(description="the lowest score that counts as sure; null: not known")
    facts: dict[str, Any] = Field(description="how it came to be, and on how many segments")
    cautions: list[str] = Field(description="what is computed otherwise here than where it was trained")
    report: list[str] | None = Field(description="how good it is, in sentences; null: never measured")


class Health(BaseModel):
    """Whether the service takes requests."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok", "version": "0.1.0", "waiting": 0}]})
    status: str = Field(description="ok, or stopping")
    version: str
    waiting: int = Field(description="requests that wait for an engine")
