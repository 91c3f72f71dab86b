"""Tokens: who may use the service, and how much; a file holds names, hashes and limits, never a token."""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import re
import secrets
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quickstep.apps.server.config import TokenLimits
from quickstep.apps.server.error_responses import Problem
from quickstep.storage.files import check_regular, write_text
from quickstep.types.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MINUTE = 60.0
_HEADER = "# Tokens of `quickstep serve --tokens`. Remove an entry to revoke its token, then restart the service.\n"


class Allowance:
    """An amount that is used up and grows back within a minute."""

    def __init__(self, per_minute: float) -> None:
        self.per_minute, self._left, self._at = per_minute, per_minute, time.monotonic()

    def wait(self, amount: float) -> float:
        """Return the seconds after which so much may be used; 0: now."""
        now = time.monotonic()
        self._left = min(self.per_minute, self._left + (now - self._at) * self.per_minute / _MINUTE)
        self._at = now
        return max(0.0, (min(amount, self.per_minute) - self._left) * _MINUTE / self.per_minute)

    def use(self, amount: float) -> float:
        """Use an amount, if it is left, and return 0; else the seconds after which it will be."""
        wait = self.wait(amount)
        if not wait:
            self._left -= amount
        return wait


@dataclass(frozen=True)
class Account:
    """A token's name, its hash, and what it may still use."""

    name: str
    sha256: bytes
    requests: Allowance = field(default_factory=lambda: Allowance(math.inf))
    bytes: Allowance = field(default_factory=lambda: Allowance(math.inf))

    @classmethod
    def of(cls, name: str, sha256: str, limits: TokenLimits) -> Account:
        """Make the account of an entry of a file."""
        return cls(name, bytes.fromhex(sha256), Allowance(limits.requests_per_minute), Allowance(limits.mb_per_minute * 1e6))

    def take_request(self, stated_bytes: int) -> None:
        """Count a request; refuse it with a Problem if the token's limit is reached."""
        if wait := max(self.requests.use(1), self.bytes.wait(max(1, stated_bytes))):
            raise _over_limit(wait)

    def take_bytes(self, count: int) -> None:
        """Count received bytes; end the request with a Problem if the token's limit is reached."""
        if wait := self.bytes.use(count):
            raise _over_limit(wait)


def _over_limit(wait: float) -> Problem:
    seconds = max(1, math.ceil(wait))
    return Problem(429, "the limit of this token is reached", f"retry in {seconds} s, or send less", headers={"Retry-After": str(seconds)})


class Tokens:
    """The accounts of a service; without any, every request is accepted."""

    def __init__(self, accounts: Sequence[Account] = ()) -> None:
        self._accounts = tuple(accounts)

    def __bool__(self) -> bool:
        """Whether requests need a token."""
        return bool(self._accounts)

    def account(self, header: bytes) -> Account | None:
        """Return the account of an Authorization header, in a time that does not depend on the tokens; None if it has none."""
        scheme, _, token = header.partition(b" ")
        given, found = hashlib.sha256(token.strip()).digest(), None
        for account in self._accounts:
            if hmac.compare_digest(account.sha256, given):
                found = account
        return found if scheme.lower() == b"bearer" else None


def open_tokens(secret: str | None, file: Path | None) -> Tokens:
    """Return the accounts of the single token and of the file."""
    single = [] if secret is None else [Account("token", hashlib.sha256(secret.encode()).digest())]
    entries = [] if file is None else [Account.of(name, *entry) for name, entry in read_tokens(file).items()]
    if file is not None and not entries:
        raise ConfigError("tokens", f"{file} has no entry; make one: quickstep token NAME --tokens {file}")
    return Tokens([*single, *entries])


def read_tokens(file: Path) -> dict[str, tuple[str, TokenLimits]]:
    """Return the hash and the limits of each entry of a file, by name."""
    try:
        check_regular(file)
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise ConfigError("tokens", f"{file} cannot be read: {reason}") from error
    return {name: _entry(file, name, entry) for name, entry in content.items()}


def _entry(file: Path, name: str, entry: Any) -> tuple[str, TokenLimits]:
    limits = ("requests_per_minute", "mb_per_minute")
    if not _NAME.fullmatch(name) or not isinstance(entry, dict) or not entry.keys() <= {"sha256", *limits}:
        raise ConfigError("tokens", f"{file}: the entry [{name[:60]}] has other fields than sha256, {' and '.join(limits)}")
    sha256 = entry.pop("sha256", None)
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ConfigError("tokens", f"{file}: the sha256 of [{name}] must be 64 hexadecimal digits; `quickstep token` writes it")
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in entry.values()):
        raise ConfigError("tokens", f"{file}: the limits of [{name}] must be numbers")
    try:
        return sha256, TokenLimits(**entry)
    except ConfigError as error:
        raise ConfigError("tokens", f"{file}: {error.field} of [{name}] {error.why}") from error


def add_token(file: Path, name: str, limits: TokenLimits) -> str:
    """Make a token, add its hash to a file that only this user can read, and return it: it is not saved anywhere."""
    if not _NAME.fullmatch(name):
        raise ConfigError("name", f"1 to 64 letters, digits, - and _, not {name[:80]!r}")
    entries = read_tokens(file) if file.exists() else {}
    if name in entries:
        raise ConfigError("name", f"{file} has a token {name!r} already; remove its entry first to replace it")
    token = secrets.token_urlsafe(32)
    entries[name] = (hashlib.sha256(token.encode()).hexdigest(), limits)
    text = "".join(
        f'\n[{one}]\nsha256 = "{sha256}"\nrequests_per_minute = {of.requests_per_minute!r}\nmb_per_minute = {of.mb_per_minute!r}\n'
        for one, (sha256, of) in entries.items()
    )
    before = os.umask(0o077)
    try:
        write_text(file, _HEADER + text)
    except OSError as error:
        raise ConfigError("tokens", f"{file} cannot be written: {error.strerror}") from error
    finally:
        os.umask(before)
    return token
