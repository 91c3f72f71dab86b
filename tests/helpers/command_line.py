"""A command called in this process, as the command line calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from quickstep.apps.cli import main


def call(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    """In this process: quicker. Gives the exit status, stdout and stderr."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err
