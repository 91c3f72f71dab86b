"""What can be said with a request: the parameters in its address, and the body that brings a video."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from quickstep.apps.server.error_responses import Problem
from quickstep.apps.server.multipart import FIELD
from quickstep.apps.server.video_limits import Span

_LONGEST = 1e6  # seconds


class PartAsked(BaseModel):
    """Which part of a video."""

    model_config = ConfigDict(extra="forbid")
    start: float = Field(0.0, ge=0, le=_LONGEST, allow_inf_nan=False, description="seconds; where the part begins")
    end: float | None = Field(None, gt=0, le=_LONGEST, allow_inf_nan=False, description="seconds; where it ends (default: with the video)")

    @property
    def span(self) -> Span:
        """The same, checked together."""
        if self.end is not None and self.end <= self.start:
            raise Problem(422, f"end ({self.end:g} s) is not after start ({self.start:g} s)", "name an end after the start")
        return Span(self.start, self.end)


class NamesAsked(PartAsked):
    """What `POST /predict` is told."""

    model_config = ConfigDict(extra="forbid")

    top: int | None = Field(None, ge=1, le=100_000, description="how many labels, the likeliest first (default: all)")
    model: str | None = Field(None, max_length=200, description="which of several models (default: the first)")


class TimelineAsked(BaseModel):
    """What `POST /timeline` is told; the whole video is looked at."""

    model_config = ConfigDict(extra="forbid")
    model: str | None = Field(None, max_length=200, description="which of several models (default: the first)")
    format: Literal["json", "srt", "vtt", "csv"] = Field("json", description="the form of the answer")


class MomentsAsked(BaseModel):
    """What `GET /search` is told."""

    model_config = ConfigDict(extra="forbid")
    words: str | None = Field(None, min_length=1, max_length=1000, description="what to find, in words", examples=["spins on the head"])
    label: str | None = Field(None, min_length=1, max_length=200, description="find what a model named so when the library was indexed")
    top: int = Field(10, ge=1, le=1000, description="how many moments, at most")
    all: bool = Field(False, description="show also what is below the cut-off")


class ModelAsked(BaseModel):
    """What `GET /model` is told."""

    model_config = ConfigDict(extra="forbid")
    model: str | None = Field(None, max_length=200, description="which of several models (default: the first)")


Names = Annotated[NamesAsked, Query()]
Part = Annotated[PartAsked, Query()]
Timeline = Annotated[TimelineAsked, Query()]
Moments = Annotated[MomentsAsked, Query()]
Which = Annotated[ModelAsked, Query()]

# The body is read by hand, piece by piece, so it is described by hand too.
_NAMED = {"type": "string", "minLength": 1}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A video; or, where the service was started so, the path or the address of one.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "additionalProperties": False,
                    "properties": {FIELD: {"type": "string", "format": "binary", "description": "the video, any container FFmpeg reads"}},
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": False,
                    "properties": {
                        "path": {**_NAMED, "description": "a file in the folder of --allow-paths"},
                        "url": {**_NAMED, "description": "a public http(s) address, with --allow-urls"},
                    },
                },
                "examples": {
                    "path": {"summary": "a file of the server", "value": {"path": "2026/dance.mp4"}},
                    "url": {"summary": "an address", "value": {"url": "https://example.org/dance.mp4"}},
                },
            },
        },
    }
}
