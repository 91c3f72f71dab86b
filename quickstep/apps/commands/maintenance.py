"""The commands about the installation: recipes, cache and doctor."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from quickstep.apps.commands.options import DEFAULT_PRINTING, DEFAULT_RUN, Flag, Flat, Printing, Run
from quickstep.apps.terminal import print_json, say, show_table
from quickstep.types.errors import ConfigError


def recipes_command(name: str | None = None, /, *, printing: Annotated[Printing, Flat] = DEFAULT_PRINTING) -> None:
    """List the recipes (named settings), or print one as the start of your own.

    Parameters
    ----------
    name
        a recipe to print (default: list all)
    """
    from quickstep.training.recipes import configs, open_recipe, recipe_names

    recipes = [open_recipe(recipe) for recipe in ((name,) if name else recipe_names())]
    if printing.json:
        plain = [{"name": recipe.name, "verb": recipe.verb, "about": recipe.about, "settings": recipe.settings} for recipe in recipes]
        print_json(plain)
        return
    if name:
        configs(recipes[0])
        print(recipes[0].text, end="")
    else:
        show_table(("recipe", "for", "description"), [(recipe.name, f"quickstep {recipe.verb}", recipe.about) for recipe in recipes])
    say("use one: quickstep VERB DATA -o MODEL --recipe NAME; options that you type take precedence")


def cache_command(*, prune: Annotated[bool, Flag] = False, unused_days: float = 0.0, run: Annotated[Run, Flat] = DEFAULT_RUN) -> None:
    """Show the size of the cache by backbone, or prune it.

    Parameters
    ----------
    prune
        remove cached values
    unused_days
        with --prune: remove only what was not used for this many days
    """
    from quickstep.backbones import RENAMED_BACKBONES

    if unused_days and not prune:
        raise ConfigError("unused_days", "has no effect without `prune`")
    cache = run.cache
    if prune:
        count, size = cache.prune(unused_days=unused_days)
        say(f"removed {count} values, {size / 1e6:.1f} MB, from {cache.folder}")
        return
    sizes: dict[tuple[str, str], list[int]] = {}
    for entry in cache.entries():
        name = str((entry.key.get("backbone") or {}).get("name", ""))
        sizes.setdefault((str(entry.key.get("kind", "")), RENAMED_BACKBONES.get(name, name)), []).append(entry.size)
    rows = [(kind, name, len(bytes), f"{sum(bytes) / 1e6:.1f}") for (kind, name), bytes in sorted(sizes.items())]
    if run.json:
        print_json([dict(zip(("kind", "backbone", "values", "megabytes"), row, strict=True)) for row in rows])
    else:
        show_table(("kind", "backbone", "values", "MB"), rows, title=str(cache.folder))


def doctor_command(*, run: Annotated[Run, Flat] = DEFAULT_RUN) -> int:
    """Check the installation: what is installed, what is missing, and what to do about it."""
    from quickstep.apps.doctor import examine

    findings = examine(run.cache)
    if run.json:
        print_json([asdict(finding) for finding in findings])
    else:
        show_table(("", "state", "details", "what to do"), [(f.what, f.state, f.details, f.advice) for f in findings])
    return int(any(finding.state == "bad" for finding in findings))
