"""Who is in a video, read from the names of files as people call them."""

from __future__ import annotations

from pathlib import Path

import pytest

from quickstep.datasets.groups import guess_groups, with_groups
from quickstep.datasets.manifest import Manifest
from quickstep.types.errors import ConfigError
from quickstep.types.segment import Segment


def manifest(*paths: str) -> Manifest:
    return Manifest(tuple(Segment(Path("/set") / path, path.split("/")[0]) for path in paths))


@pytest.mark.parametrize(
    ("paths", "groups"),
    [
        (("halo/dancer-01-a.mp4", "halo/dancer-02-a.mp4", "toprock/dancer-01-b.mp4"), ["dancer-01", "dancer-02", "dancer-01"]),
        (("Archery/v_Archery_g08_c01.avi", "Archery/v_Archery_g08_c02.avi", "Bowling/v_Bowling_g09_c01.avi"), ["g08", "g08", "g09"]),
        (("halo/anna/1.mp4", "halo/ben/1.mp4", "toprock/anna/2.mp4"), ["anna", "ben", "anna"]),
        (("halo/Session 3_x.mp4", "halo/Session 4_x.mp4", "toprock/Session 3_y.mp4"), ["Session 3", "Session 4", "Session 3"]),
    ],
)
def test_groups_are_guessed_from_names(paths: tuple[str, ...], groups: list[str]) -> None:
    guessed = guess_groups(manifest(*paths))
    assert guessed is not None
    assert [segment.group for segment in guessed[0].segments] == groups
    assert [segment.group for segment in with_groups(manifest(*paths), "auto").segments] == groups


@pytest.mark.parametrize(
    "paths",
    [
        ("halo/a.mp4", "halo/b.mp4", "toprock/c.mp4"),  # nothing says who
        ("halo/dancer-1.mp4", "halo/dancer-2.mp4", "toprock/dancer-3.mp4"),  # everybody is in one video
        ("halo/dancer-1.mp4", "halo/b.mp4", "toprock/dancer-1b.mp4"),  # not all names say it
    ],
)
def test_nothing_is_guessed_where_names_do_not_say_it(paths: tuple[str, ...]) -> None:
    assert guess_groups(manifest(*paths)) is None
    with pytest.raises(ConfigError, match="groups"):
        with_groups(manifest(*paths), "auto")


def test_a_pattern_names_the_groups() -> None:
    listed = manifest("halo/x-7.mp4", "halo/y-8.mp4", "toprock/z-7.mp4")
    assert [s.group for s in with_groups(listed, r"-(\d+)").segments] == ["7", "8", "7"]
    assert [s.group for s in with_groups(listed, r"-\d+").segments] == ["-7", "-8", "-7"]


@pytest.mark.parametrize(("pattern", "line"), [("(", "regular expression"), (r"dancer(\d)", "halo/x-7.mp4")])
def test_a_wrong_pattern_is_one_line(pattern: str, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        with_groups(manifest("halo/x-7.mp4", "toprock/y.mp4"), pattern)
