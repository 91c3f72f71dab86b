"""The command that lets several models answer together."""

from __future__ import annotations

import json as jsons
import shlex
from pathlib import Path
from typing import Annotated

from quickstep.apps.commands.options import DEFAULT_RUN, Flat, Out, Run
from quickstep.apps.terminal import TerminalProgress, say
from quickstep.storage.serialization import to_plain
from quickstep.training.ensemble import EnsembleConfig

DEFAULT_ENSEMBLE = EnsembleConfig()


def ensemble_command(
    models: tuple[Path, ...],
    /,
    *,
    out: Annotated[Path, Out],
    config: Annotated[EnsembleConfig, Flat] = DEFAULT_ENSEMBLE,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Let several models answer together, and say whether that is really better.

    Parameters
    ----------
    models
        the folders of two or more models of the same labels
    out
        the folder of the ensemble: it holds copies of its members, and is used as any model is
    """
    from quickstep.evaluation.rendering import write_card
    from quickstep.models.model_files import check_target
    from quickstep.training.ensemble import ensemble

    check_target(out)
    with TerminalProgress() as progress:
        fused = ensemble(models, config, cache=run.cache, progress=progress)
    fused.ensemble.save(out)
    write_card(fused.ensemble, out)
    for failure in fused.failures:
        say(f"left out: {failure}", style="yellow")
    if run.json:
        told = {"model": str(out), "weights": dict(zip(fused.ensemble.names, fused.ensemble.weights)), "best": fused.best}
        print(jsons.dumps(told | {"standings": to_plain(fused.standings), "gain": to_plain(fused.gain)}, ensure_ascii=False))
    for sentence in fused.sentences:
        say(sentence)
    say(f"{fused.ensemble} is in {out}; measure it: quickstep evaluate {shlex.quote(str(out))}", style="bold")
