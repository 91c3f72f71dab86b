"""Looking over labels: decisions are on disk at once and never lost, the wrong labels come first, and a refit is measured."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toys import Colours, draw_colours

import quickstep.training.label_review.journal as journals
from quickstep.datasets.manifest import Manifest, read_manifest, write_manifest
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.training.label_review import Conflict, Journal, journal_for, retrain, suspects
from quickstep.training.train import TrainConfig, train
from quickstep.types.errors import ManifestError


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A csv of 24 videos with a column of its own."""
    drawn = draw_colours(tmp_path / "videos")
    noted = drawn.with_segments(replace(each, extra={"camera": f"c{number}"}) for number, each in enumerate(drawn.segments))
    write_manifest(noted, tmp_path / "list.csv")
    return tmp_path / "list.csv"


@pytest.fixture(scope="module")
def mislabelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Model, set[Path]]:
    """A model that learnt from a list with two wrong labels in its train part."""
    folder = tmp_path_factory.mktemp("set")
    drawn = draw_colours(folder / "videos")
    learnt = [each for each in drawn.segments if each.split == "train"]
    wrong = {learnt[0].path: "red", learnt[6].path: "blue"}
    spoilt = drawn.with_segments(replace(each, label=wrong.get(each.path, each.label)) for each in drawn.segments)
    write_manifest(spoilt, folder / "list.csv")
    cache = Cache(folder / "cache")
    model = train(read_manifest(folder / "list.csv"), TrainConfig(), backbone=Colours(), cache=cache).model
    return folder / "list.csv", model, set(wrong)


def test_a_decision_is_in_the_list_and_in_the_history_and_the_original_is_kept(listed: Path) -> None:
    before, journal = listed.read_bytes(), Journal.open(listed)
    first, second, third, *_ = journal.manifest.segments
    journal.decide(first, "confirm", by="ana")
    journal.decide(second, "correct", "teal", by="ben")
    journal.decide(third, "reject", by="ana")
    now = read_manifest(listed)
    assert [each.label for each in now.segments[:2]] == [first.label, "teal"]
    assert third.path not in now.paths
    assert now.segments[1].extra == second.extra
    assert [each.split for each in now.segments[:8]] == [*["train"] * 4, "val", "val", "test", "train"]
    assert listed.with_suffix(".original.csv").read_bytes() == before
    told = [json.loads(line) for line in listed.with_suffix(".history.jsonl").read_text().splitlines()]
    assert [(each["by"], each["action"], each["after"]) for each in told] == [
        ("ana", "confirm", first.label),
        ("ben", "correct", "teal"),
        ("ana", "reject", None),
    ]
    assert journal.decided == {journal.place_of(each) for each in (first, second, third)}


def test_decisions_are_taken_back_with_everything_the_row_had(listed: Path) -> None:
    journal = Journal.open(listed)
    row = journal.manifest.segments[3]
    gone = journal.decide(row, "reject")
    journal.undo(gone, by="ana")
    back = next(each for each in journal.manifest.segments if each.path == row.path)
    assert (back.label, back.group, back.split, dict(back.extra)) == (row.label, row.group, row.split, dict(row.extra))
    assert journal.decided == frozenset()
    assert len(journal.decisions) == 2  # nothing is erased
    with pytest.raises(Conflict):
        journal.undo(gone)


def test_who_has_not_seen_the_others_decision_is_told_of_it(listed: Path) -> None:
    ana, ben = Journal.open(listed), Journal.open(listed)
    row = ana.manifest.segments[0]
    first = ana.decide(row, "correct", "teal", by="ana")
    with pytest.raises(Conflict, match=r"decided meanwhile .* by ana"):
        ben.decide(row, "reject", by="ben")
    assert [each.number for each in ben.decisions] == [1]
    assert ben.decide(row, "reject", by="ben", seen=first.number).number == 2


