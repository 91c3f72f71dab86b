"""AppConfig: what the web app is started with; light enough for the command line to read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from quickstep.types.config_fields import between, setting
from quickstep.types.errors import ConfigError


@dataclass(frozen=True)
class AppConfig:
    """Where the app listens, which folders it may look into, and where it puts new models."""

    library: str | None = setting(None, "a library to search, made by `quickstep index`")
    data_folder: tuple[Path, ...] = setting((), "folders of this machine that people may train on (default: the folder it is started in)")
    out: Path = setting(Path("models"), "the folder for models that are trained or retrained in the app")
    host: str = setting("localhost", "the address to listen on; 0.0.0.0 lets other machines in")
    port: int | None = setting(None, "the port to listen on; by default the first free one from 8501 on")
    max_mb: int = setting(500, "the largest upload, in millions of bytes")
    stun: str | None = setting(None, "a STUN server (stun:HOST:PORT) for cameras behind another network; by default none is asked")

    def __post_init__(self) -> None:
        if self.port is not None:
            between("port", self.port, 1, 65535)
        between("max_mb", self.max_mb, 1, 100_000)
        for root in self.data_folder:
            if not root.is_dir():
                raise ConfigError("data_folder", f"{root} is not a folder")
        if self.stun is not None and not self.stun.startswith(("stun:", "turn:")):
            raise ConfigError("stun", f"such as stun:stun.example.org:3478, not {self.stun!r}")


@dataclass(frozen=True)
class Started:
    """What a running app was started with; travels to Streamlit's script as JSON."""

    models: tuple[Path, ...]
    config: AppConfig
    room: Path  # where people's files lie while they are here
    cache: Path | None = None
    samples: tuple[Path, ...] = ()  # videos to try, besides those that a model was tested on

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folders that may be trained on."""
        return self.config.data_folder or (Path.cwd(),)

    def allowed(self, text: str) -> Path:
        """A folder or list of this machine that somebody named, if it lies in one of the roots; links are followed first."""
        if not text.strip() or "\0" in text:
            raise ConfigError("data_folder", "name a folder of videos, or a csv that lists them")
        for root in self.roots:
            place = Path(os.path.realpath(root / Path(text.strip()).expanduser()))
            if place.is_relative_to(os.path.realpath(root)) and place.exists():
                return place
        inside = " or ".join(str(root) for root in self.roots)
        raise ConfigError("data_folder", f"there is no {text.strip()!r} in {inside}, and only what lies there may be used")
