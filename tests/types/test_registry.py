"""Names lead to things, late, and a wrong one says what there is."""

from __future__ import annotations

import pytest

from quickstep.types import registry
from quickstep.types.errors import ConfigError, MissingExtra, UnknownName
from quickstep.types.registry import Entry, look_up, refuse_code_in, trust, trust_typed

TABLE = {
    "decimal": Entry("decimal:Decimal", "exact numbers"),
    "absent": Entry("a_library_that_is_not_there:Thing", "something optional", extra="things"),
}


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Begin without trust in any module."""
    modules: set[str] = set()
    monkeypatch.setattr(registry, "_trusted", modules)
    return modules


def test_a_name_gives_the_thing() -> None:
    from decimal import Decimal

    assert look_up("number", "decimal", TABLE) is Decimal


def test_a_name_outside_the_table_needs_trust_in_its_module(trusted: set[str]) -> None:
    with pytest.raises(ConfigError, match=r"^trust: .*'fractions:Fraction'"):
        look_up("number", "fractions:Fraction", TABLE)
    trust("fractions")
    assert trusted == {"fractions"}
    assert look_up("number", "fractions:Fraction", TABLE).__name__ == "Fraction"
    with pytest.raises(ConfigError, match="trust"):  # a module inside or beside a trusted one is another module
        look_up("number", "fractions.more:Fraction", TABLE)


def test_what_a_person_typed_is_trusted(trusted: set[str]) -> None:
    trust_typed("fractions:Fraction", "decimal", None, "inflate:/some/file.pth", "hf-image:a/b")
    assert trusted == {"fractions"}


def test_names_of_code_are_found_anywhere_in_the_settings_of_a_file(trusted: set[str]) -> None:
    refuse_code_in({"backbone": "flow-hist", "init": "inflate:weights", "head": None, "flow": "tvl1,fine"})
    for settings in ({"a": [{"backbones": ["flow-hist", "os:system"]}]}, {"flow": "os:system,fine"}, {"poses": {"estimator": "os:system"}}):
        with pytest.raises(ConfigError, match="os:system"):
            refuse_code_in(settings)
    assert not trusted


def test_a_wrong_name_lists_the_names_and_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"no number 'decimel' \(did you mean 'decimal'\?\); there are: absent, decimal"):
        look_up("number", "decimel", TABLE)


def test_a_missing_extra_says_the_pip_command() -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'quickstep\[things\]'"):
        look_up("number", "absent", TABLE)


@pytest.mark.parametrize("name", ["no_such_module:Thing", "decimal:Nothing"])
def test_a_wrong_outside_name_is_the_users_mistake(name: str, trusted: set[str]) -> None:
    trust_typed(name)
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