def test_two_people_at_once_lose_nothing(listed: Path) -> None:
    rows = Journal.open(listed).manifest.segments

    def decide(mine: int) -> None:
        journal = Journal.open(listed)
        for row in rows[mine::2]:
            journal.decide(row, "correct", f"new {row.label}", by=str(mine))

    people = [threading.Thread(target=decide, args=(mine,)) for mine in (0, 1)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    journal = Journal.open(listed)
    assert sorted(each.number for each in journal.decisions) == list(range(1, len(rows) + 1))
    assert [each.label for each in journal.manifest.segments] == [f"new {row.label}" for row in rows]


def test_what_a_kill_left_half_done_is_finished(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.open(listed)
    row = journal.manifest.segments[0]

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(journals, "write_manifest", die)
    with pytest.raises(KeyboardInterrupt):
        journal.decide(row, "correct", "teal")
    monkeypatch.undo()
    assert read_manifest(listed).segments[0].label == row.label
    assert Journal.open(listed).manifest.segments[0].label == "teal"
    history = listed.with_suffix(".history.jsonl")
    history.write_bytes(history.read_bytes() + b'{"number": 2, "at": "20')  # a line cut off
    again = Journal.open(listed)
    assert len(again.decisions) == 1
    assert again.decide(row, "confirm", seen=1).number == 2
    assert [each.action for each in Journal.open(listed).decisions] == ["correct", "confirm"]


def test_a_killed_process_leaves_a_whole_list(listed: Path) -> None:
    script = (
        "import sys; from quickstep.training.label_review import Journal\n"
        "journal = Journal.open(sys.argv[1])\n"
        "for row in journal.manifest.segments:\n"
        "    journal.decide(row, 'correct', 'new ' + row.label); print('.', flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(listed)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    for _ in range(3):
        child.stdout.readline()
    child.kill()
    child.wait()
    child.stdout.close()
    journal = Journal.open(listed)
    labels = [str(each.label).startswith("new") for each in journal.manifest.segments]
    assert len(labels) == 24
    assert sum(labels) == len(journal.decisions) >= 3


def test_a_change_by_hand_is_kept(listed: Path) -> None:
    journal = Journal.open(listed)
    rows = journal.manifest.segments
    journal.decide(rows[0], "correct", "teal")
    listed.write_text(listed.read_text().replace("teal", "aqua"))
    Journal.open(listed).decide(rows[1], "confirm")
    assert [each.label for each in read_manifest(listed).segments[:2]] == ["aqua", rows[1].label]


def test_what_cannot_be_decided_is_said(listed: Path, tmp_path: Path) -> None:
    journal = Journal.open(listed)
    row = journal.manifest.segments[0]
    with pytest.raises(ManifestError, match="none was given"):
        journal.decide(row, "correct", "  ")
    with pytest.raises(ManifestError, match="not listed any more"):
        journal.decide(replace(row, start=0.1), "confirm")
    alone = tmp_path / "alone.csv"
    write_manifest(Manifest((row,)), alone)
    with pytest.raises(ManifestError, match="last segment"):
        Journal.open(alone).decide(row, "reject")
    assert Journal.open(alone).decisions == ()


def test_wrong_labels_come_first_though_the_model_has_learnt_them(mislabelled: tuple[Path, Model, set[Path]]) -> None:
    listed, model, wrong = mislabelled
    found = suspects(model, read_manifest(listed)).suspects
    assert {each.segment.path for each in found[:2]} == wrong
    assert all(each.apart and each.disagrees for each in found[:2])
    assert "its label says" in found[0].reason
    assert [each.doubt for each in found] == sorted((each.doubt for each in found), reverse=True)


def test_retraining_takes_the_corrections_and_measures_both_by_the_same_truth(
    mislabelled: tuple[Path, Model, set[Path]], tmp_path: Path
) -> None:
    listed, model, wrong = mislabelled
    journal = journal_for(model)
    assert journal.path == listed
    for row in journal.manifest.segments:
        if row.path in wrong:
            journal.decide(row, "correct", row.path.parent.name)
    done = retrain(model, journal.manifest)
    assert (done.changed, done.dropped) == (2, 0)
    assert done.part == "test"
    assert done.before is not None
    assert done.after is not None
    assert done.after.value >= done.before.value
    assert "had learnt: 2" in done.sentences[0]
    assert "before" in done.sentences[1]
    assert not any("flatter" in sentence for sentence in done.sentences)
    video = next(path for path in wrong if path.parent.name == "blue")
    scores = [each.predict([video]).predictions[0].scores for each in (model, done.model)]
    blue = model.labels.index("blue")
    assert scores[1][blue] > scores[0][blue]
    done.model.save(tmp_path / "reviewed")
    again = Model.load(tmp_path / "reviewed")
    assert np.array_equal(again.predict([video]).predictions[0].scores, scores[1])
    assert again.facts.splits["train"] == {"blue": 5, "green": 5, "red": 5}


def test_correcting_what_is_measured_on_is_said(mislabelled: tuple[Path, Model, set[Path]]) -> None:
    listed, model, _ = mislabelled
    rows = list(read_manifest(listed).segments)
    place = next(number for number, each in enumerate(rows) if each.split == "test")
    rows[place] = replace(rows[place], label="red" if rows[place].label != "red" else "blue")
    done = retrain(model, Manifest(tuple(rows), listed))
    assert any("1 of the held-out labels was corrected too" in sentence for sentence in done.sentences)


def test_a_folder_is_reviewed_in_a_list_beside_its_videos(tmp_path: Path) -> None:
    drawn = draw_colours(tmp_path / "videos", splits=False)
    model = train(replace(drawn, source=tmp_path / "videos"), TrainConfig(), backbone=Colours()).model
    journal = journal_for(model)
    assert journal.path == tmp_path / "videos" / "reviewed.csv"
    assert len(journal.manifest) == 24
    assert [each.split for each in journal.manifest.segments] == [each.split for each in model.manifest.segments]
    assert len(read_manifest(tmp_path / "videos")) == 24  # it is not taken for a video
