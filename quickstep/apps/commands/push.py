"""The command that sends a model to a hub."""

from __future__ import annotations

import json as jsons
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from quickstep.apps.commands.options import DEFAULT_RUN, Flat, Run
from quickstep.apps.publishing import PushConfig
from quickstep.apps.terminal import say, show_table


def push(
    model: Path,
    /,
    *,
    config: Annotated[PushConfig, Flat],
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Put a model on a model hub with its card, or only write what would be sent; videos, names and paths stay at home.

    Parameters
    ----------
    model
        the folder of the model
    """
    from quickstep.apps import publishing

    published = publishing.push(model, config, cache=run.cache)
    if run.json:
        print(jsons.dumps(asdict(published), ensure_ascii=False))
    else:
        show_table(("file", "bytes"), [(name, f"{size:,}") for name, size in published.files.items()])
    for note in published.notes:
        say(f"note: {note}", style="yellow")
    where, done = (published.where, "is there; nothing was sent") if config.dry_run else (config.to, f"is published: {published.where}")
    say(f"{where} {done}; it is used as any model: quickstep predict {where} VIDEO", style="bold")
