"""Ensembles: the mean is held against arithmetic, weights against what is known of the members; one folder is used as any model is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from places import HELPERS
from toys import COLOURS, Colours, Words, draw_colours

from quickstep.backbones import BackboneSpec, Capabilities
from quickstep.datasets.manifest import Manifest
from quickstep.evaluation import evaluate
from quickstep.evaluation.rendering import model_card, write_report
from quickstep.heads import open_head
from quickstep.inference.predict import predict, to_json
from quickstep.models.ensemble import Ensemble, load_model
from quickstep.models.model import Facts, Model
from quickstep.storage.cache import Cache
from quickstep.training.ensemble import EnsembleConfig, ensemble, fit_weights
from quickstep.training.train import TrainConfig, train
from quickstep.types.errors import ConfigError, ModelError
from quickstep.types.segment import Segment
from quickstep.types.signals import Features


class Blurred(Colours):
    """Another look at the same colours: of every frame the red alone."""

    name = "blurred"

    def __init__(self) -> None:
        self.identity = {"name": "blurred"}

    def embed(self, batch):  # type: ignore[no-untyped-def]
        return [Features(np.ascontiguousarray(one.values[:, :1]), one.times) for one in super().embed(batch)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Model, Model, Cache]:
    """Make a dataset, a model that sees all colours, one that sees only red, and a cache."""
    folder = tmp_path_factory.mktemp("world")
    manifest, cache = draw_colours(folder / "set", each=8), Cache(folder / "store")
    models = []
    for number, backbone in enumerate((Colours(), Blurred())):
        model = train(manifest, TrainConfig(epochs=30, seed=number), backbone=backbone, cache=cache).model
        model = replace(model, spec=BackboneSpec(f"{'toys' if number == 0 else 'tests.models.test_ensemble'}:{type(backbone).__name__}"))
        model.save(folder / ("colours", "red")[number])
        models.append(Model.load(folder / ("colours", "red")[number], cache=cache))
    return manifest, models[0], models[1], cache


def test_the_answer_is_the_weighted_mean(world: tuple[Manifest, Model, Model, Cache]) -> None:
    manifest, one, two, cache = world
    ensemble = Ensemble((one, two), (0.3, 0.7), ("one", "two"))
    members = [model.predict(manifest.segments, cache=cache).predictions for model in (one, two)]
    together = ensemble.predict(manifest.segments, cache=cache).predictions
    for a, b, both in zip(*members, together, strict=True):
        assert np.allclose(both.scores, 0.3 * a.scores + 0.7 * b.scores)


def test_labels_may_stand_in_another_order(world: tuple[Manifest, Model, Model, Cache]) -> None:
    manifest, one, two, cache = world
    turned = replace(two, labels=two.labels[::-1])  # says of what is red with the probability of blue, on purpose
    both = Ensemble((one, turned), (0.0, 1.0), ("one", "two")).predict(manifest.segments[:5], cache=cache).predictions
    for together, alone in zip(both, two.predict(manifest.segments[:5], cache=cache).predictions, strict=True):
        assert together.labels == one.labels
        assert np.allclose(together.scores, alone.scores[::-1])


def test_other_labels_are_refused_in_a_line(world: tuple[Manifest, Model, Model, Cache]) -> None:
    _, one, two, _ = world
    with pytest.raises(ConfigError, match="b lacks 'blue' and also has 'pink'"):
        Ensemble((one, replace(two, labels=("green", "pink", "red"))), (0.5, 0.5), ("a", "b"))
    with pytest.raises(ConfigError, match="at least two"):
        ensemble([one])


def test_weights_follow_who_is_right() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 300)
    good = np.full((300, 3), 0.05) + 0.85 * np.eye(3)[truth]
    noise = rng.dirichlet([1, 1, 1], 300)
    assert fit_weights([good, noise], truth)[0] > 0.95
    assert fit_weights([good, good], truth) == pytest.approx((0.5, 0.5), abs=1e-3)
    few = fit_weights([good[:2], noise[:2]], truth[:2])  # two segments are luck
    assert 0.5 < few[0] < 0.85


def test_weights_are_never_fitted_on_test_or_training(world: tuple[Manifest, Model, Model, Cache], monkeypatch: pytest.MonkeyPatch) -> None:
    _, one, two, cache = world
    scored: list[Segment] = []
    true_predict = Model.predict

    def spy(self: Model, segments, **more):  # type: ignore[no-untyped-def]
        scored.extend(segments)
        return true_predict(self, segments, **more)

    monkeypatch.setattr(Model, "predict", spy)
    fused = ensemble([one, two], cache=cache)
    assert {segment.split for segment in scored} == {"val"}
    assert fused.ensemble.weights[0] > fused.ensemble.weights[1]  # red alone does not tell blue from green
    assert [entry.name for entry in fused.standings] == ["colours", "red", "together"]
    assert fused.best == "colours"
    assert any("not significantly better" in line or "exactly the same" in line for line in fused.sentences)


def test_members_of_other_splits_are_not_fitted_on_validation(world: tuple[Manifest, Model, Model, Cache]) -> None:
    manifest, one, _, cache = world
    moved = {"train": "val", "val": "train", "test": "test"}
    other = manifest.with_splits([moved[str(segment.split)] for segment in manifest.segments])
    two = train(other, TrainConfig(epochs=5), backbone=Colours(), cache=cache).model
    with pytest.raises(ConfigError, match=r"different splits.*equal") as refused:
        ensemble([one, two], EnsembleConfig("validation"), names=("a", "b"), cache=cache)
    assert refused.value.field == "weights_by"
    fused = ensemble([one, two], names=("a", "b"), cache=cache)
    assert fused.ensemble.weights == (0.5, 0.5)
    assert fused.ensemble.threshold is None
    assert fused.standings == ()
    report = evaluate(fused.ensemble, manifest.part("val"), split="all", cache=cache, baselines=False)
    assert report.proof.leaks  # the other member learnt these


def test_given_weights_are_brought_to_one(world: tuple[Manifest, Model, Model, Cache]) -> None:
    _, one, two, cache = world
    assert ensemble([one, two], EnsembleConfig("3,1"), cache=cache).ensemble.weights == (0.75, 0.25)
    for wrong in ("0.6;0.4", "-1,2", "0,0", "best"):
        with pytest.raises(ConfigError, match="weights_by"):
            EnsembleConfig(wrong)
    with pytest.raises(ConfigError, match="2 models need 2 weights, not 3"):
        ensemble([one, two], EnsembleConfig("1,1,1"), cache=cache)


def test_what_one_member_cannot_see_is_a_failure_of_all(world: tuple[Manifest, Model, Model, Cache], tmp_path: Path) -> None:
    manifest, one, two, _ = world

    class Blind(Blurred):
        def embed(self, batch):  # type: ignore[no-untyped-def]
            from quickstep.types.errors import MediaError

            if any(frames.pixels.mean() > 0 for frames in batch):
                raise MediaError("here", "too dark for me")
            return super().embed(batch)

        capabilities = Capabilities(parallel=True)

    half = Ensemble((one, replace(two, backbone=Blind())), (0.9, 0.1), ("a", "b"))
    result = half.predict(manifest.segments[:3], cache=Cache(tmp_path))
    assert not result.predictions
    assert [failure.segment for failure in result.failures] == list(manifest.segments[:3])
    assert "too dark for me" in str(result.failures[0].error)


def test_an_ensemble_moves_as_one_folder_and_is_used_as_a_model(world: tuple[Manifest, Model, Model, Cache], tmp_path: Path) -> None:
    manifest, one, two, cache = world
    fused = ensemble([one, two], cache=cache)
    fused.ensemble.save(tmp_path / "first")
    result = fused.ensemble.predict(manifest.segments, cache=cache)
    shutil.move(tmp_path / "first", tmp_path / "moved")
    again = load_model(tmp_path / "moved", cache=cache)
    assert isinstance(again, Ensemble)
    assert to_json(predict(again, manifest.segments, cache=cache)) == to_json(result)
    report = evaluate(again, cache=cache)
    assert report.tested_on.segments == len(manifest.part("test"))
    assert report.model.backbone == "colours + blurred"
    assert report.proof.clean
    write_report(report, tmp_path / "moved")
    card = (tmp_path / "moved" / "README.md").read_text()
    assert "colours + blurred" in card
    assert model_card(again).startswith("---")
    with pytest.raises(ModelError, match="is an ensemble"):
        Model.load(tmp_path / "moved")
    with pytest.raises(ModelError, match="single model"):
        Ensemble.load(one.folder or "")


def test_saving_over_an_ensemble_leaves_no_old_member(world: tuple[Manifest, Model, Model, Cache], tmp_path: Path) -> None:
    _, one, two, _ = world
    Ensemble((one, two), (0.5, 0.5), ("a", "b")).save(tmp_path / "e")
    Ensemble((two, one), (0.5, 0.5), ("b", "a")).save(tmp_path / "e")
    names = sorted(entry.name[:8] for entry in (tmp_path / "e").iterdir())
    assert names == ["member-1", "member-2", "model.js"]
    again = load_model(tmp_path / "e")
    assert isinstance(again, Ensemble)
    assert again.names == ("b", "a")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(ModelError, match="new folder"):
        again.save(tmp_path / "other")


def test_any_changed_byte_of_a_member_is_refused(world: tuple[Manifest, Model, Model, Cache], tmp_path: Path) -> None:
    _, one, two, _ = world
    Ensemble((one, two), (0.5, 0.5), ("a", "b")).save(tmp_path / "e")
    (member,) = (tmp_path / "e").glob("member-1*")
    whole = (member / "head.safetensors").read_bytes()
    (member / "head.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ModelError, match=r"head\.safetensors was changed"):
        load_model(tmp_path / "e")
    (member / "head.safetensors").write_bytes(whole)
    record = json.loads((member / "model.json").read_text())
    (member / "model.json").write_text(json.dumps(record))  # the same content, spelt otherwise
    with pytest.raises(ModelError, match=r"member-1.*changed"):
        load_model(tmp_path / "e")
    shutil.rmtree(member)
    with pytest.raises(ModelError, match="not a complete ensemble"):
        load_model(tmp_path / "e")


def test_words_and_fitted_models_answer_together(world: tuple[Manifest, Model, Model, Cache]) -> None:
    """A model of words alone has learnt no video, so it cannot have learnt a validation segment."""
    _, one, _, cache = world
    head = open_head("zero-shot")
    vectors = np.array([COLOURS[label] for label in one.labels], dtype=np.float32)
    head.load(head_of(vectors))
    worded = Model(one.labels, Words(), Words.view, head, BackboneSpec("toys:Words"), facts=Facts(words={x: (x,) for x in one.labels}))
    fused = ensemble([one, worded], names=("fitted", "words"), cache=cache)
    assert len(fused.standings) == 3


def head_of(vectors: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays of a zero-shot head with one sentence a class."""
    from quickstep.heads import Examples, FitConfig
    from quickstep.types.signals import Matching, Texts

    head = open_head("zero-shot")
    texts = Texts(vectors, np.arange(len(vectors)), Matching(scale=40.0))
    features = [Features(vectors[i : i + 1], np.zeros(1)) for i in range(len(vectors))]
    head.fit(Examples(features, np.arange(len(vectors)), texts=texts), classes=len(vectors), fitting=FitConfig(epochs=1))
    return head.weights()


@pytest.mark.slow
def test_the_commands_take_an_ensemble(world: tuple[Manifest, Model, Model, Cache], tmp_path: Path) -> None:
    manifest, one, two, _ = world
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [*sys.path, str(HELPERS)]))}  # its classes are a person's own

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "quickstep", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=HELPERS, env=environment, check=False)

    out = str(tmp_path / "both")
    fused = run("ensemble", str(one.folder), str(two.folder), "-o", out, "--json")
    assert fused.returncode == 0, fused.stderr
    assert set(json.loads(fused.stdout)["weights"]) == {"colours", "red"}
    named = run("predict", out, str(manifest.segments[0].path), "--json")
    api = load_model(out).predict([manifest.segments[0].path]).predictions[0]
    scores = json.loads(named.stdout)["predictions"][0]["scores"]
    assert scores == {label: float(score) for label, score in zip(api.labels, api.scores)}
    assert run("evaluate", out).returncode == 0
    assert run("evaluate", str(one.folder)).returncode == 0
    compared = run("compare", out, str(one.folder))
    assert compared.returncode == 0, compared.stderr
    refused = run("add-class", out, "pink", str(manifest.segments[0].path))
    assert refused.returncode == 1
    assert "is an ensemble" in refused.stderr
