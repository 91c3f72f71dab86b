"""ServeConfig and Limits: the options of the service. Imports nothing heavy, because the command line reads it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from quickstep.types.config_fields import at_least, between, setting
from quickstep.types.errors import ConfigError

TOKEN = "QUICKSTEP_TOKEN"  # the environment variable


@dataclass(frozen=True)
class ServeConfig:
    """Where the service listens, which clients it serves, and which videos they may name."""

    host: str = setting("127.0.0.1", "the address to listen on; 0.0.0.0 accepts other machines")
    port: int = setting(8000, "the port to listen on; 0 takes any free one")
    token: str | None = setting(None, f"the token that clients must send as Authorization: Bearer TOKEN (default: ${TOKEN}, else none)")
    allow_paths: Path | None = setting(None, "a folder; clients may name videos in it instead of uploading them")
    allow_urls: bool = setting(False, "let clients name videos by public http(s) URLs")
    cors: tuple[str, ...] = setting((), "origins of web pages that may send requests, such as https://example.org (default: none)")
    keep_features: bool = setting(False, "keep the features of videos in the cache, under their sha256 (default: keep nothing)")

    def __post_init__(self) -> None:
        between("port", self.port, 0, 65535)
        if self.token is not None and not self.token.strip():
            raise ConfigError("token", "is empty; leave it out for a service without one")
        if self.allow_paths is not None and not self.allow_paths.is_dir():
            raise ConfigError("allow_paths", f"{self.allow_paths} is not a folder")
        for origin in self.cors:
            if "://" not in origin or origin.rstrip("/") != origin:
                raise ConfigError("cors", f"an origin such as https://example.org, without a path; not {origin!r}")

    @property
    def secret(self) -> str | None:
        """The token, from the setting or from the environment."""
        return self.token or os.environ.get(TOKEN, "").strip() or None


@dataclass(frozen=True)
class Limits:
    """How much the service accepts."""

    queue: int = setting(64, "requests in progress; further ones are refused with 503 and a time to retry")
    batch: int = setting(16, "videos in one batch of the model, at most")
    decoders: int = setting(2, "videos that are checked or downloaded at the same time, before they wait for the model")
    max_mb: float = setting(200.0, "the largest upload, in millions of bytes")
    max_seconds: float = setting(600.0, "the longest video (or part of one, with start and end), in seconds")
    max_edge: int = setting(4096, "the longest edge of a frame, in pixels")
    upload_seconds: float = setting(300.0, "the longest duration of an upload; a pause of a tenth of that also ends it")
    timeout: float = setting(300.0, "seconds after which a request without an answer is refused with 503 and a time to retry")
    grace: float = setting(60.0, "seconds to finish running requests when the service is stopped")

    def __post_init__(self) -> None:
        for name, count in (("queue", self.queue), ("batch", self.batch), ("decoders", self.decoders), ("max_edge", self.max_edge)):
            at_least(name, count, 1)
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
