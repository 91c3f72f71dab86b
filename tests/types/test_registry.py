"""Names lead to things, late, and a wrong one says what there is."""

from __future__ import annotations

import pytest

from quickstep.types.errors import ConfigError, MissingExtra, UnknownName
from quickstep.types.registry import Entry, look_up

TABLE = {
    "decimal": Entry("decimal:Decimal", "exact numbers"),
    "absent": Entry("a_library_that_is_not_there:Thing", "something optional", extra="things"),
}


def test_a_name_gives_the_thing() -> None:
    from decimal import Decimal

    assert look_up("number", "decimal", TABLE) is Decimal
    assert look_up("number", "fractions:Fraction", TABLE).__name__ == "Fraction"


def test_a_wrong_name_lists_the_names_and_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"no number 'decimel' \(did you mean 'decimal'\?\); there are: absent, decimal"):
        look_up("number", "decimel", TABLE)


def test_a_missing_extra_says_the_pip_command() -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'quickstep\[things\]'"):
        look_up("number", "absent", TABLE)


@pytest.mark.parametrize("name", ["no_such_module:Thing", "decimal:Nothing"])
def test_a_wrong_outside_name_is_the_users_mistake(name: str) -> None:
    with pytest.raises(ConfigError, match=name.split(":")[0]):
        look_up("number", name, TABLE)


def test_an_old_name_is_noted_once_with_the_new_one(caplog: pytest.LogCaptureFixture) -> None:
    renamed = {"decimal-number": "decimal"}
    assert look_up("number", "decimal-number", TABLE, renamed=renamed).__name__ == "Decimal"
    assert look_up("number", "decimal-number", TABLE, renamed=renamed).__name__ == "Decimal"
    (message,) = caplog.messages
    assert "'decimal-number'" in message
    assert "'decimal'" in message


def test_a_name_of_today_is_not_noted(caplog: pytest.LogCaptureFixture) -> None:
    assert look_up("number", "decimal", TABLE, renamed={"old": "decimal"}).__name__ == "Decimal"
    assert not caplog.messages
