"""Label review: decisions are saved at once and never lost, wrong labels are listed first, and a refit is measured."""

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
def csv_file(tmp_path: Path) -> Path:
    """Write a csv of 24 videos with an extra column."""
    drawn = draw_colours(tmp_path / "videos")
    with_cameras = drawn.with_segments(replace(s, extra={"camera": f"c{number}"}) for number, s in enumerate(drawn.segments))
    write_manifest(with_cameras, tmp_path / "list.csv")
    return tmp_path / "list.csv"


@pytest.fixture(scope="module")
def mislabelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Model, set[Path]]:
    """Train a model on a list with two wrong labels in its train part."""
    folder = tmp_path_factory.mktemp("set")
    drawn = draw_colours(folder / "videos")
    trained = [segment for segment in drawn.segments if segment.split == "train"]
    wrong = {trained[0].path: "red", trained[6].path: "blue"}
    write_manifest(drawn.with_segments(replace(s, label=wrong.get(s.path, s.label)) for s in drawn.segments), folder / "list.csv")
    cache = Cache(folder / "cache")
    model = train(read_manifest(folder / "list.csv"), TrainConfig(), backbone=Colours(), cache=cache).model
    return folder / "list.csv", model, set(wrong)


def test_a_decision_changes_the_list_and_the_history_and_keeps_the_original(csv_file: Path) -> None:
    before, journal = csv_file.read_bytes(), Journal.open(csv_file)
    first, second, third, *_ = journal.manifest.segments
    journal.decide(first, "confirm", by="ana")
    journal.decide(second, "correct", "teal", by="ben")
    journal.decide(third, "reject", by="ana")
    now = read_manifest(csv_file)
    assert [entry.label for entry in now.segments[:2]] == [first.label, "teal"]
    assert third.path not in now.paths
    assert now.segments[1].extra == second.extra
    assert [entry.split for entry in now.segments[:8]] == [*["train"] * 4, "val", "val", "test", "train"]
    assert csv_file.with_suffix(".original.csv").read_bytes() == before
    lines = [json.loads(line) for line in csv_file.with_suffix(".history.jsonl").read_text().splitlines()]
    assert [(entry["by"], entry["action"], entry["after"]) for entry in lines] == [
        ("ana", "confirm", first.label),
        ("ben", "correct", "teal"),
        ("ana", "reject", None),
    ]
    assert journal.decided == {journal.span_of(entry) for entry in (first, second, third)}


def test_an_undone_decision_restores_the_whole_row(csv_file: Path) -> None:
    journal = Journal.open(csv_file)
    row = journal.manifest.segments[3]
    rejection = journal.decide(row, "reject")
    journal.undo(rejection, by="ana")
    restored = next(entry for entry in journal.manifest.segments if entry.path == row.path)
    assert (restored.label, restored.group, restored.split, dict(restored.extra)) == (row.label, row.group, row.split, dict(row.extra))
    assert journal.decided == frozenset()
    assert len(journal.decisions) == 2  # nothing is erased
    with pytest.raises(Conflict):
        journal.undo(rejection)


def test_a_decision_without_knowledge_of_another_one_is_a_conflict(csv_file: Path) -> None:
    ana, ben = Journal.open(csv_file), Journal.open(csv_file)
    row = ana.manifest.segments[0]
    first = ana.decide(row, "correct", "teal", by="ana")
    with pytest.raises(Conflict, match=r"by ana"):
        ben.decide(row, "reject", by="ben")
    assert [entry.number for entry in ben.decisions] == [1]
    assert ben.decide(row, "reject", by="ben", known=first.number).number == 2


