"""RequestGuard: refuses requests for another host (DNS rebinding), and changes that a web page of another origin sends."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from quickstep.types.errors import ConfigError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")  # they change nothing, and the browser keeps their answers from pages of other origins
_PORTS = {"http": 80, "https": 443}
_POLICY_VIOLATION = 1008  # of a websocket


@dataclass(frozen=True)
class Refusal:
    """Why a request is refused."""

    status: int
    error: str
    what_to_do: str


@dataclass(frozen=True)
class RequestGuard:
    """An ASGI application in front of another one; answers what it refuses, before anything of the body is read.

    A page that is open in the same browser can reach a local service in two ways: its own name can be made to lead to 127.0.0.1 (the
    `Host` is then that name), or it sends a form to the service's address (the `Origin` is then the page's).
    """

    app: App
    hosts: Collection[str] = ()  # allowed besides localhost and addresses
    origins: Collection[str] = field(default=())  # of pages that may send changes, besides the service's own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or one websocket."""
        refusal = None if scope["type"] == "lifespan" else self.refusal(scope)
        if refusal is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        else:
            await _answer(refusal, send)

    def refusal(self, scope: Scope) -> Refusal | None:
        """Return why a request is refused, or None."""
        headers = scope["headers"]
        hosts, origins = _values(headers, b"host"), _values(headers, b"origin")
        if _values(headers, b"content-length") and _values(headers, b"transfer-encoding"):
            return Refusal(400, "the request has a Content-Length and a Transfer-Encoding", "send one of them")
        host = _parse_host(hosts[0]) if len(hosts) == 1 else None
        if host is None or not self._is_allowed(host[0]):
            name = "" if host is None else f" {host[0][:60]!r}"
            return Refusal(
                421, f"the request is for another host{name}", "use the address that was printed, or start with --allowed-hosts NAME"
            )
        if scope["type"] == "http" and scope["method"] in SAFE_METHODS:
            return None
        if all(origin in self.origins or _is_same(origin, host) for origin in origins):
            return None
        return Refusal(403, "a web page of another origin sent the request", "name the origin with --cors ORIGIN, if you trust the page")

    def _is_allowed(self, name: str) -> bool:
        if name == "localhost" or name.endswith(".localhost") or name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def check_hosts(names: Collection[str]) -> None:
    """Refuse what is not the name of a host."""
    for name in names:
        parsed = _parse_host(name)
        if parsed is None or parsed[1] is not None:
            raise ConfigError("allowed_hosts", f"the name of a host without a port, such as moves.example.org; not {name!r}")


def check_origins(origins: Collection[str]) -> None:
    """Refuse what is not the origin of a web page."""
    for origin in origins:
        if "://" not in origin or origin.rstrip("/") != origin:
            raise ConfigError("cors", f"an origin such as https://example.org, without a path; not {origin!r}")


def check_tls(cert: Path | None, key: Path | None) -> None:
    """Refuse a certificate and a key that do not belong together or cannot be read."""
    if cert is None and key is None:
        return
    if cert is None or key is None:
        raise ConfigError("tls_cert" if cert is None else "tls_key", "is missing: a certificate and its key are given together")
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as error:
        raise ConfigError("tls_cert", f"{cert} and {key} are not a certificate and its key (PEM)") from error
    except OSError as error:
        raise ConfigError("tls_cert", f"{cert} or {key} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError("tls_key", f"{key}: {error}") from error


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _values(headers: Collection[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in headers if key.lower() == name]


def _parse_host(text: str) -> tuple[str, int | None] | None:
    """Return the name, in lower case and without brackets, and the port of a Host header; None if it is malformed."""
    if not text.isascii() or any(letter in text for letter in "/@?#\\, "):
        return None
    try:
        parts = urlsplit(f"//{text}")
        name, port = parts.hostname, parts.port
    except ValueError:
        return None
    return None if not name else (name.rstrip("."), port)


def _is_same(origin: str, host: tuple[str, int | None]) -> bool:
    """Whether a page's origin is the host that the request was sent to; behind a proxy with TLS, the schemes differ."""
    scheme, separator, rest = origin.lower().partition("://")
    parsed = _parse_host(rest)
    if not separator or parsed is None or scheme not in _PORTS:
        return False
    return (parsed[0], parsed[1] or _PORTS[scheme]) == (host[0], host[1] or _PORTS[scheme])


async def _answer(refusal: Refusal, send: Send) -> None:
    body = json.dumps({"error": refusal.error, "what_to_do": refusal.what_to_do}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
