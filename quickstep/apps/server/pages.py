"""The pages of the service for people: what it is, and /docs, where one can try a request. They load nothing from another machine."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

_CODE = re.compile(r"`([^`]*)`")
_TYPES = {"integer": "number", "number": "number"}
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_TEMPLATES.filters["code"] = lambda text: Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))
_HOME = """{title} {version}, a service that recognizes moves in video.

Send a video:     curl -F file=@dance.mp4 {address}predict
Try it, and help: {address}docs
For programs:     {address}openapi.json
"""


def add_pages(app: FastAPI, *, needs_token: bool) -> None:
    """Add / and /docs; they say nothing of the models, and need no token."""

    @app.get("/", include_in_schema=False)
    async def home(request: Request) -> Response:
        text = _HOME.format(title=app.title, version=app.version, address=request.base_url)
        if "text/html" in request.headers.get("accept", ""):
            return _html("home.html.jinja", title=app.title, version=app.version, address=str(request.base_url))
        return PlainTextResponse(text)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        described = app.openapi()
        schemas = described.get("components", {}).get("schemas", {})
        routes = [(path, method.upper(), route) for path, methods in described["paths"].items() for method, route in methods.items()]
        rows = [_row(*route, schemas) for route in routes]
        return _html("docs.html.jinja", info=described["info"], rows=rows, needs_token=needs_token)


def _html(template: str, **values: Any) -> Response:
    """Render a page that can load only its own script and styles, and send requests only to this service."""
    nonce = secrets.token_urlsafe(16)
    own = f"'nonce-{nonce}'"
    policy = f"default-src 'none'; script-src {own}; style-src {own}; connect-src 'self'; base-uri 'none'; form-action 'none'"
    headers = {"Content-Security-Policy": f"{policy}; frame-ancestors 'none'", "X-Content-Type-Options": "nosniff"}
    return HTMLResponse(_TEMPLATES.get_template(template).render(nonce=nonce, **values), headers=headers)


def _row(path: str, method: str, route: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Return what the page shows of one route."""
    responses = []
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
        "parameters": [_field(parameter) for parameter in route.get("parameters", [])],
        "bodies": list(route.get("requestBody", {}).get("content", {})),
        "responses": responses,
    }


def _field(parameter: dict[str, Any]) -> dict[str, Any]:
    """Return the form field of a parameter."""
    schema = parameter["schema"]
    kinds = [schema.get("type"), *(option.get("type") for option in schema.get("anyOf", []))]
    is_switch = "boolean" in kinds
    default = schema.get("default")
    return {
        "name": parameter["name"],
        "about": parameter.get("description") or schema.get("description", ""),
        "type": next((_TYPES[kind] for kind in kinds if kind in _TYPES), "text"),
        "choices": ["false", "true"] if is_switch else schema.get("enum", []),
        "default": "" if default is None else json.dumps(default) if is_switch else str(default),
    }
