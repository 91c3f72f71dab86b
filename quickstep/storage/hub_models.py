"""locate_model: where a model lies: a folder of this machine, or one fetched once from the hub by `owner/name[@revision]`.

Knows no model's layout but the file whose presence means that it is whole.
"""

from __future__ import annotations

import re
from pathlib import Path

from quickstep.storage import hub
from quickstep.storage.model_folder import RECORD
from quickstep.types.errors import ModelError, WeightsError

_NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(@[\w./-]+)?")
_WAY_ON = "give the folder of a model, or owner/name of one on the hub"


def locate_model(where: str | Path) -> Path:
    """The folder that is meant; a name is looked for on the hub only where no such path can be meant."""
    if not names_hub(where):
        return Path(where)
    name, _, revision = str(where).partition("@")
    try:
        with hub.told(name, revision or "main", "files", ways_on=_WAY_ON):
            return hub.fetch_folder(name, revision or None, whole=lambda folder: (folder / RECORD).is_file())
    except WeightsError as error:
        raise ModelError(where, f"there is no such folder, and {error}") from error


def names_hub(where: str | Path) -> bool:
    """Whether this is a name on the hub: `owner/name` where nothing here is called `owner`."""
    path = Path(where)
    return bool(_NAME.fullmatch(str(where))) and not path.exists() and not path.parent.exists()
