"""The library to index into: the one that is there, with the backbone that made it, or a new one. Looks at no video."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from quickstep.backbones import Backbone, open_backbone
from quickstep.library.config import USUAL_BACKBONE, USUAL_PACE, USUAL_WINDOW, IndexConfig
from quickstep.library.schema import Card
from quickstep.library.table import Library, check_same, exists, place_of
from quickstep.library.windows import slicing_for
from quickstep.models.model import Opening
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import to_plain
from quickstep.types.errors import ConfigError


def open_or_begin(
    uri: str | Path, config: IndexConfig, backbone: Backbone | None, cache: Cache, *, may_create: bool
) -> tuple[Library, Backbone]:
    """The library and the backbone that made it, or makes it now."""
    if exists(place_of(uri)) or not may_create:
        library = Library.open(uri)
        _check_settings(library, config)
        if backbone is None:
            asked = config.backbone
            backbone = library.backbone(weights=config.weights, cache=cache) if asked in (None, library.card.opening.name) else None
            backbone = backbone or _named_backbone(config, cache)
        check_same(library, backbone)
        return library, backbone
    opening = _opening(config, backbone)
    backbone = backbone or _named_backbone(config, cache)
    window = config.window or USUAL_WINDOW
    hop = config.stride or window / 2
    if hop > window:
        raise ConfigError("stride", f"at most the window ({window:g} s), or parts of the video are never seen; not {hop:g}")
    slicing = slicing_for(backbone, window=window, hop=hop, pace=config.pace or USUAL_PACE)
    card = Card(
        opening=opening,
        identity=dict(to_plain(dict(backbone.identity))),
        width=backbone.width,
        window=window,
        hop=hop,
        view=to_plain(slicing.view),
        single_frames=slicing.single_frames,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        quickstep=_own_version(),
    )
    library = Library.create(uri, card)
    check_same(library, backbone)
    return library, backbone


def _named_backbone(config: IndexConfig, cache: Cache) -> Backbone:
    name = config.backbone or USUAL_BACKBONE
    return open_backbone(name, weights=config.weights, precision=config.precision, engine=config.engine, cache=cache)


def _opening(config: IndexConfig, backbone: Backbone | None) -> Opening:
    if backbone is not None:  # somebody's own: found again where its class lives
        return Opening(f"{type(backbone).__module__}:{type(backbone).__qualname__}")
    weights = str(Path(config.weights).absolute()) if config.weights and Path(config.weights).exists() else config.weights
    return Opening(config.backbone or USUAL_BACKBONE, weights, None, config.precision, config.engine)


def _check_settings(library: Library, config: IndexConfig) -> None:
    """A library keeps to the windows it was begun with."""
    card = library.card
    pace = card.looking.fps
    for name, here in (("window", card.window), ("stride", card.hop), ("pace", pace if card.single_frames else None)):
        asked = getattr(config, name)
        if asked is not None and here is not None and abs(asked - here) > 1e-9:
            raise ConfigError(name, f"this library was begun with {here:g}, and all its windows are; leave it out, or begin a new library")


def _own_version() -> str:
    try:
        return version("quickstep")
    except PackageNotFoundError:
        return ""
