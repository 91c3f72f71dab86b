"""The service's description: what OpenAPI says of it, and /docs, a page that needs nothing from the net."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI
from jinja2 import Environment

from quickstep.apps.server.schemas import Wrong

ABOUT = """Names the moves in video. Send a video, get its label with calibrated scores: the same to the bit as `quickstep predict` gives on
the same machine. Every error is `{"error": ..., "what_to_do": ...}`. Videos are removed as soon as they were looked at."""

_SAID = {
    400: "the body is broken",
    401: "the token is missing or wrong",
    403: "the path or address is not open to clients",
    404: "there is no such model, file or library",
    408: "the upload came too slowly",
    413: "the video is larger or longer than is taken",
    415: "the body is of another type",
    422: "the parameters or the video cannot be used",
    424: "this part of the service is not set up",
    503: "too many requests, or stopping; see Retry-After",
}
ASKED = (401, 422, 424, 503)  # what every question may be answered with
SENT = (400, 401, 403, 404, 408, 413, 415, 422, 424, 503)  # what every video may be


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The description of these errors."""
    return {status: {"model": Wrong, "description": _SAID[status]} for status in statuses}


def secured(app: FastAPI) -> None:
    """Let the description say that a token is asked for."""
    plain = app.openapi

    def with_token() -> dict[str, Any]:
        described: dict[str, Any] = plain()
        described.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"token": []}]
        described["paths"]["/healthz"]["get"]["security"] = []
        return described

    app.openapi = with_token  # type: ignore[method-assign]  # FastAPI's own way to change it


def page(described: dict[str, Any]) -> str:
    """The description as a page."""
    rows = [(path, method.upper(), told) for path, methods in described["paths"].items() for method, told in methods.items()]
    schemas = described.get("components", {}).get("schemas", {})
    return _PAGE.render(info=described["info"], rows=[_row(*row, schemas) for row in rows])


def _row(path: str, method: str, told: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    answers = []
    for status, answer in told.get("responses", {}).items():
        content = answer.get("content", {}).get("application/json", {})
        name = content.get("schema", {}).get("$ref", "").rsplit("/", 1)[-1]
        examples = schemas.get(name, {}).get("examples", [])
        shown = json.dumps(examples[0], indent=1, ensure_ascii=False) if examples and status == "200" else ""
        answers.append((status, answer.get("description", ""), shown))
    return {
        "path": path,
        "method": method,
        "about": told.get("summary", ""),
        "more": told.get("description", ""),
        "asked": [(each["name"], each.get("description") or each["schema"].get("description", "")) for each in told.get("parameters", [])],
        "bodies": list(told.get("requestBody", {}).get("content", {})),
        "answers": answers,
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
<table>{% for name, about in row.asked %}<tr><td><code>{{ name }}</code></td><td>{{ about }}</td></tr>{% endfor %}</table>
<table>{% for status, about, example in row.answers %}<tr><td><code>{{ status }}</code></td><td>{{ about }}
{% if example %}<pre>{{ example }}</pre>{% endif %}</td></tr>{% endfor %}</table></details>{% endfor %}</html>
"""
)
