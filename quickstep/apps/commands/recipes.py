"""The command that lists recipes, or shows one to begin one's own with."""

from __future__ import annotations

import json as jsons
from typing import Annotated

from quickstep.apps.commands.options import DEFAULT_RUN, Flat, Run
from quickstep.apps.terminal import say, show_table


def recipes(name: str | None = None, /, *, run: Annotated[Run, Flat] = DEFAULT_RUN) -> None:
    """List the recipes with what each is and the command it is for; or print one, to begin your own with.

    Parameters
    ----------
    name
        a recipe to print (default: list all)
    """
    from quickstep.training.recipes import configs, open_recipe, recipe_names

    found = [open_recipe(each) for each in ((name,) if name else recipe_names())]
    if run.json:
        print(jsons.dumps([{"name": r.name, "verb": r.verb, "about": r.about, "settings": r.settings} for r in found], ensure_ascii=False))
        return
    if name:
        configs(found[0])
        print(found[0].text, end="")
    else:
        show_table(("recipe", "for", "what it is"), [(recipe.name, f"quickstep {recipe.verb}", recipe.about) for recipe in found])
    say("use one: quickstep VERB DATA -o MODEL --recipe NAME; what is said beside it counts more")
