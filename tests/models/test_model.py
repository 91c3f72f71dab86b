"""The model folder: it is loaded as it was saved, to the bit; damage is refused in one line, and a save is complete or did not happen."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import HELPERS, ROOT
from toys import Colours, draw_colours

from quickstep.backbones import BackboneSpec
from quickstep.datasets.manifest import Manifest
from quickstep.heads import Examples, FitConfig, open_head
from quickstep.models.classifier import Prediction, fit_temperature, fit_threshold, probabilities
from quickstep.models.model import Facts, Model
from quickstep.storage import model_folder
from quickstep.storage.cache import Cache
from quickstep.types.errors import ModelError
from quickstep.types.segment import Segment
from quickstep.types.signals import Features

SEGMENTS = tuple(Segment(f"/videos/{i}.mp4", "ab"[i % 2], split="train" if i < 12 else "val") for i in range(16))
FILES = ("head-last.safetensors", "head.safetensors", "history.json", "manifest.csv", "model.json")


def features(count: int, *, seed: int = 0) -> list[Features]:
    rng = np.random.default_rng(seed)
    return [Features((rng.normal(0, 1, (3, 3)) + i % 2).astype(np.float32), np.arange(3.0)) for i in range(count)]


def fitted_model(head_name: str = "linear", *, seed: int = 0) -> Model:
    """Return a model that was fitted without a video."""
    head, vectors = open_head(head_name), features(16)
    parts = [Examples(vectors[part], np.arange(16)[part] % 2, SEGMENTS[part]) for part in (slice(0, 12), slice(12, 16))]
    history = head.fit(*parts, classes=2, fitting=FitConfig(epochs=4, seed=seed))
    spec = BackboneSpec("toys:Colours")
    facts = Facts(created="2026-01-01T00:00:00+00:00", splits={"train": {"a": 6, "b": 6}}, seconds={"fitting": 0.1})
    return Model(("a", "b"), Colours(), Colours.view, head, spec, 1.5, 0.8, facts, Manifest(SEGMENTS), history)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "dances"
    fitted_model().save(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.mark.parametrize("head", ["linear", "attention"])
def test_a_loaded_model_equals_the_saved_one_to_the_bit(head: str, tmp_path: Path) -> None:
    model = fitted_model(head)
    model.save(tmp_path / "m")
    again = Model.load(tmp_path / "m")
    vectors = features(9, seed=5)
    assert np.array_equal(model.scores(vectors), again.scores(vectors))
    same = ("labels", "view", "spec", "temperature", "threshold", "facts")
    assert [getattr(model, name) for name in same] == [getattr(again, name) for name in same]
    assert again.head.config == model.head.config
    assert again.history is not None
    assert model.history is not None
    assert again.history.train_loss == model.history.train_loss
    assert tuple(sorted(entry.name for entry in (tmp_path / "m").iterdir())) == FILES


def test_the_manifest_and_the_history_come_back_together(tmp_path: Path) -> None:
    manifest = draw_colours(tmp_path / "videos", each=2, labels=("blue", "red"))
    rows = manifest.with_splits(["train", "val", "train", "val"]).segments
    model = fitted_model()
    assert model.history is not None
    history = replace(model.history, wrong_train=(3, 1), wrong_val=(0, 2)).with_segments((rows[0], rows[2]), (rows[1], rows[3]))
    replace(model, manifest=Manifest(rows), history=history).save(tmp_path / "m")
    again = Model.load(tmp_path / "m")
    assert again.manifest is not None
    assert again.history is not None
    assert [(s.path.resolve(), s.label, s.split) for s in again.manifest.segments] == [(s.path.resolve(), s.label, s.split) for s in rows]
    assert [(s.path.resolve(), n) for s, n in again.history.most_wrong("train")] == [(rows[0].path, 3), (rows[2].path, 1)]
    shutil.move(tmp_path / "m", tmp_path / "moved")
    (tmp_path / "deep").mkdir()
    shutil.move(tmp_path / "moved", tmp_path / "deep" / "m")
    moved = Model.load(tmp_path / "deep" / "m").manifest
    assert moved is not None
    assert [s.path.resolve() for s in moved.segments] == [s.path for s in rows]


def test_a_model_whose_videos_are_gone_still_loads(saved: Path) -> None:
    assert Model.load(saved).manifest is None


def test_a_saved_model_has_no_pickle_and_lists_every_file(saved: Path) -> None:
    record = json.loads((saved / "model.json").read_text())
    assert sorted(record["files"]) == sorted(set(FILES) - {"model.json"})
    assert record["format"] == model_folder.FORMAT
    assert record["identity"] == {"name": "colours", "weights": "a"}


@pytest.mark.parametrize("name", FILES)
def test_a_changed_missing_or_truncated_file_is_named(folder: Path, name: str) -> None:
    raw = (folder / name).read_bytes()
    (folder / name).write_bytes(raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 1]) + raw[len(raw) // 2 + 1 :])
    with pytest.raises(ModelError, match=name) as changed:
        Model.load(folder)
    assert "\n" not in str(changed.value)
    (folder / name).write_bytes(raw[:-3])
    with pytest.raises(ModelError, match=name):
        Model.load(folder)
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name):
        Model.load(folder)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_never_gives_other_scores(data: st.DataObject, saved: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any byte flipped, any file cut or grown: a ModelError, or exactly the model that was saved."""
    damaged = Path(shutil.copytree(saved, tmp_path_factory.mktemp("damaged") / "m"))
    path = damaged / data.draw(st.sampled_from(FILES))
    raw = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    change = data.draw(st.sampled_from(["flip", "cut", "grow", "drop"]))
    if change == "flip":
        raw[at] ^= data.draw(st.integers(1, 255))
    elif change == "cut":
        del raw[at:]
    elif change == "drop":
        del raw[at]
    else:
        raw[at:at] = data.draw(st.binary(min_size=1, max_size=9))
    path.write_bytes(bytes(raw))
    try:
        model = Model.load(damaged)
    except ModelError:
        return
    whole = Model.load(saved)
    assert np.array_equal(model.scores(features(4)), whole.scores(features(4)))
    assert (model.labels, model.threshold, model.facts) == (whole.labels, whole.threshold, whole.facts)


