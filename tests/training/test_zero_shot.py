"""Zero-shot: a model made of words is a model like any other; its numbers are the network's own."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import numpy as np
import pytest
import torch
import toys
import transformers
from numpy.testing import assert_allclose, assert_array_equal

from quickstep.apps.cli import main
from quickstep.datasets.manifest import write_manifest
from quickstep.evaluation import evaluate
from quickstep.evaluation.rendering import model_card
from quickstep.models.feature_extraction import extract
from quickstep.models.model import Model
from quickstep.models.text_features import sentence_vectors
from quickstep.training.train import TrainConfig, train
from quickstep.training.zero_shot import ZeroShotConfig, zero_shot
from quickstep.types.errors import ConfigError, UnknownName

NAMED = "toys:Words"
CONFIG = ZeroShotConfig(labels="blue,green,red", template=("a {} thing",))


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> toys.Manifest:
    return toys.draw_colours(tmp_path_factory.mktemp("colours"), each=4)


def test_text_alone_classifies_videos(colours: toys.Manifest) -> None:
    model = zero_shot(CONFIG, backbone=toys.Words())
    result = model.predict(colours.segments)
    assert [prediction.label for prediction in result.predictions] == [segment.label for segment in colours.segments]


def test_scores_are_the_networks_own(colours: toys.Manifest) -> None:
    """By hand: the mean over frames of scale * cosine + bias, and its softmax."""
    backbone = toys.Words()
    model = zero_shot(CONFIG, backbone=backbone)
    segment = colours.segments[0]
    frames = toys.Colours().embed([next(iter(_windows(segment, model)))])[0].values.astype(np.float64)
    words = np.array([toys.COLOURS[label] for label in model.labels], dtype=np.float64)
    cosines = (frames / np.linalg.norm(frames, axis=1, keepdims=True)) @ (words / np.linalg.norm(words, axis=1, keepdims=True)).T
    logits = 40.0 * cosines.mean(axis=0) - 3.0
    expected = np.exp(logits - logits.max())
    assert_allclose(model.predict([segment]).predictions[0].scores, expected / expected.sum(), atol=1e-6)


def _windows(segment: object, model: Model) -> object:
    from quickstep.signals.video import read_windows

    return read_windows(segment, model.view)  # type: ignore[arg-type]


def test_the_templates_of_the_backbone_are_the_default(colours: toys.Manifest) -> None:
    class Taught(toys.Words):
        templates = ("{} only",)

    assert zero_shot(ZeroShotConfig(labels="red,blue"), backbone=Taught()).facts.words["red"] == ("red only",)
    assert zero_shot(ZeroShotConfig(labels="red,blue", template=("{}",)), backbone=Taught()).facts.words["red"] == ("red",)


def test_several_sentences_are_averaged(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("warm: red; red and green\ncold: blue\n")
    model = zero_shot(ZeroShotConfig(labels=str(tmp_path / "labels.txt")), backbone=toys.Words())
    unit = [
        np.array(c, dtype=np.float64) / np.linalg.norm(c)
        for c in (toys.COLOURS["red"], np.mean([toys.COLOURS["red"], toys.COLOURS["green"]], 0))
    ]
    from quickstep.types.signals import Features

    vectors = np.array([[10.0, 200.0, 30.0]], dtype=np.float32)
    logits = model.head.scores([Features(vectors, np.zeros(1))])[0]
    warm = (unit[0] + unit[1]) / np.linalg.norm(unit[0] + unit[1])
    assert_allclose(logits[0], 40 * (vectors[0] / np.linalg.norm(vectors[0])) @ warm - 3, rtol=1e-5)
    assert model.facts.words["warm"] == ("red", "red and green")


def test_a_zero_shot_model_is_saved_measured_and_loaded_like_any_other(tmp_path: Path, colours: toys.Manifest) -> None:
    model = zero_shot(CONFIG, backbone=toys.Words())
    model.save(tmp_path / "model")
    again = Model.load(tmp_path / "model")
    for a, b in zip(model.predict(colours.segments).predictions, again.predict(colours.segments).predictions, strict=True):
        assert_array_equal(a.scores, b.scores)
    report = evaluate(again, colours, split="all", baselines=False)
    assert report.figures.accuracy.value == 1.0
    card = model_card(again, report)
    assert "a green thing" in card


def test_the_zero_shot_head_can_be_calibrated_by_train(colours: toys.Manifest) -> None:
    marked = colours.with_splits(["train" if number % 4 < 2 else "val" if number % 4 == 2 else "test" for number in range(len(colours))])
    trained = train(marked, TrainConfig(head="zero-shot", template=("{}",)), backbone=toys.Words())
    assert trained.model.facts.words == {"blue": ("blue",), "green": ("green",), "red": ("red",)}
    assert trained.history.val_accuracy == (1.0,)
    assert trained.model.temperature != 1.0  # calibrated on the val part


@pytest.mark.parametrize(("family", "name"), [("xclip", "hf-xclip"), ("clip", "hf-image"), ("siglip2", "hf-image")])
def test_a_models_logits_are_those_of_transformers(tmp_path: Path, colours: toys.Manifest, family: str, name: str) -> None:
    """The reference network scores the same frames and texts: X-CLIP's own path, CLIP's and SigLIP's mean over frames."""
    folder = checkpoints.save(family, tmp_path / family)
    labels = ("halo", "windmill", "head spin", "a green dance")
    config = ZeroShotConfig(labels=",".join(labels), template=("{}",), backbone=f"{name}:{folder}", precision="fp32")
    model = zero_shot(config)
    model.save(tmp_path / "model")
    segments = colours.segments[::5]
    features = extract(segments, model.backbone, view=model.view).features
    scores = Model.load(tmp_path / "model").head.scores([features[segment] for segment in segments])
    network = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    length = (
        {"padding": "max_length", "max_length": network.config.text_config.max_position_embeddings}
        if family == "siglip2"
        else {"padding": True}
    )
    words = tokenizer(list(labels), return_tensors="pt", **length)
    for segment, row in zip(segments, scores):
        frames = next(iter(_windows(segment, model))).pixels  # type: ignore[attr-defined]
        processor = model.backbone.processor  # type: ignore[attr-defined]
        pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float() * torch.tensor(processor.slope).view(1, 3, 1, 1)
        pixels = pixels + torch.tensor(processor.offset).view(1, 3, 1, 1)
        with torch.no_grad():
            output = network(pixel_values=pixels[None] if family == "xclip" else pixels, **words)
        expected = output.logits_per_video[0] if family == "xclip" else output.logits_per_image.mean(dim=0)
        assert_allclose(row, expected.numpy(), atol=1e-4)
        assert np.ptp(row) > 0.01


