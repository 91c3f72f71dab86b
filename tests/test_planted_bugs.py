"""The list of planted bugs follows the code: each can be planted, and its tests are there."""

from __future__ import annotations

import tomllib

import pytest
from places import ROOT, TESTS

BUGS = tomllib.loads((TESTS / "planted_bugs.toml").read_text(encoding="utf-8"))["bug"]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug["name"])
def test_a_bug_can_be_planted(bug: dict[str, object]) -> None:
    assert (ROOT / str(bug["file"])).read_text(encoding="utf-8").count(str(bug["before"])) == 1
    assert bug["before"] != bug["after"]
    assert bug["tests"]
    assert all((ROOT / str(test).partition("::")[0]).exists() for test in bug["tests"])  # type: ignore[attr-defined]


def test_no_two_bugs_have_one_name() -> None:
    names = [bug["name"] for bug in BUGS]
    assert len(names) == len(set(names))
