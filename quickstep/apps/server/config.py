"""ServeConfig, Limits and TokenLimits: the options of the service. Imports nothing heavy, because the command line reads it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from quickstep.apps.request_guard import check_hosts, check_origins, check_tls
from quickstep.types.config_fields import at_least, between, setting
from quickstep.types.errors import ConfigError

TOKEN = "QUICKSTEP_TOKEN"  # the environment variable


@dataclass(frozen=True)
class ServeConfig:
    """Where the service listens, which clients it serves, and which videos they may name."""

    host: str = setting("127.0.0.1", "the address to listen on; 0.0.0.0 accepts other machines")
    port: int = setting(8000, "the port to listen on; 0 takes any free one")
    token: str | None = setting(None, f"the token that clients must send as Authorization: Bearer TOKEN (default: ${TOKEN}, else none)")
    tokens: Path | None = setting(None, "a file of tokens with names and limits, which `quickstep token NAME` writes; clients send one")
    allowed_hosts: tuple[str, ...] = setting(
        (), "names under which clients reach the service, besides localhost and addresses, such as moves.example.org"
    )
    tls_cert: Path | None = setting(None, "a certificate (PEM, with its chain): the service answers https; needs --tls-key")
    tls_key: Path | None = setting(None, "the private key of the certificate (PEM)")
    access_log: Path | None = setting(None, "a file that gets one line of JSON for each request; - for stderr (default: none)")
    allow_paths: Path | None = setting(None, "a folder; clients may name videos in it instead of uploading them")
    allow_urls: bool = setting(False, "let clients name videos by public http(s) URLs")
    cors: tuple[str, ...] = setting((), "origins of web pages that may send requests, such as https://example.org (default: none)")
    keep_features: bool = setting(False, "keep the features of videos in the cache, under their sha256 (default: keep nothing)")

    def __post_init__(self) -> None:
        between("port", self.port, 0, 65535)
        if self.token is not None and not self.token.strip():
            raise ConfigError("token", "is empty; leave it out for a service without one")
        check_tls(self.tls_cert, self.tls_key)
        if self.allow_paths is not None and not self.allow_paths.is_dir():
            raise ConfigError("allow_paths", f"{self.allow_paths} is not a folder")
        check_hosts(self.allowed_hosts)
        check_origins(self.cors)

    @property
    def hosts(self) -> frozenset[str]:
        """The names that requests may be for, in lower case, besides localhost and addresses."""
        return frozenset(name.lower() for name in (self.host, *self.allowed_hosts))

    @property
    def secret(self) -> str | None:
        """The token, from the setting or from the environment."""
        return self.token or os.environ.get(TOKEN, "").strip() or None


@dataclass(frozen=True)
class Limits:
    """How much the service accepts."""

    queue: int = setting(64, "received requests that wait or are worked on; further ones are refused with 503 and a time to retry")
    long_queue: int = setting(16, "the same for timelines and poses, which have places of their own")
    uploads: int = setting(256, "requests whose video is being received; they hold no place in a queue")
    batch: int = setting(16, "requests whose windows share one batch of the model, at most")
    decoders: int = setting(8, "videos that are read at the same time")
    long_jobs: int = setting(2, "timelines that are built at the same time")
    max_mb: float = setting(200.0, "the largest upload, in millions of bytes")
    max_seconds: float = setting(600.0, "the longest video (or part of one, with start and end), in seconds")
    max_edge: int = setting(4096, "the longest edge of a frame, in pixels")
    upload_seconds: float = setting(300.0, "the longest duration of an upload; a pause of a tenth of that also ends it")
    timeout: float = setting(300.0, "seconds after which a received request is stopped and refused with 503 and a time to retry")
    grace: float = setting(60.0, "seconds to finish running requests when the service is stopped")

    def __post_init__(self) -> None:
        for name in ("queue", "long_queue", "uploads", "batch", "decoders", "long_jobs", "max_edge"):
            at_least(name, vars(self)[name], 1)
        between("max_mb", self.max_mb, 1e-3, 1e6)
        for name, seconds in (
            ("max_seconds", self.max_seconds),
            ("upload_seconds", self.upload_seconds),
            ("timeout", self.timeout),
            ("grace", self.grace),
        ):
            between(name, seconds, 1e-3, 1e6)

    @property
    def max_bytes(self) -> int:
        """The largest upload in bytes."""
        return int(self.max_mb * 1e6)

    @property
    def pause(self) -> float:
        """Seconds without a byte after which an upload is ended."""
        return max(0.1, self.upload_seconds / 10)


@dataclass(frozen=True)
class TokenLimits:
    """How much one token may use; a quiet minute allows as much at once."""

    requests_per_minute: float = setting(600.0, "requests in a minute")
    mb_per_minute: float = setting(1000.0, "uploads and downloads in a minute, in millions of bytes")

    def __post_init__(self) -> None:
        between("requests_per_minute", self.requests_per_minute, 1, 1e6)
        between("mb_per_minute", self.mb_per_minute, 1e-3, 1e9)