def resealed(folder: Path, **changes: object) -> None:
    """Change the record, and its checksum too."""
    record = json.loads((folder / "model.json").read_text()) | changes
    del record["seal"]
    (folder / "model.json").write_text(json.dumps({**record, "seal": model_folder._seal(record)}))


@pytest.mark.parametrize("changes", [{"temperature": 9.0}, {"threshold": 0.01}, {"labels": ["b", "a"]}, {"seal": "0" * 64}])
def test_a_record_that_was_changed_after_it_was_sealed_is_refused(folder: Path, changes: dict[str, object]) -> None:
    record = json.loads((folder / "model.json").read_text())
    assert all(record[name] != value for name, value in changes.items())
    (folder / "model.json").write_text(json.dumps(record | changes))
    with pytest.raises(ModelError, match=r"model\.json"):
        Model.load(folder)


def test_a_file_outside_the_folder_is_never_read(folder: Path) -> None:
    """The file exists and has the listed hash: only its place is wrong."""
    (folder.parent / "outside").write_bytes(b"secret")
    record = json.loads((folder / "model.json").read_text())
    for name in ("../outside", str(folder.parent / "outside"), "./../outside"):
        resealed(folder, files=record["files"] | {name: hashlib.sha256(b"secret").hexdigest()})
        with pytest.raises(ModelError, match=r"model\.json"):
            model_folder.read(folder, model_folder.FolderLayout())
    resealed(folder, files=record["files"])
    assert set(model_folder.read(folder, model_folder.FolderLayout())[1]) == set(record["files"])


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ["a", "b", "c"]},
        {"labels": ["a", "a"]},
        {"labels": "ab"},
        {"view": {"frames": 0}},
        {"view": {"pictures": 3}},
        {"head": "attention"},
        {"head": "nothing"},
        {"head_config": {"dropout": 7}},
        {"files": {}},
        {"files": {"../../etc/passwd": "0"}},
        {"temperature": "hot"},
        {"temperature": 0.0},
        {"facts": None},
        {"more": 1},
    ],
)
def test_an_inconsistent_record_is_refused(folder: Path, changes: dict[str, object]) -> None:
    resealed(folder, **changes)
    with pytest.raises(ModelError):
        Model.load(folder)


