"""Declare and check config fields; the options of the command line are generated from their defaults and help texts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import field
from numbers import Real
from typing import Any

from quickstep.types.errors import ConfigError


def setting(default: Any, help: str, *, was: str | None = None) -> Any:
    """Declare a dataclass field with its help text; `was` is its name in files that version 0.1 wrote."""
    return field(default=default, metadata={"help": help} | ({"was": was} if was else {}))


def at_least(name: str, value: float, least: float) -> None:
    """Refuse a number below `least` (and NaN), naming the setting."""
    _check_number(name, value)
    if not value >= least:
        raise ConfigError(name, f"must be at least {least:g}, not {value:g}")


def _check_number(name: str, value: object) -> None:
    """Refuse what is not a number, such as a text."""
    if not isinstance(value, Real):
        raise ConfigError(name, f"must be a number, not {value!r}")


def _plain(value: float) -> str:
    """Write a number as people do: 1000000 instead of 1e+06."""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:g}"


def between(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside low..high (and NaN), naming the setting."""
    _check_number(name, value)
    if not low <= value <= high:
        raise ConfigError(name, f"must be from {_plain(low)} to {_plain(high)}, not {_plain(value)}")


def one_of(name: str, value: str, choices: Collection[str]) -> None:
    """Refuse a word that is not among the choices, naming them."""
    if value not in choices:
        raise ConfigError(name, f"must be one of {', '.join(sorted(choices))}, not {value!r}")
