"""The OpenAPI description of the service."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from quickstep.apps.server.schemas import ErrorResponse

ABOUT = """Recognizes moves in video. Send a video and get its label with calibrated scores, bit for bit equal to those of
`quickstep predict` on the same machine. Every error is `{"error": ..., "what_to_do": ...}`. A video is removed when its request ends."""

_DESCRIPTIONS = {
    400: "the body is malformed",
    401: "the token is missing or wrong",
    403: "the path or URL is not open to clients",
    404: "there is no such model, file or library",
    408: "the upload was too slow",
    413: "the video is larger or longer than the limit",
    415: "the type of the body is not supported",
    421: "the Host is not a name of this service",
    422: "the parameters or the video cannot be used",
    429: "the limit of the token is reached; see Retry-After",
    424: "this part of the service is not set up",
    503: "too many requests, or stopping; see Retry-After",
}
REQUEST_ERRORS = (400, 401, 421, 422, 424, 429, 503)  # of every request
VIDEO_ERRORS = (400, 401, 403, 404, 408, 413, 415, 421, 422, 424, 429, 503)  # of every request with a video


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the error responses with these statuses."""
    return {status: {"model": ErrorResponse, "description": _DESCRIPTIONS[status]} for status in statuses}


def require_token(app: FastAPI) -> None:
    """Describe that requests need a token."""
    original = app.openapi

    def with_token() -> dict[str, Any]:
        described: dict[str, Any] = original()
        described.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"token": []}]
        described["paths"]["/healthz"]["get"]["security"] = []
        return described

    app.openapi = with_token  # type: ignore[method-assign]  # FastAPI's own way to change it
