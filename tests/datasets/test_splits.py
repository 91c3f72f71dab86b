"""Splits: shares near what was asked, nothing divided that belongs together, what is given kept, and a proof that finds leaks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstep.datasets.duplicates.same_footage import Footage, Match
from quickstep.datasets.manifest import PARTS, Manifest
from quickstep.datasets.splits import SplitConfig, SplitResult, prove, split
from quickstep.types.errors import ConfigError, ManifestError
from quickstep.types.segment import Segment

NOTHING = Footage()  # nothing is known of the videos, so nothing is opened


def made(*rows: tuple[str, str, str | None], splits: list[str | None] | None = None) -> Manifest:
    """A manifest of (video, label, group)."""
    given = splits or [None] * len(rows)
    return Manifest(tuple(Segment(Path("set", video), label, group=group, split=part) for (video, label, group), part in zip(rows, given)))


def plain(classes: int, each: int) -> Manifest:
    return made(*((f"c{label}/{index}.mp4", f"c{label}", None) for label in range(classes) for index in range(each)))


def parts(result: SplitResult) -> list[str | None]:
    return [segment.split for segment in result.manifest.segments]


def counted(result: SplitResult) -> dict[str, tuple[int, ...]]:
    return {share.label: share.segments for share in result.table}


@pytest.mark.parametrize(("classes", "each", "wanted"), [(3, 20, (14, 3, 3)), (2, 100, (70, 15, 15)), (5, 40, (28, 6, 6))])
def test_balanced_sets_get_exact_shares(classes: int, each: int, wanted: tuple[int, ...]) -> None:
    result = split(plain(classes, each), footage=NOTHING)
    assert set(counted(result).values()) == {wanted}
    assert result.proof.clean
    assert not result.warnings


def test_shares_that_do_not_come_out_even_are_near() -> None:
    table = counted(split(plain(6, 10), footage=NOTHING))
    for shares in table.values():
        assert shares[0] == 7
        assert sorted(shares[1:]) == [1, 2]
    assert sum(shares[1] for shares in table.values()) == sum(shares[2] for shares in table.values()) == 9


def test_the_seed_decides_and_nothing_else() -> None:
    manifest = plain(3, 20)
    first = split(manifest, SplitConfig(seed=4), footage=NOTHING)
    assert parts(first) == parts(split(manifest, SplitConfig(seed=4), footage=NOTHING))
    assert parts(first) != parts(split(manifest, SplitConfig(seed=5), footage=NOTHING))
    backwards = split(manifest.with_segments(reversed(manifest.segments)), SplitConfig(seed=4), footage=NOTHING)
    assert parts(backwards) == parts(first)[::-1]


def test_groups_stay_whole_and_classes_stay_balanced() -> None:
    rows = [(f"{dancer}-{label}-{take}.mp4", label, f"dancer {dancer}") for dancer in range(20) for label in "abc" for take in range(3)]
    result = split(made(*rows), footage=NOTHING)
    assert set(counted(result).values()) == {(42, 9, 9)}
    assert result.proof.clean
    assert [share.groups for share in result.table] == [(14, 3, 3)] * 3


groups = st.lists(st.tuples(st.integers(0, 9), st.lists(st.integers(0, 3), min_size=1, max_size=8)), min_size=1, max_size=25)


@settings(max_examples=60, deadline=None)
@given(groups, st.data())
def test_whatever_the_groups_nothing_is_divided(wild: list[tuple[int, list[int]]], data: st.DataObject) -> None:
    rows = []
    for number, (group, labels) in enumerate(wild):
        rows += [(f"{number}-{index}.mp4", f"c{label}", f"g{group}" if group else None) for index, label in enumerate(labels)]
    manifest = made(*rows)
    some = st.sampled_from(manifest.paths)
    digests = {path: data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), label="bytes") for path in manifest.paths[:6]}
    matches = tuple(Match(*pair, 0.99, 0.0, False) for pair in data.draw(st.lists(st.tuples(some, some), max_size=6)))
    footage = Footage(digests, matches=matches)
    config = SplitConfig(seed=data.draw(st.integers(0, 9)))
    result = split(manifest, config, footage=footage)
    assert set(parts(result)) <= set(PARTS)
    assert result.proof.clean
    assert [segment.path for segment in result.manifest.segments] == [segment.path for segment in manifest.segments]
    held = {segment.path: segment.split for segment in result.manifest.segments}
    by_group: dict[str | None, set[str | None]] = {}
    for segment in result.manifest.segments:
        by_group.setdefault(segment.group, set()).add(segment.split)
    assert all(len(found) == 1 for group, found in by_group.items() if group is not None)
    assert all(held[match.first] == held[match.second] for match in matches)
    for share in result.table:
        if not share.segments[0]:
            assert any(f"{share.label!r} is not in train" in warning for warning in result.warnings)


def test_segments_of_one_video_stay_together() -> None:
    manifest = Manifest(
        tuple(Segment(Path(f"{video}.mp4"), label, start) for video in range(12) for start, label in ((0.0, "a"), (2.0, "b")))
    )
    result = split(manifest, footage=NOTHING)
    assert len({(segment.path, segment.split) for segment in result.manifest.segments}) == 12


def test_copies_go_with_their_original() -> None:
    manifest = plain(2, 30)
    first, second, third, fourth = manifest.paths[0], manifest.paths[31], manifest.paths[32], manifest.paths[5]
    footage = Footage({first: "x", second: "x"}, matches=(Match(second, third, 0.99, 0.0, False), Match(third, fourth, 0.99, 0.0, True)))
    for seed in range(8):
        held = {segment.path: segment.split for segment in split(manifest, SplitConfig(seed=seed), footage=footage).manifest.segments}
        assert len({held[path] for path in (first, second, third, fourth)}) == 1


def test_what_is_given_is_kept_and_the_rest_is_shared_out() -> None:
    manifest = plain(2, 20).with_splits((["train"] * 8 + ["test"] * 4 + ["val"] * 2 + [None] * 6) * 2)
    result = split(manifest, footage=NOTHING)
    for before, after in zip(manifest.segments, result.manifest.segments):
        assert before.split in (None, after.split)
    assert None not in parts(result)


def test_a_missing_part_is_taken_out_of_train() -> None:
    manifest = plain(2, 50).with_splits((["train"] * 30 + ["test"] * 20) * 2)
    result = split(manifest, footage=NOTHING)
    assert [after for before, after in zip(manifest.segments, parts(result)) if before.split == "test"] == ["test"] * 40
    assert set(counted(result).values()) <= {(22, 8, 20), (23, 7, 20)}
    assert "no val part was given, so it is taken out of train" in result.warnings
    untouched = split(manifest, SplitConfig(val=0), footage=NOTHING)
    assert parts(untouched) == [segment.split for segment in manifest.segments]


def test_a_leak_in_given_splits_is_kept_and_said_aloud() -> None:
    rows = [(f"{label}{index}.mp4", label, f"g{index // 2}") for label in "ab" for index in range(12)]
    manifest = made(*rows, splits=(["train"] * 7 + ["val"] * 2 + ["test"] * 3) * 2)
    first, last = manifest.paths[0], manifest.paths[-1]
    footage = Footage({manifest.paths[1]: "same", manifest.paths[11]: "same"}, matches=(Match(first, last, 0.99, 0.0, False),))
    result = split(manifest, footage=footage)
    assert parts(result) == [segment.split for segment in manifest.segments]
    assert not result.proof.clean
    assert Counter(leak.kind for leak in result.proof.leaks) == {"group": 2, "bytes": 1, "footage": 1}
    assert sum(warning.startswith("this leaks:") for warning in result.warnings) == 4
    assert "group 'g3' is divided over train and val" in "".join(result.warnings)
    assert "footage standing in two parts: 1" in result.proof.sentences[2]


def test_the_proof_does_not_believe_the_split() -> None:
    manifest = plain(1, 2).with_splits(["train", "test"])
    first, second = manifest.paths
    assert prove(manifest, NOTHING).clean
    assert not prove(manifest, Footage({first: "x", second: "x"})).clean
    assert not prove(manifest, Footage(matches=(Match(first, second, 0.99, 0.0, False),))).clean


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("a.mp4", "a", None), ("b.mp4", "b", None)], "class 'a' is not in val and test: it has only 1 group"),
        ([(f"{i}.mp4", "a", f"g{i}") for i in range(9)] + [(f"{i}b.mp4", "b", "g0") for i in range(9)], "class 'b' is not in val and test"),
    ],
)
def test_it_says_where_a_class_cannot_be_everywhere(rows: list[tuple[str, str, str | None]], said: str) -> None:
    result = split(made(*rows), footage=NOTHING)
    assert said in "\n".join(result.warnings)
    assert all(share.segments[0] for share in result.table)  # train comes first: what is not learnt cannot be tested


def test_a_class_with_three_groups_is_everywhere() -> None:
    rows = [(f"{i}.mp4", "many", None) for i in range(60)] + [(f"few{i}.mp4", "few", None) for i in range(3)]
    assert counted(split(made(*rows), footage=NOTHING))["few"] == (1, 1, 1)


def test_folds_test_everything_once() -> None:
    rows = [(f"{dancer}-{label}.mp4", label, f"dancer {dancer}") for dancer in range(25) for label in "abc"]
    manifest = made(*rows)
    result = split(manifest, SplitConfig(folds=5), footage=NOTHING)
    assert set(counted(result).values()) == {(5, 5, 5, 5, 5)}
    tested = [segment.path for fold in result.folds for segment in fold.part("test").segments]
    assert sorted(tested) == sorted(manifest.paths)
    for number, fold in enumerate(result.folds):
        assert prove(fold, NOTHING).clean
        assert {segment.path for segment in fold.part("test").segments} == {
            segment.path for segment in result.manifest.segments if segment.extra["fold"] == str(number)
        }
        assert len(fold.part("val")) in range(9, 14)
    assert not result.warnings


@pytest.mark.parametrize(
    "wrong", [{"val": -0.1}, {"test": float("nan")}, {"val": 0.6, "test": 0.5}, {"folds": 1}, {"folds": -2}, {"seed": -1}]
)
def test_settings_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(reversed(wrong))):
        SplitConfig(**wrong)  # type: ignore[arg-type]


def test_more_folds_than_groups_and_nothing_at_all() -> None:
    with pytest.raises(ConfigError, match="only 4 groups"):
        split(plain(2, 2), SplitConfig(folds=5), footage=NOTHING)
    with pytest.raises(ManifestError, match="nothing to split"):
        split(Manifest(()), footage=NOTHING)


def test_thousands_of_videos_take_seconds() -> None:
    result = split(plain(20, 200), footage=NOTHING)
    assert set(counted(result).values()) == {(140, 30, 30)}
