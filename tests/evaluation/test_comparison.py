"""compare: pairing of segments, verdicts, corrections, and reports that do not fit together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import made_up
import pytest

from quickstep.evaluation.comparison import compare
from quickstep.evaluation.report import Report
from quickstep.types.errors import ConfigError, ModelError


def report_of(name: str, *, wrong: range | list[int], count: int = 120, groups: int = 12) -> Report:
    """Build a report whose model is wrong on exactly these segments."""
    tested = []
    for index, one in enumerate(made_up.segments(count, groups=groups)):
        other = next(label for label in made_up.MOVES if label != one.label)
        tested.append(replace(one, predicted=other if index in wrong else one.label))
    return made_up.report(tested, name=name)


def test_a_clear_winner_is_named() -> None:
    comparison = compare([report_of("weak", wrong=range(60)), report_of("strong", wrong=range(5))])
    pair = comparison.pairs[0]
    assert pair.better == "strong"
    assert pair.verdict.startswith("strong is better than weak")
    assert (pair.difference.only_a, pair.difference.only_b) == (55, 0)
    assert pair.difference.interval.value == pytest.approx(55 / 120)
    assert comparison.segments == 120
    assert comparison.groups == 12


def test_the_worse_challenger_is_not_called_better() -> None:
    pair = compare([report_of("strong", wrong=range(5)), report_of("weak", wrong=range(60))]).pairs[0]
    assert pair.better == "strong"
    assert pair.difference.interval.high < 0


def test_a_small_difference_shows_nothing() -> None:
    pair = compare([report_of("a", wrong=range(20)), report_of("b", wrong=range(18))]).pairs[0]
    assert pair.better == ""
    assert "no significant difference" in pair.verdict


def test_equal_answers_are_called_equal() -> None:
    pair = compare([report_of("a", wrong=range(20)), report_of("b", wrong=range(20))]).pairs[0]
    assert pair.difference.only_a == pair.difference.only_b == 0
    assert pair.p == 1.0


def test_few_groups_cannot_crown_anybody() -> None:
    pair = compare([report_of("a", wrong=range(60), groups=3), report_of("b", wrong=[], groups=3)]).pairs[0]
    assert pair.better == ""
    assert pair.difference.p_mcnemar < 1e-10


def test_many_models_are_corrected_and_numbered() -> None:
    reports = [report_of("same", wrong=range(30)), report_of("same", wrong=range(29)), report_of("best", wrong=range(2))]
    first = compare(reports)
    assert [pair.reference for pair in first.pairs] == ["same (1)", "same (1)"]
    assert [pair.challenger for pair in first.pairs] == ["same (2)", "best"]
    assert any("Holm" in note for note in first.notes)
    alone = compare([reports[0], reports[2]]).pairs[0]
    assert first.pairs[1].p == pytest.approx(min(1.0, 2 * alone.p))
    against = compare(reports, against="best")
    assert {pair.reference for pair in against.pairs} == {"best"}


def test_only_shared_segments_count() -> None:
    whole = report_of("whole", wrong=range(10))
    half = made_up.report(whole.tested[:60], name="half")
    comparison = compare([whole, half])
    assert comparison.segments == 60
    assert "60 of 120 of whole" in comparison.notes[0]


def test_moved_folders_are_paired_by_the_paths_end() -> None:
    here = report_of("here", wrong=range(10))
    there = made_up.report([replace(one, path=one.path.replace("/videos", "/mnt/elsewhere")) for one in here.tested], name="there")
    comparison = compare([here, there])
    assert comparison.segments == 120
    assert "different folders" in comparison.notes[0]


def test_nothing_in_common_is_one_clear_line() -> None:
    a = made_up.report(made_up.segments(20, name="a"), name="a")
    b = made_up.report(made_up.segments(20, name="b"), name="b")
    with pytest.raises(ConfigError, match="no tested segment in common"):
        compare([a, b])


def test_other_labels_for_the_same_segments_are_refused_or_left_out() -> None:
    a = report_of("a", wrong=[])
    turned = [replace(one, label="halo" if one.label != "halo" else "swipe") for one in a.tested]
    with pytest.raises(ConfigError, match="different labels"):
        compare([a, made_up.report(turned, name="b")])
    some = compare([a, made_up.report([*turned[:3], *a.tested[3:]], name="b")])
    assert some.segments == 117
    assert any("different label" in note for note in some.notes)


def test_one_report_is_not_a_comparison() -> None:
    with pytest.raises(ConfigError, match="at least two"):
        compare([report_of("a", wrong=[])])


def test_files_folders_and_what_is_neither(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "report.json").write_text(report_of("a", wrong=range(3)).to_json())
    (tmp_path / "b.json").write_text(report_of("b", wrong=range(4)).to_json())
    assert compare([tmp_path / "a", tmp_path / "b.json"]).segments == 120
    with pytest.raises(ModelError, match="there is no report here"):
        compare([tmp_path / "a", tmp_path / "nothing"])


def test_text_markdown_and_json_agree() -> None:
    weak = replace(report_of("weak|<b>", wrong=range(60)), trained_on=made_up.report().trained_on)
    elsewhere = replace(report_of("strong", wrong=range(5)), trained_on=replace(weak.trained_on, name="OTHERS"))
    comparison = compare([weak, elsewhere])
    assert "strong is better than weak|<b>" in comparison.text
    assert "trained on OTHERS, tested on DANCES" in comparison.text
    assert "weak\\|&lt;b>" in comparison.markdown
    plain = json.loads(comparison.to_json())
    assert plain["pairs"][0]["better"] == "strong"
    assert plain["models"][1]["accuracy"]["value"] == pytest.approx(115 / 120)
