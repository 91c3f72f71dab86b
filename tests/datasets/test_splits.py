"""Splits: shares close to the requested ones, no unit divided, existing splits kept, and a check that finds every leak."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstep.datasets.duplicates.same_footage import Footage, Match
from quickstep.datasets.manifest import PARTS, Manifest, write_manifest
from quickstep.datasets.splits import SplitConfig, SplitResult, check_leakage, split
from quickstep.types.errors import ConfigError, ManifestError
from quickstep.types.segment import Segment

NO_FOOTAGE = Footage()  # without digests and matches; no video is opened


def manifest_of(*rows: tuple[str, str, str | None], splits: list[str | None] | None = None) -> Manifest:
    """Return a manifest of (video, label, group)."""
    parts = splits or [None] * len(rows)
    return Manifest(tuple(Segment(Path("set", video), label, group=group, split=part) for (video, label, group), part in zip(rows, parts)))


def balanced(classes: int, count: int) -> Manifest:
    return manifest_of(*((f"c{label}/{index}.mp4", f"c{label}", None) for label in range(classes) for index in range(count)))


def parts(result: SplitResult) -> list[str | None]:
    return [segment.split for segment in result.manifest.segments]


def table_of(result: SplitResult) -> dict[str, tuple[int, ...]]:
    return {share.label: share.segments for share in result.table}


@pytest.mark.parametrize(("classes", "count", "shares"), [(3, 20, (14, 3, 3)), (2, 100, (70, 15, 15)), (5, 40, (28, 6, 6))])
def test_balanced_sets_get_exact_shares(classes: int, count: int, shares: tuple[int, ...]) -> None:
    result = split(balanced(classes, count), footage=NO_FOOTAGE)
    assert set(table_of(result).values()) == {shares}
    assert result.leakage.clean
    assert not result.warnings


def test_shares_that_are_not_whole_numbers_are_close() -> None:
    table = table_of(split(balanced(6, 10), footage=NO_FOOTAGE))
    for shares in table.values():
        assert shares[0] == 7
        assert sorted(shares[1:]) == [1, 2]
    assert sum(shares[1] for shares in table.values()) == sum(shares[2] for shares in table.values()) == 9


def test_only_the_seed_changes_the_split() -> None:
    manifest = balanced(3, 20)
    first = split(manifest, SplitConfig(seed=4), footage=NO_FOOTAGE)
    assert parts(first) == parts(split(manifest, SplitConfig(seed=4), footage=NO_FOOTAGE))
    assert parts(first) != parts(split(manifest, SplitConfig(seed=5), footage=NO_FOOTAGE))
    backwards = split(manifest.with_segments(reversed(manifest.segments)), SplitConfig(seed=4), footage=NO_FOOTAGE)
    assert parts(backwards) == parts(first)[::-1]


def test_groups_stay_together_and_classes_stay_balanced() -> None:
    rows = [(f"{dancer}-{label}-{take}.mp4", label, f"dancer {dancer}") for dancer in range(20) for label in "abc" for take in range(3)]
    result = split(manifest_of(*rows), footage=NO_FOOTAGE)
    assert set(table_of(result).values()) == {(42, 9, 9)}
    assert result.leakage.clean
    assert [share.groups for share in result.table] == [(14, 3, 3)] * 3


groups = st.lists(st.tuples(st.integers(0, 9), st.lists(st.integers(0, 3), min_size=1, max_size=8)), min_size=1, max_size=25)


@settings(max_examples=60, deadline=None)
@given(groups, st.data())
def test_no_unit_is_ever_divided(group_labels: list[tuple[int, list[int]]], data: st.DataObject) -> None:
    rows = []
    for number, (group, labels) in enumerate(group_labels):
        rows += [(f"{number}-{index}.mp4", f"c{label}", f"g{group}" if group else None) for index, label in enumerate(labels)]
    manifest = manifest_of(*rows)
    some = st.sampled_from(manifest.paths)
    digests = {path: data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), label="bytes") for path in manifest.paths[:6]}
    matches = tuple(Match(*pair, 0.99, 0.0, False) for pair in data.draw(st.lists(st.tuples(some, some), max_size=6)))
    footage = Footage(digests, matches=matches)
    config = SplitConfig(seed=data.draw(st.integers(0, 9)))
    result = split(manifest, config, footage=footage)
    assert set(parts(result)) <= set(PARTS)
    assert result.leakage.clean
    assert [segment.path for segment in result.manifest.segments] == [segment.path for segment in manifest.segments]
    split_of = {segment.path: segment.split for segment in result.manifest.segments}
    by_group: dict[str | None, set[str | None]] = {}
    for segment in result.manifest.segments:
        by_group.setdefault(segment.group, set()).add(segment.split)
    assert all(len(splits) == 1 for group, splits in by_group.items() if group is not None)
    assert all(split_of[match.first] == split_of[match.second] for match in matches)
    for share in result.table:
        if not share.segments[0]:
            assert any(f"{share.label!r} is missing in train" in warning for warning in result.warnings)


def test_segments_of_one_video_stay_together() -> None:
    manifest = Manifest(
        tuple(Segment(Path(f"{video}.mp4"), label, start) for video in range(12) for start, label in ((0.0, "a"), (2.0, "b")))
    )
    result = split(manifest, footage=NO_FOOTAGE)
    assert len({(segment.path, segment.split) for segment in result.manifest.segments}) == 12


def test_copies_are_in_the_split_of_their_original() -> None:
    manifest = balanced(2, 30)
    first, second, third, fourth = manifest.paths[0], manifest.paths[31], manifest.paths[32], manifest.paths[5]
    footage = Footage({first: "x", second: "x"}, matches=(Match(second, third, 0.99, 0.0, False), Match(third, fourth, 0.99, 0.0, True)))
    for seed in range(8):
        split_of = {segment.path: segment.split for segment in split(manifest, SplitConfig(seed=seed), footage=footage).manifest.segments}
        assert len({split_of[path] for path in (first, second, third, fourth)}) == 1


def test_existing_splits_are_kept_and_the_rest_is_assigned() -> None:
    manifest = balanced(2, 20).with_splits((["train"] * 8 + ["test"] * 4 + ["val"] * 2 + [None] * 6) * 2)
    result = split(manifest, footage=NO_FOOTAGE)
    for before, after in zip(manifest.segments, result.manifest.segments):
        assert before.split in (None, after.split)
    assert None not in parts(result)


def test_a_missing_split_is_taken_out_of_train() -> None:
    manifest = balanced(2, 50).with_splits((["train"] * 30 + ["test"] * 20) * 2)
    result = split(manifest, footage=NO_FOOTAGE)
    assert [after for before, after in zip(manifest.segments, parts(result)) if before.split == "test"] == ["test"] * 40
    assert set(table_of(result).values()) <= {(22, 8, 20), (23, 7, 20)}
    assert "the manifest has no val split, so it is taken out of train" in result.warnings
    untouched = split(manifest, SplitConfig(val=0), footage=NO_FOOTAGE)
    assert parts(untouched) == [segment.split for segment in manifest.segments]


def test_a_leak_between_existing_splits_is_kept_and_reported() -> None:
    rows = [(f"{label}{index}.mp4", label, f"g{index // 2}") for label in "ab" for index in range(12)]
    manifest = manifest_of(*rows, splits=(["train"] * 7 + ["val"] * 2 + ["test"] * 3) * 2)
    first, last = manifest.paths[0], manifest.paths[-1]
    footage = Footage({manifest.paths[1]: "same", manifest.paths[11]: "same"}, matches=(Match(first, last, 0.99, 0.0, False),))
    result = split(manifest, footage=footage)
    assert parts(result) == [segment.split for segment in manifest.segments]
    assert not result.leakage.clean
    assert Counter(leak.kind for leak in result.leakage.leaks) == {"group": 2, "bytes": 1, "footage": 1}
    assert sum(warning.startswith("leak:") for warning in result.warnings) == 4
    assert "group 'g3' is in train and val" in "".join(result.warnings)
    assert "footage in more than one split: 1" in result.leakage.sentences[2]


def test_the_leakage_check_compares_bytes_and_footage() -> None:
    manifest = balanced(1, 2).with_splits(["train", "test"])
    first, second = manifest.paths
    assert check_leakage(manifest, NO_FOOTAGE).clean
    assert not check_leakage(manifest, Footage({first: "x", second: "x"})).clean
    assert not check_leakage(manifest, Footage(matches=(Match(first, second, 0.99, 0.0, False),))).clean


@pytest.mark.parametrize(
    ("rows", "warning"),
    [
        ([("a.mp4", "a", None), ("b.mp4", "b", None)], "class 'a' is missing in val and test: it has only 1 group"),
        (
            [(f"{i}.mp4", "a", f"g{i}") for i in range(9)] + [(f"{i}b.mp4", "b", "g0") for i in range(9)],
            "class 'b' is missing in val and test",
        ),
    ],
)
def test_a_class_that_cannot_be_in_every_split_is_a_warning(rows: list[tuple[str, str, str | None]], warning: str) -> None:
    result = split(manifest_of(*rows), footage=NO_FOOTAGE)
    assert warning in "\n".join(result.warnings)
    assert all(share.segments[0] for share in result.table)  # train comes first: a class that was not trained cannot be tested


def test_a_class_with_three_groups_is_in_every_split() -> None:
    rows = [(f"{i}.mp4", "many", None) for i in range(60)] + [(f"few{i}.mp4", "few", None) for i in range(3)]
    assert table_of(split(manifest_of(*rows), footage=NO_FOOTAGE))["few"] == (1, 1, 1)


def test_every_segment_is_tested_in_one_fold() -> None:
    rows = [(f"{dancer}-{label}.mp4", label, f"dancer {dancer}") for dancer in range(25) for label in "abc"]
    manifest = manifest_of(*rows)
    result = split(manifest, SplitConfig(folds=5), footage=NO_FOOTAGE)
    assert set(table_of(result).values()) == {(5, 5, 5, 5, 5)}
    tested = [segment.path for fold in result.folds for segment in fold.part("test").segments]
    assert sorted(tested) == sorted(manifest.paths)
    for number, fold in enumerate(result.folds):
        assert check_leakage(fold, NO_FOOTAGE).clean
        assert {segment.path for segment in fold.part("test").segments} == {
            segment.path for segment in result.manifest.segments if segment.extra["fold"] == str(number)
        }
        assert len(fold.part("val")) in range(9, 14)
    assert not result.warnings


@pytest.mark.parametrize(
    "wrong", [{"val": -0.1}, {"test": float("nan")}, {"val": 0.6, "test": 0.5}, {"folds": 1}, {"folds": -2}, {"seed": -1}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(reversed(wrong))):
        SplitConfig(**wrong)  # type: ignore[arg-type]


def test_more_folds_than_groups_and_an_empty_manifest_are_refused() -> None:
    with pytest.raises(ConfigError, match="only 4 groups"):
        split(balanced(2, 2), SplitConfig(folds=5), footage=NO_FOOTAGE)
    with pytest.raises(ManifestError, match="nothing to split"):
        split(Manifest(()), footage=NO_FOOTAGE)


def test_thousands_of_videos_are_split_in_seconds() -> None:
    result = split(balanced(20, 200), footage=NO_FOOTAGE)
    assert set(table_of(result).values()) == {(140, 30, 30)}


def test_a_path_can_be_split(tmp_path: Path) -> None:
    for label in ("halo", "swipe"):
        for number in range(6):
            video = tmp_path / "set" / label / f"{number}.mp4"
            video.parent.mkdir(parents=True, exist_ok=True)
            video.write_bytes(f"{label} {number}".encode())
    folder = tmp_path / "set"
    result = split(folder, footage=NO_FOOTAGE)
    assert len(result.manifest) == 12
    write_manifest(result.manifest, tmp_path / "splits.csv")
    assert parts(split(str(tmp_path / "splits.csv"), footage=NO_FOOTAGE)) == parts(result)
    with pytest.raises(TypeError, match="Manifest"):
        split(3)  # type: ignore[arg-type]
