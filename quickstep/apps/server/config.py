"""What one can choose when models are served; light enough for the command line to read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from quickstep.types.config_fields import at_least, between, setting
from quickstep.types.errors import ConfigError

TOKEN = "QUICKSTEP_TOKEN"  # the variable


@dataclass(frozen=True)
class ServeConfig:
    """Where the service listens, who may ask, and what may be asked about."""

    host: str = setting("127.0.0.1", "the address to listen on; 0.0.0.0 lets other machines in")
    port: int = setting(8000, "the port to listen on; 0 takes any free one")
    token: str | None = setting(None, f"what clients must say, as in Authorization: Bearer TOKEN (default: ${TOKEN}, else nothing)")
    allow_paths: Path | None = setting(None, "a folder whose videos clients may name instead of sending them")
    allow_urls: bool = setting(False, "let clients name videos by public http(s) addresses")
    cors: tuple[str, ...] = setting((), "web pages of these origins may ask (https://example.org); by default none")
    keep_features: bool = setting(False, "keep what the network saw in videos in the cache, under their sha256; by default nothing is kept")

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
        """The token that is asked for, wherever it was said."""
        return self.token or os.environ.get(TOKEN, "").strip() or None


@dataclass(frozen=True)
class Limits:
    """How much the service takes on."""

    queue: int = setting(64, "requests taken in at once; further ones are told when to come again (503)")
    batch: int = setting(16, "videos the model looks at together, at most")
    decoders: int = setting(2, "videos that are decoded or fetched at the same time, before the model's turn")
    max_mb: float = setting(200.0, "the largest upload, in millions of bytes")
    max_seconds: float = setting(600.0, "the longest video (or part of one, with start and end), in seconds")
    max_edge: int = setting(4096, "the longest edge of a picture, in pixels")
    upload_seconds: float = setting(300.0, "how long an upload may take; one that pauses for a tenth of that is ended too")
    timeout: float = setting(300.0, "seconds after which a request that has no answer yet is told to come again (503)")
    grace: float = setting(60.0, "seconds to finish what runs when the service is stopped")

    def __post_init__(self) -> None:
        for name in ("queue", "batch", "decoders", "max_edge"):
            at_least(name, getattr(self, name), 1)
        for name in ("max_mb", "max_seconds", "upload_seconds", "timeout", "grace"):
            between(name, getattr(self, name), 1e-3, 1e6)

    @property
    def max_bytes(self) -> int:
        """The largest upload."""
        return int(self.max_mb * 1e6)

    @property
    def pause(self) -> float:
        """Seconds without a byte after which an upload is given up."""
        return max(0.1, self.upload_seconds / 10)
