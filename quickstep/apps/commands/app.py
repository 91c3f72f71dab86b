"""The command of the web app."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from quickstep.apps.commands.options import DEFAULT_RUN, Flat, Run
from quickstep.apps.web.config import AppConfig

DEFAULT_APP = AppConfig()


def app(
    models: tuple[Path, ...] = (),
    /,
    *,
    config: Annotated[AppConfig, Flat] = DEFAULT_APP,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Open the web app: try a model, live too, search a library, look over labels, train, read reports.

    Parameters
    ----------
    models
        folders of models, to switch between; with none, the demo's model, which is made first where there is none
    """
    from quickstep.apps.web.launch import start

    start(models, config, cache=run.cache_folder)
