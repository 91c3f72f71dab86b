"""What the web app is started with. Imports nothing heavy: the command line reads it for its options."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from quickstep.types.config_fields import between, setting
from quickstep.types.errors import ConfigError


@dataclass(frozen=True)
class AppConfig:
    """Where the app listens, which folders it may read, and where it saves new models."""

    library: str | None = setting(None, "a library to search, made by `quickstep index`")
    data_folder: tuple[Path, ...] = setting((), "folders whose videos may be used for training (default: the current folder)")
    out: Path = setting(Path("models"), "the folder for models that are trained or retrained in the app")
    host: str = setting("localhost", "the address to listen on; 0.0.0.0 lets other machines in")
    port: int | None = setting(None, "the port to listen on; by default the first free one from 8501 on")
    max_mb: int = setting(500, "the largest upload, in millions of bytes")
    stun: str | None = setting(None, "a STUN server (stun:HOST:PORT) for cameras behind another network; by default none is used")

    def __post_init__(self) -> None:
        if self.port is not None:
            between("port", self.port, 1, 65535)
        between("max_mb", self.max_mb, 1, 100_000)
        for folder in self.data_folder:
            if not folder.is_dir():
                raise ConfigError("data_folder", f"{folder} is not a folder")
        if self.stun is not None and not self.stun.startswith(("stun:", "turn:")):
            raise ConfigError("stun", f"such as stun:stun.example.org:3478, not {self.stun!r}")


@dataclass(frozen=True)
class Started:
    """What a running app was started with; Streamlit's script gets it as JSON."""

    models: tuple[Path, ...]
    config: AppConfig
    folder: Path  # temporary: uploads and what is computed from them
    cache: Path | None = None
    samples: tuple[Path, ...] = ()  # videos to try, besides test videos of the models

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
