"""The installed versions of libraries, for records of how something was made."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def library_version(name: str) -> str:
    """Give the installed version of a library; "" where it is not installed (or quickstep runs from a folder of source files)."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
