"""The commands that bring models to others: app, serve and push."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

from quickstep.apps.commands.options import DEFAULT_RUN, Flat, Run, open_model, print_notes
from quickstep.apps.commands.signals import DEFAULT_PEOPLE, AllPeople
from quickstep.apps.publishing import PushConfig
from quickstep.apps.server.config import Limits, ServeConfig, TokenLimits
from quickstep.apps.terminal import print_json, say, show_table
from quickstep.apps.web.config import AppConfig, Sample
from quickstep.types.errors import ConfigError

DEFAULT_APP = AppConfig()
DEFAULT_SERVE = ServeConfig()
DEFAULT_LIMITS = Limits()
DEFAULT_TOKEN_LIMITS = TokenLimits()
LOCAL = ("127.0.0.1", "::1", "localhost")


def app_command(
    models: tuple[Path, ...] = (), /, *, config: Annotated[AppConfig, Flat] = DEFAULT_APP, run: Annotated[Run, Flat] = DEFAULT_RUN
) -> None:
    """Open the web app: try a model on videos or live, search a library, review labels, train, read reports.

    Parameters
    ----------
    models
        folders of models to choose from (default: the demo's model, which is made first if there is none)
    """
    from quickstep.apps.commands.demo import make_demo
    from quickstep.apps.web.launch import start

    samples: tuple[Sample, ...] = ()
    if not models:
        demo = make_demo()
        models, samples = (demo.model,), demo.samples
        config = replace(config, library=config.library or demo.library)
    start(models, config, cache=run.cache_folder, samples=samples)


def serve_command(
    models: tuple[Path, ...],
    /,
    *,
    library: str | None = None,
    weights: Path | None = None,
    config: Annotated[ServeConfig, Flat] = DEFAULT_SERVE,
    limits: Annotated[Limits, Flat] = DEFAULT_LIMITS,
    people: Annotated[AllPeople, Flat] = DEFAULT_PEOPLE,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Serve models over HTTP: POST /predict, /timeline, /poses; GET /search, /model, /healthz, /metrics, /docs.

    Parameters
    ----------
    models
        the folders of the models; a request is answered by the first, or by the one named with ?model=NAME
    library
        a library to search
    weights
        the folder of the backbone's weights (of one model, and of the library), if they were moved
    """
    from quickstep.apps.server import Served, serve

    names = [model.resolve().name for model in models]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ConfigError("models", f"two models are called {twice[0]!r}, and requests choose a model by name: rename a folder")
    if weights is not None and len(models) > 1:
        raise ConfigError("weights", "belongs to one model: serve several without it")
    opened = {name: open_model(model, weights, run) for name, model in zip(names, models, strict=True)}
    if config.secret is None and config.tokens is None and config.host not in LOCAL:
        print_notes(["anyone who reaches this machine can use the service; require a token with `token=TOKEN`"])

    def ready(address: str) -> None:
        if run.json:
            print_json({"address": address, "models": names})
        else:
            print(address, flush=True)
        say(f"serving at {address}; documentation: {address}/docs; stop with Ctrl-C", style="bold")

    if (config.secret or config.tokens) and config.tls_cert is None and config.host not in LOCAL:
        print_notes(["tokens are sent as they are: name a certificate with `tls_cert=FILE`, or put a proxy with TLS in front"])

    serve(Served(opened, library, None if weights is None else str(weights), people, run.cache), config, limits, ready=ready)
    say("stopped" if config.keep_features else "stopped; no data of any request is kept")


def token_command(
    name: str,
    /,
    *,
    tokens: Path = Path("tokens.toml"),
    limits: Annotated[TokenLimits, Flat] = DEFAULT_TOKEN_LIMITS,
    run: Annotated[Run, Flat] = DEFAULT_RUN,
) -> None:
    """Make a token for a client of `serve --tokens FILE`, and print it once: the file holds its sha256 and its limits only.

    Parameters
    ----------
    name
        who the token is for: letters, digits, - and _; the access log names it
    tokens
        the file of tokens; it is made if it is missing
    """
    from quickstep.apps.server.tokens import add_token

    token = add_token(tokens, name, limits)
    if run.json:
        print_json({"name": name, "token": token, "file": str(tokens)})
    else:
        print(token)
    say(f"the token {name!r} is in {tokens}; nobody can show it again. A running service knows it after a restart.")


def push_command(model: Path, /, *, config: Annotated[PushConfig, Flat], run: Annotated[Run, Flat] = DEFAULT_RUN) -> None:
    """Push a model with its card to a model hub, without videos, names and paths; --dry-run only writes the files.

    Parameters
    ----------
    model
        the folder of the model
    """
    from quickstep.apps.publishing import push

    pushed = push(model, config, cache=run.cache)
    if run.json:
        print_json(asdict(pushed))
    else:
        show_table(("file", "bytes"), [(name, f"{size:,}") for name, size in pushed.files.items()])
    print_notes(pushed.notes)
    if config.dry_run:
        say(f"written to {pushed.where}; nothing was sent", style="bold")
    else:
        say(f"pushed: {pushed.where}; use it: quickstep predict {config.to} VIDEO", style="bold")
