"""Groups from names: who is in a video, read from its path by a regular expression, or guessed from how the files are called."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace

from quickstep.datasets.manifest import Manifest
from quickstep.types.errors import ConfigError

AUTO = "auto"
# How people, sessions and the like are numbered in names, the surest first: dancer-03, person12, s07, g01.
GUESSES = (
    r"(?i)((?:dancer|person|people|subject|actor|player|performer|participant|user|athlete|student)[-_ ]?\d+)",
    r"(?i)((?:session|recording|take|day|camera|cam)[-_ ]?\d+)",
    r"(?i)(?:^|[-_./ ])([gsp]\d{1,3})(?=[-_./ ]|$)",
)


def with_groups(manifest: Manifest, pattern: str) -> Manifest:
    """Return the manifest with the group that the pattern finds in each path; "auto" guesses the pattern."""
    if pattern == AUTO:
        guessed = guess_groups(manifest)
        if guessed is None:
            raise ConfigError("groups", r"nothing in the names of the files says who is in them: write a pattern, such as 'dancer-(\d+)'")
        return guessed[0]
    try:
        groups = _matches(manifest.relative_paths, re.compile(pattern))
    except re.error as error:
        raise ConfigError("groups", rf"{pattern!r} is not a regular expression ({error}); write one such as 'dancer-(\d+)'") from error
    absent = next((path for path, name in zip(manifest.relative_paths, groups, strict=True) if name is None), None)
    if absent is not None:
        raise ConfigError("groups", f"{pattern!r} finds nothing in {absent}; every video needs a group")
    return _grouped(manifest, groups)


def guess_groups(manifest: Manifest) -> tuple[Manifest, str] | None:
    """Guess who is in each video; return the manifest with these groups and where they were found, or None."""
    paths = manifest.relative_paths
    candidates = [(_matches(paths, re.compile(pattern)), f"--groups {shlex.quote(pattern)}") for pattern in GUESSES]
    folders = [path.split("/")[-2] if path.count("/") else None for path in paths]
    inner = [None if folder == segment.label else folder for folder, segment in zip(folders, manifest.segments, strict=True)]
    candidates.insert(1, (inner, "the folder of each video"))
    for groups, source in candidates:
        if None not in groups and 2 <= len(set(groups)) < len(manifest):
            return _grouped(manifest, groups), source
    return None


def _matches(paths: Sequence[str], pattern: re.Pattern[str]) -> list[str | None]:
    """Return what the pattern's first group, or the whole pattern, matches in each path."""
    matches = [pattern.search(path) for path in paths]
    return [None if match is None else match[1 if pattern.groups else 0] for match in matches]


def _grouped(manifest: Manifest, groups: Sequence[str | None]) -> Manifest:
    return manifest.with_segments(replace(segment, group=group) for segment, group in zip(manifest.segments, groups, strict=True))
