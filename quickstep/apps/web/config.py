"""What the web app is started with. Imports nothing heavy: the command line reads it for its options."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from quickstep.apps.request_guard import check_hosts, check_origins, check_tls
from quickstep.types.config_fields import between, setting
from quickstep.types.errors import ConfigError

ALL_ADDRESSES = ("0.0.0.0", "::")


@dataclass(frozen=True)
class AppConfig:
    """Where the app listens, which folders it may read, and where it saves new models."""

    library: str | None = setting(None, "a library to search, made by `quickstep index`")
    data_folder: tuple[Path, ...] = setting((), "folders whose videos may be used for training (default: the current folder)")
    out: Path = setting(Path("models"), "the folder for models that are trained or retrained in the app")
    videos: Path = setting(Path("app-videos"), "the folder for clips and videos that people record or drop on the pages Teach and Library")
    host: str = setting("localhost", "the address to listen on; 0.0.0.0 lets other machines in")
    port: int | None = setting(None, "the port to listen on; by default the first free one from 8501 on")
    allowed_hosts: tuple[str, ...] = setting((), "names under which people open the app, besides localhost and addresses")
    cors: tuple[str, ...] = setting((), "origins of web pages, such as https://example.org, that may send to the app (default: none)")
    tls_cert: Path | None = setting(None, "a certificate (PEM, with its chain): the app answers https; needs --tls-key")
    tls_key: Path | None = setting(None, "the private key of the certificate (PEM)")
    min_confidence: float | None = setting(
        None, "the score below which the app says 'not sure' before it names a label; by default the model's own threshold"
    )
    max_mb: int = setting(500, "the largest upload, in millions of bytes")
    stun: str | None = setting(None, "a STUN server (stun:HOST:PORT) for cameras behind another network; by default none is used")

    def __post_init__(self) -> None:
        if self.port is not None:
            between("port", self.port, 1, 65535)
        check_hosts(self.allowed_hosts)
        check_origins(self.cors)
        check_tls(self.tls_cert, self.tls_key)
        if self.min_confidence is not None:
            between("min_confidence", self.min_confidence, 0, 1)
        between("max_mb", self.max_mb, 1, 100_000)
        for folder in self.data_folder:
            if not folder.is_dir():
                raise ConfigError("data_folder", f"{folder} is not a folder")
        if self.stun is not None and not self.stun.startswith(("stun:", "turn:")):
            raise ConfigError("stun", f"such as stun:stun.example.org:3478, not {self.stun!r}")

    @property
    def hosts(self) -> frozenset[str]:
        """The names that requests may be for, in lower case; the address that is printed has one of them."""
        own = socket.gethostname() if self.host in ALL_ADDRESSES else self.host
        return frozenset(name.lower() for name in (own, *self.allowed_hosts))


@dataclass(frozen=True)
class Sample:
    """A video to try, and its name on the page."""

    path: Path
    name: str


@dataclass(frozen=True)
class Started:
    """What a running app was started with; Streamlit's script gets it as JSON."""

    models: tuple[Path, ...]
    config: AppConfig
    folder: Path  # temporary: uploads and what is computed from them
    cache: Path | None = None
    samples: tuple[Sample, ...] = ()  # videos to try, besides test videos of the models

    @property
    def data_folders(self) -> tuple[Path, ...]:
        """The folders whose videos may be used."""
        return self.config.data_folder or (Path.cwd(),)

    def allowed(self, text: str) -> Path:
        """Return a folder or list that the user named, if it lies in one of the data folders after links are followed."""
        if not text.strip() or "\0" in text:
            raise ConfigError("data_folder", "name a folder of videos, or a csv that lists them")
        for folder in self.data_folders:
            place = Path(os.path.realpath(folder / Path(text.strip()).expanduser()))
            if place.is_relative_to(os.path.realpath(folder)) and place.exists():
                return place
        inside = " or ".join(str(folder) for folder in self.data_folders)
        raise ConfigError("data_folder", f"there is no {text.strip()!r} in {inside}, and only files there may be used")
