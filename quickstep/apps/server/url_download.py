"""Downloader: download a video from a public URL, never from a private address, wherever a name or a redirect leads.

Every host name is resolved here, and the connection goes to exactly the address that was checked. So a name cannot point to another
address at the second look-up.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from quickstep.apps.server.config import Limits
from quickstep.apps.server.error_responses import Problem
from quickstep.apps.server.multipart import disk_full
from quickstep.types.progress import StopSignal

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_REDIRECTS = 5
_PIECE_BYTES = 2**16
_READ_SECONDS = 10.0  # of one read
_OVERHEAD_BYTES = 2**20  # of heads and marks between chunks, besides half of the video's size
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # an IPv4 address is in the last four bytes
_HELP = "name a video that anybody can download by http or https"


def is_public(address: Address) -> bool:
    """Tell whether an address is on the public internet, also if another address is embedded in it."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        embedded = [address.sixtofour, *(address.teredo or ())]
        if any(inner is not None and not is_public(inner) for inner in embedded):
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback)


@dataclass(frozen=True)
class Downloader:
    """Downloads videos within limits, from allowed addresses."""

    limits: Limits
    is_allowed: Callable[[Address], bool] = is_public

    def download(self, url: str, path: Path, stop: StopSignal | None = None) -> int:
        """Write the file at a URL to a path; return its size in bytes. `stop` ends it, whatever the other side sends."""
        stop = stop or StopSignal(self.limits.upload_seconds)
        for _ in range(MAX_REDIRECTS + 1):
            with self._request(url, stop) as response:
                if response.status in (301, 302, 303, 307, 308):
                    url = urljoin(url, response.headers.get("Location", ""))
                    continue
                if response.status != 200:
                    raise Problem(422, f"the URL returned status {response.status}, not 200", _HELP)
                with path.open("xb") as file:
                    return self._copy(response, file)
        raise Problem(422, f"the URL redirects more than {MAX_REDIRECTS} times", "name the video's own URL")

    @contextlib.contextmanager
    def _request(self, url: str, stop: StopSignal) -> Iterator[http.client.HTTPResponse]:
        parts, host, port = _parts(url)
        try:
            connection = _PinnedConnection(host, port, self._resolve(host, port), secure=parts.scheme == "https", timeout=_remaining(stop))
            timed: Any = partial(_TimedResponse, stop=stop, most=self.limits.max_bytes)
            connection.response_class = timed
            try:
                target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (f"?{parts.query}" if parts.query else "")
                connection.request("GET", target, headers={"User-Agent": "quickstep", "Accept-Encoding": "identity"})
                with contextlib.closing(connection.getresponse()) as response:
                    yield response
            finally:
                connection.close()
        except TimeoutError:
            raise too_slow() from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or type(error).__name__
            raise Problem(422, f"the URL cannot be downloaded: {reason}", _HELP) from error

    def _resolve(self, host: str, port: int) -> str:
        """Return an address of a host; refuse the host if any of its addresses is private."""
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]).split("%")[0] for entry in entries]
        if not addresses or not all(self.is_allowed(ipaddress.ip_address(address)) for address in addresses):
            raise Problem(403, "the URL does not lead to the public internet", _HELP)
        return addresses[0]

    def _copy(self, response: http.client.HTTPResponse, file: BinaryIO) -> int:
        size = 0
        if (stated := response.length) is not None and stated > self.limits.max_bytes:
            raise _too_large(self.limits.max_bytes)
        while piece := response.read1(_PIECE_BYTES):
            size += len(piece)
            if size > self.limits.max_bytes:
                raise _too_large(self.limits.max_bytes)
            try:
                file.write(piece)
            except OSError as error:
                raise disk_full(error) from error
        if stated is not None and size < stated:
            raise Problem(422, "the download ended in the middle of the video", "send the request again, or upload the video")
        if not size:
            raise Problem(422, "the file at the URL is empty (0 bytes)", _HELP)
        return size


class _TimedResponse(http.client.HTTPResponse):
    """A response whose every byte counts: of its head, of what precedes it (100 Continue), and of the marks between its chunks."""

    def __init__(self, sock: socket.socket, *args: Any, stop: StopSignal, most: int, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_TimedStream(sock, stop, most))


class _TimedStream(io.RawIOBase):
    """The bytes of a socket, until its time is over or there are more than the largest video can explain."""

    def __init__(self, sock: socket.socket, stop: StopSignal, most: int) -> None:
        self._sock, self._stop, self._most, self._left = sock, stop, most, most + most // 2 + _OVERHEAD_BYTES
        self._bytes = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read some bytes."""
        self._sock.settimeout(_remaining(self._stop))
        count = self._bytes.readinto(buffer)
        self._left -= count or 0
        if self._left < 0:
            raise _too_large(self._most)
        return count

    def close(self) -> None:
        """Close the stream."""
        self._bytes.close()
        super().close()


class _PinnedConnection(http.client.HTTPConnection):
    """A connection to one address without another look-up of the name; the certificate is still checked against the name."""

    def __init__(self, host: str, port: int, address: str, *, secure: bool, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self._address, self._secure = address, secure
        self.default_port = 443 if secure else 80

    def connect(self) -> None:
        """Connect to the given address."""
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
        raise Problem(422, "this is not an http or https URL", _HELP)
    if parts.username is not None or parts.password is not None:
        raise Problem(422, "the URL contains a user name and a password", "name a URL without them")
    if not parts.query.isascii() or any(letter <= " " for letter in parts.query):
        raise Problem(422, "the URL has characters that must be written as %XX", _HELP)
    return parts, host, port or (443 if parts.scheme == "https" else 80)


def name_in_url(url: str) -> str:
    """Return the last part of a URL's path."""
    try:
        return unquote(urlsplit(url).path.rsplit("/", 1)[-1])
    except ValueError:
        return ""


def _remaining(stop: StopSignal) -> float:
    """Return the seconds that the next step may take."""
    if stop.is_set:
        raise too_slow()
    return min(stop.remaining, _READ_SECONDS)


def too_slow() -> Problem:
    """Return the response to a download that takes too long."""
    return Problem(408, "the download was too slow", "name a faster server, or upload the video")


def _too_large(max_bytes: int) -> Problem:
    return Problem(413, f"the file at the URL is larger than {max_bytes / 1e6:g} MB", "name a shorter or smaller video")
