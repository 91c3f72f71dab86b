"""The OpenAPI description of the service, and /docs, an HTML page of it that loads nothing from the internet."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI
from jinja2 import Environment

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


def page(described: dict[str, Any]) -> str:
    """Render the description as an HTML page."""
    rows = [(path, method.upper(), route) for path, methods in described["paths"].items() for method, route in methods.items()]
    schemas = described.get("components", {}).get("schemas", {})
    return _PAGE.render(info=described["info"], rows=[_row(*row, schemas) for row in rows])


def _row(path: str, method: str, route: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    responses, parameters = [], route.get("parameters", [])
    for status, response in route.get("responses", {}).items():
        content = response.get("content", {}).get("application/json", {})
        name = content.get("schema", {}).get("$ref", "").rsplit("/", 1)[-1]
        examples = schemas.get(name, {}).get("examples", [])
        example = json.dumps(examples[0], indent=1, ensure_ascii=False) if examples and status == "200" else ""
        responses.append((status, response.get("description", ""), example))
    return {
        "path": path,
        "method": method,
        "about": route.get("summary", ""),
        "more": route.get("description", ""),
        "parameters": [(item["name"], item.get("description") or item["schema"].get("description", "")) for item in parameters],
        "bodies": list(route.get("requestBody", {}).get("content", {})),
        "responses": responses,
    }


_PAGE = Environment(autoescape=True).from_string(
    """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ info.title }}</title><style>
:root { color-scheme: light dark } body { font: 16px/1.5 system-ui, sans-serif; max-width: 54rem; margin: 2rem auto; padding: 0 1rem }
summary { cursor: pointer; font: 600 1.05rem ui-monospace, monospace; padding: .4rem 0 } summary span { font: 1rem system-ui; opacity: .75 }
pre { overflow: auto; padding: .6rem; background: color-mix(in srgb, currentColor 8%, transparent); border-radius: .4rem }
td { padding: .1rem 1rem .1rem 0; vertical-align: top } code { font-family: ui-monospace, monospace }</style>
<h1>{{ info.title }} <small>{{ info.version }}</small></h1><p>{{ info.description }}</p><p><a href="openapi.json">openapi.json</a></p>
{% for row in rows %}<details><summary>{{ row.method }} {{ row.path }} <span>{{ row.about }}</span></summary><p>{{ row.more }}</p>
{% if row.bodies %}<p>body: {% for body in row.bodies %}<code>{{ body }}</code>{{ ", " if not loop.last }}{% endfor %}</p>{% endif %}
<table>{% for name, about in row.parameters %}<tr><td><code>{{ name }}</code></td><td>{{ about }}</td></tr>{% endfor %}</table>
<table>{% for status, about, example in row.responses %}<tr><td><code>{{ status }}</code></td><td>{{ about }}
{% if example %}<pre>{{ example }}</pre>{% endif %}</td></tr>{% endfor %}</table></details>{% endfor %}</html>
"""
)
