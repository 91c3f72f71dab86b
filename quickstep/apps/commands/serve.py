"""The command that serves models over HTTP."""

from __future__ import annotations

import json as jsons
from collections import Counter
from pathlib import Path
from typing import Annotated

from quickstep.apps.commands.options import DEFAULT_RUN, Flat, Run, open_model
from quickstep.apps.commands.pose import DEFAULT_BODIES, Bodies
from quickstep.apps.server.config import Limits, ServeConfig
from quickstep.apps.terminal import say
from quickstep.types.errors import ConfigError

DEFAULT_SERVE = ServeConfig()
DEFAULT_LIMITS = Limits()


def serve(
    models: tuple[Path, ...],
    /,
    *,
    library: str | None = None,
    weights: Path | None = None,
    config: Annotated[ServeConfig, Flat] = DEFAULT_SERVE,
    limits: Annotated[Limits, Flat] = DEFAULT_LIMITS,
    bodies: Annotated[Bodies, Flat] = DEFAULT_BODIES,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Let other programs name videos over HTTP: POST /predict, /timeline, /poses; GET /search, /model, /healthz, /metrics, /docs.

    Parameters
    ----------
    models
        the folders of the models; clients ask the first one, or name another with ?model=NAME
    library
        a library to search
    weights
        where the weights of the backbone (of one model, and of the library) are now, if they moved
    """
    from quickstep.apps.server import Served
    from quickstep.apps.server import serve as answer

    names = [model.resolve().name for model in models]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ConfigError("model", f"two models are called {twice[0]!r}, and clients tell them apart by name; rename a folder")
    if weights is not None and len(models) > 1:
        raise ConfigError("weights", "belongs to one model; serve several with their weights where they were")
    opened = {name: open_model(model, weights, run) for name, model in zip(names, models, strict=True)}
    if config.secret is None and config.host not in ("127.0.0.1", "::1", "localhost"):
        say("note: whoever reaches this machine can use the service; --token asks for a word", style="yellow")
    place = None if weights is None else str(weights)

    def ready(address: str) -> None:
        print(jsons.dumps({"address": address, "models": names}) if run.json else address, flush=True)
        say(f"serving at {address}; what can be asked: {address}/docs; stop with Ctrl-C", style="bold")

    answer(Served(opened, library, place, bodies, run.cache), config, limits, ready=ready)
    say("stopped; nothing of what was sent is kept" if not config.keep_features else "stopped")
