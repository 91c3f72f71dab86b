"""fetch: a video from an address into a file. Never from a private address, wherever a name or a redirect leads.

Every name is resolved here and the connection goes to exactly the address that was checked, so that a name cannot mean another one
the second time it is asked. Knows no route.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from quickstep.apps.server.config import Limits
from quickstep.apps.server.error_responses import Problem

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

REDIRECTS = 5
_PIECE = 2**16
_STEP = 10.0  # seconds that one read may take
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # NAT64: an IPv4 address in its last four bytes
_PUBLIC = "name a video that anybody can fetch by http or https"


def is_public(address: Address) -> bool:
    """Whether an address is one of the open internet, through every way of writing another one inside it."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _TRANSLATED:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        inside = [address.sixtofour, *(address.teredo or ())]
        if any(each is not None and not is_public(each) for each in inside):
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback)


@dataclass(frozen=True)
class Fetch:
    """How addresses are fetched: within which limits, from where."""

    limits: Limits
    may: Callable[[Address], bool] = is_public

    def to(self, url: str, path: Path) -> int:
        """Write what is at an address to a path; gives its size."""
        end = time.monotonic() + self.limits.upload_seconds
        for _ in range(REDIRECTS + 1):
            with self._asked(url, end) as answer:
                if answer.status in (301, 302, 303, 307, 308):
                    url = urljoin(url, answer.headers.get("Location", ""))
                    continue
                if answer.status != 200:
                    raise Problem(422, f"the address answered {answer.status}, not 200", _PUBLIC)
                with path.open("xb") as file:
                    return self._copy(answer, file, end)
        raise Problem(422, f"the address leads on more than {REDIRECTS} times", "name the video's own address")

    @contextlib.contextmanager
    def _asked(self, url: str, end: float) -> Iterator[http.client.HTTPResponse]:
        parts, host, port = _parts(url)
        try:
            connection = _Pinned(host, port, self._resolve(host, port), secure=parts.scheme == "https", timeout=_left(end))
            try:
                target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (f"?{parts.query}" if parts.query else "")
                connection.request("GET", target, headers={"User-Agent": "quickstep", "Accept-Encoding": "identity"})
                with contextlib.closing(connection.getresponse()) as answer:
                    yield answer
            finally:
                connection.close()
        except TimeoutError:
            raise _slow() from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or type(error).__name__
            raise Problem(422, f"the address cannot be fetched: {reason}", _PUBLIC) from error

    def _resolve(self, host: str, port: int) -> str:
        """An address that a name means; refused when any of them is private."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(each[4][0]).split("%")[0] for each in found]
        if not addresses or not all(self.may(ipaddress.ip_address(each)) for each in addresses):
            raise Problem(403, "the address is not one of the open internet", _PUBLIC)
        return addresses[0]

    def _copy(self, answer: http.client.HTTPResponse, file: BinaryIO, end: float) -> int:
        size = 0
        if (stated := answer.length) is not None and stated > self.limits.max_bytes:
            raise self._too_large()
        while piece := answer.read1(_PIECE):
            size += len(piece)
            if size > self.limits.max_bytes:
                raise self._too_large()
            if time.monotonic() > end:
                raise _slow()
            file.write(piece)
        if stated is not None and size < stated:
            raise Problem(422, "the address broke off in the middle of the video", "send the request again, or the video itself")
        if not size:
            raise Problem(422, "there is nothing at the address (0 bytes)", _PUBLIC)
        return size

    def _too_large(self) -> Problem:
        return Problem(413, f"what is at the address is larger than {self.limits.max_mb:g} MB", "name a shorter or smaller video")


class _Pinned(http.client.HTTPConnection):
    """A connection to one address, whatever the name means by now; its certificate is still checked against the name."""

    def __init__(self, host: str, port: int, address: str, *, secure: bool, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self._address, self._secure = address, secure
        self.default_port = 443 if secure else 80

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), self.timeout)
        if self._secure:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


def _parts(url: str) -> tuple[SplitResult, str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or not host.isprintable():
        raise Problem(422, "this is no http or https address", _PUBLIC)
    if parts.username is not None or parts.password is not None:
        raise Problem(422, "the address holds a name and a password", "name an address without them")
    if not parts.query.isascii() or any(each <= " " for each in parts.query):
        raise Problem(422, "the address has characters that must be written as %XX", _PUBLIC)
    return parts, host, port or (443 if parts.scheme == "https" else 80)


def name_in(url: str) -> str:
    """The last part of an address, as a name for people."""
    try:
        return unquote(urlsplit(url).path.rsplit("/", 1)[-1])
    except ValueError:
        return ""


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise _slow()
    return min(left, _STEP)


def _slow() -> Problem:
    return Problem(408, "the address answers too slowly", "name one that is quicker, or send the video itself")