def test_two_people_who_decide_at_once_lose_nothing(csv_file: Path) -> None:
    rows = Journal.open(csv_file).manifest.segments

    def decide(mine: int) -> None:
        journal = Journal.open(csv_file)
        for row in rows[mine::2]:
            journal.decide(row, "correct", f"new {row.label}", by=str(mine))

    people = [threading.Thread(target=decide, args=(mine,)) for mine in (0, 1)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    journal = Journal.open(csv_file)
    assert sorted(entry.number for entry in journal.decisions) == list(range(1, len(rows) + 1))
    assert [entry.label for entry in journal.manifest.segments] == [f"new {row.label}" for row in rows]


def test_an_interrupted_decision_is_completed(csv_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.open(csv_file)
    row = journal.manifest.segments[0]

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(journals, "write_manifest", die)
    with pytest.raises(KeyboardInterrupt):
        journal.decide(row, "correct", "teal")
    monkeypatch.undo()
    assert read_manifest(csv_file).segments[0].label == row.label
    assert Journal.open(csv_file).manifest.segments[0].label == "teal"
    history = csv_file.with_suffix(".history.jsonl")
    history.write_bytes(history.read_bytes() + b'{"number": 2, "at": "20')  # an incomplete line
    again = Journal.open(csv_file)
    assert len(again.decisions) == 1
    assert again.decide(row, "confirm", known=1).number == 2
    assert [entry.action for entry in Journal.open(csv_file).decisions] == ["correct", "confirm"]


def test_a_killed_process_leaves_a_complete_list(csv_file: Path) -> None:
    script = (
        "import sys; from quickstep.training.label_review import Journal\n"
        "journal = Journal.open(sys.argv[1])\n"
        "for row in journal.manifest.segments:\n"
        "    journal.decide(row, 'correct', 'new ' + row.label); print('.', flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(csv_file)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    for _ in range(3):
        child.stdout.readline()
    child.kill()
    child.wait()
    child.stdout.close()
    journal = Journal.open(csv_file)
    labels = [str(entry.label).startswith("new") for entry in journal.manifest.segments]
    assert len(labels) == 24
    assert sum(labels) == len(journal.decisions) >= 3


def test_a_manual_change_is_kept(csv_file: Path) -> None:
    journal = Journal.open(csv_file)
    rows = journal.manifest.segments
    journal.decide(rows[0], "correct", "teal")
    csv_file.write_text(csv_file.read_text().replace("teal", "aqua"))
    Journal.open(csv_file).decide(rows[1], "confirm")
    assert [entry.label for entry in read_manifest(csv_file).segments[:2]] == ["aqua", rows[1].label]


def test_an_impossible_decision_is_refused(csv_file: Path, tmp_path: Path) -> None:
    journal = Journal.open(csv_file)
    row = journal.manifest.segments[0]
    with pytest.raises(ManifestError, match="needs the label"):
        journal.decide(row, "correct", "  ")
    with pytest.raises(ManifestError, match="not in the list"):
        journal.decide(replace(row, start=0.1), "confirm")
    alone = tmp_path / "alone.csv"
    write_manifest(Manifest((row,)), alone)
    with pytest.raises(ManifestError, match="last segment"):
        Journal.open(alone).decide(row, "reject")
    assert Journal.open(alone).decisions == ()


def test_wrong_labels_come_first_although_the_model_was_trained_with_them(mislabelled: tuple[Path, Model, set[Path]]) -> None:
    csv_file, model, wrong = mislabelled
    ranked = suspects(model, csv_file).suspects
    assert {entry.segment.path for entry in ranked[:2]} == wrong
    assert all(entry.held_out and entry.disagrees for entry in ranked[:2])
    assert repr(ranked[0].segment.label) in ranked[0].reason
    assert repr(ranked[0].predicted) in ranked[0].reason
    assert [entry.doubt for entry in ranked] == sorted((entry.doubt for entry in ranked), reverse=True)


def test_retraining_uses_the_corrections_and_measures_both_models_with_the_same_labels(
    mislabelled: tuple[Path, Model, set[Path]], tmp_path: Path
) -> None:
    csv_file, model, wrong = mislabelled
    journal = journal_for(model)
    assert journal.path == csv_file
    for row in journal.manifest.segments:
        if row.path in wrong:
            journal.decide(row, "correct", row.path.parent.name)
    retrained = retrain(model, journal.manifest)
    assert (retrained.changed, retrained.dropped) == (2, 0)
    assert retrained.part == "test"
    assert retrained.before is not None
    assert retrained.after is not None
    assert retrained.after.value >= retrained.before.value
    assert "2" in retrained.sentences[0]
    assert retrained.notes == ()
    video = next(path for path in wrong if path.parent.name == "blue")
    scores = [entry.predict([video]).predictions[0].scores for entry in (model, retrained.model)]
    blue = model.labels.index("blue")
    assert scores[1][blue] > scores[0][blue]
    retrained.model.save(tmp_path / "reviewed")
    again = Model.load(tmp_path / "reviewed")
    assert np.array_equal(again.predict([video]).predictions[0].scores, scores[1])
    assert again.facts.splits["train"] == {"blue": 5, "green": 5, "red": 5}


def test_corrected_held_out_labels_are_noted(mislabelled: tuple[Path, Model, set[Path]]) -> None:
    csv_file, model, _ = mislabelled
    rows = list(read_manifest(csv_file).segments)
    place = next(number for number, entry in enumerate(rows) if entry.split == "test")
    rows[place] = replace(rows[place], label="red" if rows[place].label != "red" else "blue")
    retrained = retrain(model, Manifest(tuple(rows), csv_file))
    assert any("1 of the held-out labels" in sentence for sentence in retrained.sentences)


def test_a_folder_is_reviewed_in_a_csv_beside_its_videos(tmp_path: Path) -> None:
    drawn = draw_colours(tmp_path / "videos", splits=False)
    model = train(replace(drawn, source=tmp_path / "videos"), TrainConfig(), backbone=Colours()).model
    journal = journal_for(model)
    assert journal.path == tmp_path / "videos" / "reviewed.csv"
    assert len(journal.manifest) == 24
    assert [entry.split for entry in journal.manifest.segments] == [entry.split for entry in model.manifest.segments]
    assert len(read_manifest(tmp_path / "videos")) == 24  # the csv is not read as a video