def test_a_newer_format_is_refused_with_a_way_out(folder: Path) -> None:
    resealed(folder, format=model_folder.FORMAT + 1, novelty={})
    with pytest.raises(ModelError, match=r"newer quickstep .*upgrade"):
        Model.load(folder)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path, words in ((tmp_path / "nowhere", "no such folder"), (tmp_path / "file", "is a file"), (tmp_path, "no model.json")):
        with pytest.raises(ModelError, match=words):
            Model.load(path)
    for text in ("", "{", "[]", "[" * 100_000, "null", '{"format": NaN}', '{"format": true}', "\udcff"):
        (tmp_path / "model.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(ModelError):
            Model.load(tmp_path)


def test_another_network_is_refused_and_another_precision_is_a_warning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(Colours):
        def __init__(self) -> None:
            super().__init__("b")

    class Quicker(Colours):
        def __init__(self) -> None:
            super().__init__()
            self.identity["precision"] = "bf16"

    monkeypatch.setattr("toys.Colours", Other)
    with pytest.raises(ModelError, match=r"another colours .*weights was a and is b here"):
        Model.load(folder)
    monkeypatch.setattr("toys.Colours", Quicker)
    assert "precision was None and is bf16 here" in Model.load(folder).warnings[0]


def test_an_earlier_model_is_replaced_and_its_report_removed(folder: Path) -> None:
    (folder / "report.html").write_text("about the old one")
    (folder / "notes.txt").write_text("mine")
    fitted_model(seed=3).save(folder)
    assert np.array_equal(Model.load(folder).scores(features(3)), fitted_model(seed=3).scores(features(3)))
    assert sorted(entry.name for entry in folder.iterdir()) == sorted([*FILES, "notes.txt"])


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("x")
    with pytest.raises(ModelError, match="new folder"):
        fitted_model().save(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="new folder"):
        fitted_model().save(tmp_path / "file")
    assert (tmp_path / "thesis.doc").read_text() == "x"


@pytest.mark.parametrize("step", range(12))
def test_a_failed_save_leaves_the_old_model_or_the_new_one(folder: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """A full disk at any moment of writing: one line, the old model, nothing left over."""
    old, count, real = Model.load(folder).scores(features(3)), iter(range(1000)), os.fsync

    def full(handle: int) -> None:
        if next(count) == step:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    new = fitted_model(seed=3)
    with contextlib.suppress(ModelError):
        new.save(folder)
    now = Model.load(folder).scores(features(3))
    assert np.array_equal(now, old) or np.array_equal(now, new.scores(features(3)))
    assert step > 5 or not any(entry.name.startswith(model_folder.PENDING) for entry in folder.iterdir())


@pytest.mark.parametrize("moved", range(5))
def test_a_kill_during_the_renaming_is_finished_by_the_next_read(folder: Path, monkeypatch: pytest.MonkeyPatch, moved: int) -> None:
    class Killed(BaseException):
        pass

    count, real = iter(range(1000)), Path.replace

    def dying(self: Path, target: Path) -> Path:
        if next(count) == moved + 2:  # the manifest's and the record's own renames come before
            raise Killed
        return real(self, target)

    new = fitted_model(seed=3)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        with pytest.raises(Killed):
            new.save(folder)
    assert np.array_equal(Model.load(folder).scores(features(3)), new.scores(features(3)))
    assert tuple(sorted(entry.name for entry in folder.iterdir())) == FILES


SAVE_FOREVER = """
import sys
sys.path[:0] = {tests!r}.split(":")
from tests.models.test_model import fitted_model
models = [fitted_model(seed=1), fitted_model(seed=2)]
print("ready", flush=True)
while True:
    for model in models:
        model.save({folder!r})
"""


@pytest.fixture
def saving(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    script = SAVE_FOREVER.format(tests=f"{HELPERS}:{ROOT}", folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()


@pytest.mark.slow
def test_a_killed_save_leaves_a_complete_model(folder: Path, saving: subprocess.Popen[bytes]) -> None:
    assert saving.stdout is not None
    saving.stdout.readline()
    time.sleep(0.5 + np.random.default_rng().random() / 10)
    saving.send_signal(signal.SIGKILL)
    saving.wait()
    scores = Model.load(folder).scores(features(3))
    assert any(np.array_equal(scores, fitted_model(seed=seed).scores(features(3))) for seed in (1, 2))


def test_a_prediction_has_label_score_and_confidence() -> None:
    prediction = Prediction(Segment("a.mp4"), np.array([0.2, 0.7, 0.1]), ("x", "y", "z"), threshold=0.6)
    assert (prediction.label, prediction.score, prediction.sure, prediction.confidence) == ("y", 0.7, True, "sure")
    assert prediction.top(2) == [("y", 0.7), ("x", 0.2)]
    assert len(prediction.top(50)) == 3
    assert prediction.top(0) == []
    assert replace(prediction, threshold=0.71).confidence == "not sure"
    assert replace(prediction, threshold=None).sure is None


def test_a_model_predicts_what_it_can_read_and_lists_failures(tmp_path: Path) -> None:
    manifest = draw_colours(tmp_path / "videos", each=1, labels=("blue", "red"))
    (tmp_path / "text.mp4").write_text("no video")
    result = fitted_model().predict([*manifest.segments, tmp_path / "text.mp4"], cache=Cache(tmp_path / "store"))
    assert [prediction.segment for prediction in result.predictions] == list(manifest.segments)
    assert all(np.isclose(prediction.scores.sum(), 1) for prediction in result.predictions)
    assert [failure.segment.path.name for failure in result.failures] == ["text.mp4"]


def test_the_temperature_calibrates_scores_and_few_segments_claim_no_certainty() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 3))
    labels = np.array([rng.choice(3, p=row) for row in probabilities(logits)])
    assert abs(fit_temperature(4 * logits, labels) - 4) < 0.3
    sure = np.array([[9.0, 0.0]] * 4)
    assert probabilities(sure, fit_temperature(sure, np.zeros(4, np.int64))).max() < 1 - 1e-5
    assert fit_temperature(np.zeros((0, 2)), np.zeros(0, np.int64)) == 1.0


def test_the_threshold_is_the_lowest_reliable_score() -> None:
    top = np.linspace(0.51, 0.99, 40)
    labels = np.where(np.arange(40) < 20, np.arange(40) % 2, 0)  # below the middle every other answer is wrong
    threshold = fit_threshold(np.stack([top, 1 - top], axis=1), labels)
    assert threshold is not None
    answered = top >= threshold
    assert (labels[answered] == 0).mean() >= 0.95
    assert (labels[top >= top[answered.argmax() - 1]] == 0).mean() < 0.95
    assert fit_threshold(np.stack([top, 1 - top], axis=1), np.ones(40, np.int64)) is None
    assert fit_threshold(np.stack([top, 1 - top], axis=1)[:5], np.zeros(5, np.int64)) is None