@pytest.mark.parametrize("head", ["linear"])
def test_heads_that_do_not_read_text_refuse_templates(colours: toys.Manifest, head: str) -> None:
    with pytest.raises(ConfigError, match="linear") as refused:
        train(colours, TrainConfig(head=head, template=("{}",)), backbone=toys.Words())
    assert refused.value.field == "template"


def test_a_backbone_without_a_text_encoder_names_those_that_have_one() -> None:
    with pytest.raises(UnknownName, match=r"text encoder.*clip-vit-b32"):
        zero_shot(CONFIG, backbone=toys.Colours())
    with pytest.raises(UnknownName, match=r"'flow-hist'.*text encoder.*clip-vit-b32"):
        zero_shot(ZeroShotConfig(labels="a,b", backbone="flow-hist"))


def test_labels_may_be_a_list() -> None:
    model = zero_shot(["red", "blue"], backbone=toys.Words())
    assert model.labels == ("red", "blue")
    assert model.facts.words == zero_shot(ZeroShotConfig(labels="red,blue"), backbone=toys.Words()).facts.words
    with pytest.raises(TypeError, match=r"labels.*int"):
        zero_shot(3, backbone=toys.Words())  # type: ignore[arg-type]


def test_an_empty_sentence_is_refused() -> None:
    for words in ([], [" "], ["halo", ""]):
        with pytest.raises(ConfigError, match=r"query: .*empty"):
            sentence_vectors(toys.Words(), words)


def run(*words: str | Path) -> int:
    """Return the exit code of the command line."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def test_the_command_line_classifies_by_text(tmp_path: Path, colours: toys.Manifest, capsys: pytest.CaptureFixture[str]) -> None:
    video = str(colours.segments[-1].path)
    assert run("predict", video, "--backbone", NAMED, "--labels", "blue,green,red", "--json") == 0
    first = json.loads(capsys.readouterr().out)["predictions"][0]
    assert first["label"] == "red"
    assert run("zero-shot", "-o", tmp_path / "words", "--backbone", NAMED, "--labels", "blue,green,red") == 0
    assert run("predict", tmp_path / "words", video, "--json") == 0
    again = json.loads(capsys.readouterr().out)["predictions"][0]
    assert again["scores"] == pytest.approx(first["scores"] | again["scores"])
    assert again["score"] == first["score"]
    write_manifest(colours, tmp_path / "set.csv")
    assert run("evaluate", tmp_path / "words", "--data", tmp_path / "set.csv", "--split", "all") == 0
    assert "100 %" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["predict", "x.mp4", "--labels", "halo"], "neither a file nor"),
        (["predict", "x.mp4", "--labels", "halo,flare", "--backbone", "flow-hist"], "text encoder"),
        (["predict", "model", "x.mp4", "--backbone", "flow-hist"], "belongs to --labels"),
        (["zero-shot", "-o", "model"], "no labels"),
        (["zero-shot", "-o", "model", "--labels", "a,b", "--template", "x"], "must have one {}"),
    ],
)
def test_wrong_options_are_refused_in_one_line(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert expected in lines[0]
