"""The text encoder against transformers itself: same vectors as the checkpoint's own tokenizer and network, in whatever company."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from quickstep.backbones import embeds_text, open_backbone, require_text
from quickstep.backbones.image_encoders import ImageEncoder
from quickstep.backbones.pretrained_network import Pretrained
from quickstep.types.errors import MissingExtra, UnknownName, WeightsError
from quickstep.types.signals import Frames

READERS = [family for family in checkpoints.READERS if family in checkpoints.FAMILIES]
SENTENCES = [
    "a video of a windmill",
    "halo",
    "A Photo of the HALO, spinning!",
    "the blue dancing head of a green dance in the red video, spun",
    "überschlag 3x",
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {family: checkpoints.save(family, root / family) for family in checkpoints.FAMILIES}


@pytest.fixture
def copied(saved: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved["clip"], tmp_path / "copy"))


def open_folder(folder: Path, **options: Any) -> ImageEncoder:
    backbone = open_backbone(f"hf-image:{folder}", **{"precision": "fp32", **options})
    assert isinstance(backbone, ImageEncoder)
    return backbone


def own_tokens(folder: Path, words: list[str]) -> dict[str, torch.Tensor]:
    """Tokenize sentences with the checkpoint's own tokenizer, called as its model card says."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    siglip = json.loads((folder / "config.json").read_text())["model_type"] == "siglip"
    return dict(
        tokenizer(words, padding="max_length" if siglip else True, truncation=True, max_length=checkpoints.LONGEST, return_tensors="pt")
    )


def own_vectors(folder: Path, words: list[str]) -> NDArray[np.float32]:
    network = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        vectors: NDArray[np.float32] = network.get_text_features(**own_tokens(folder, words)).pooler_output.numpy()
    return vectors


def in_its_case(folder: Path, words: list[str]) -> list[str]:
    """SigLIP 2's own card asks for small letters; its class of tokenizer leaves them as they are."""
    asks = json.loads((folder / "tokenizer_config.json").read_text()).get("do_lower_case")
    return [word.lower() for word in words] if asks else words


@pytest.mark.parametrize("family", READERS)
def test_same_vectors_as_the_checkpoints_own_tokenizer_and_network(saved: dict[str, Path], family: str) -> None:
    vectors = open_folder(saved[family]).embed_text(SENTENCES)
    expected = own_vectors(saved[family], in_its_case(saved[family], SENTENCES))
    assert vectors.shape == expected.shape == (len(SENTENCES), open_folder(saved[family]).width)
    assert vectors.dtype == np.float32
    assert np.abs(vectors - expected).max() <= 1e-5
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert (directions @ directions.T - np.eye(len(vectors))).max() < 0.99, (
        "the network does not tell sentences apart, so this shows nothing"
    )


@pytest.mark.parametrize("family", READERS)
def test_scores_are_those_of_the_network_itself(saved: dict[str, Path], family: str) -> None:
    folder, words = saved[family], [sentence.lower() for sentence in SENTENCES]
    tensors = load_file(folder / "model.safetensors")
    backbone = open_folder(folder)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    vectors = backbone.embed([Frames(pixels, np.arange(3.0))])[0].values
    read = backbone.embed_text(words)
    cosines = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)) @ (read / np.linalg.norm(read, axis=1, keepdims=True)).T
    network = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    slope, offset = (torch.tensor(coefficients).view(1, 3, 1, 1) for coefficients in (backbone.processor.slope, backbone.processor.offset))
    with torch.inference_mode():
        values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() * slope + offset
        expected = network(pixel_values=values, **own_tokens(folder, words)).logits_per_image.numpy()
    matching = backbone.matching
    assert matching.scale == pytest.approx(float(np.exp(tensors["logit_scale"]).item()), rel=1e-6)
    assert not matching.prompting
    assert np.abs(matching.scale * cosines + matching.bias - expected).max() <= 1e-4
    assert np.ptp(expected) > 1e-3
    if "logit_bias" in tensors:
        assert matching.bias == pytest.approx(tensors["logit_bias"].item())


def test_a_sentences_vector_is_the_same_bits_in_any_company(saved: dict[str, Path]) -> None:
    for family in READERS:
        backbone = open_folder(saved[family])
        alone = np.concatenate([backbone.embed_text([sentence]) for sentence in SENTENCES])
        rng = np.random.default_rng(3)
        for _ in range(6):
            some = rng.integers(0, len(SENTENCES), rng.integers(1, 9))
            assert np.array_equal(backbone.embed_text([SENTENCES[i] for i in some]), alone[some])
        assert backbone.embed_text([]).shape == (0, backbone.width)


def test_long_sentences_are_cut_where_the_network_ends(saved: dict[str, Path]) -> None:
    for family in READERS:
        long = " ".join(["windmill"] * 200)
        assert np.abs(open_folder(saved[family]).embed_text([long]) - own_vectors(saved[family], [long])).max() <= 1e-5


def test_a_tokenizer_that_does_not_say_how_long_is_held_to_the_networks_places(copied: Path, saved: dict[str, Path]) -> None:
    config = json.loads((copied / "tokenizer_config.json").read_text())
    del config["model_max_length"]
    (copied / "tokenizer_config.json").write_text(json.dumps(config))
    long = ["spin " * 99]
    assert np.array_equal(open_folder(copied).embed_text(long), open_folder(saved["clip"]).embed_text(long))


def test_siglip2_reads_small_letters_whatever_is_written(saved: dict[str, Path]) -> None:
    backbone = open_folder(saved["siglip2"])
    assert np.array_equal(backbone.embed_text(["A Windmill"]), backbone.embed_text(["a windmill"]))


def test_who_reads_is_known_without_the_network(saved: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pretrained, "_load_engine", lambda *_: pytest.fail("the network was loaded"))
    monkeypatch.setattr(Pretrained, "_text_encoder", property(lambda _: pytest.fail("the text encoder was loaded")))
    reads = {family: embeds_text(open_folder(folder)) for family, folder in saved.items()}
    assert {family for family, yes in reads.items() if yes} == set(READERS)
    assert not embeds_text(open_folder(saved["clip"], embedding="pooled")), "CLIP's vector before the projection has no words beside it"
    assert embeds_text(open_folder(saved["siglip"], embedding="pooled")), "SigLIP's pooled vector is the shared one"


@pytest.mark.parametrize("family", ["dinov2", "clip-vision", "siglip-vision"])
def test_who_cannot_read_says_who_can(saved: dict[str, Path], family: str) -> None:
    backbone = open_folder(saved[family])
    for ask in (require_text, lambda each: each.embed_text(["a"]), lambda each: each.matching):
        with pytest.raises(UnknownName, match=r"text encoder.*clip-vit-b32") as caught:
            ask(backbone)
        assert "\n" not in str(caught.value)


def test_half_a_checkpoint_under_a_whole_ones_config_does_not_read(copied: Path) -> None:
    tensors = {name: value for name, value in load_file(copied / "model.safetensors").items() if not name.startswith(("text_", "logit"))}
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    backbone = open_folder(copied)
    assert not embeds_text(backbone)
    assert backbone.embed([Frames(np.zeros((1, 32, 32, 3), np.uint8), np.zeros(1))])[0].values.shape == (1, 24)


def test_older_weight_files_read_too(copied: Path, saved: dict[str, Path]) -> None:
    tensors = {key: torch.from_numpy(value) for key, value in load_file(copied / "model.safetensors").items()}
    (copied / "model.safetensors").unlink()
    torch.save(tensors, copied / "pytorch_model.bin")
    backbone = open_folder(copied)
    assert embeds_text(backbone)
    assert np.array_equal(backbone.embed_text(SENTENCES), open_folder(saved["clip"]).embed_text(SENTENCES))


@pytest.mark.parametrize("gone", [["tokenizer.json"], ["tokenizer.json", "tokenizer_config.json"]])
def test_without_a_tokenizer_it_sees_but_does_not_read(copied: Path, gone: list[str]) -> None:
    for name in gone:
        (copied / name).unlink()
    backbone = open_folder(copied)
    assert len(backbone.embed([Frames(np.zeros((2, 32, 32, 3), np.uint8), np.arange(2.0))])[0]) == 2
    with pytest.raises(WeightsError, match=r"no tokenizer \(tokenizer\.json") as caught:
        backbone.embed_text(["a windmill"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe\x00", b'{"model": {"type": "BPE"}}'])
def test_a_broken_tokenizer_is_one_clear_line(copied: Path, content: bytes) -> None:
    (copied / "tokenizer.json").write_bytes(content)
    with pytest.raises(WeightsError, match=r"the tokenizer of .* cannot be loaded") as caught:
        open_folder(copied).embed_text(["a windmill"])
    assert "\n" not in str(caught.value)


def test_a_tokenizer_of_another_network_is_noticed(copied: Path) -> None:
    import small_words

    vocabulary, pairs = small_words.clip_vocabulary(("moonwalk", *small_words.WORDS))
    transformers.CLIPTokenizer(vocab=vocabulary, merges=pairs).save_pretrained(copied)
    with pytest.raises(WeightsError, match="do not belong together"):
        open_folder(copied).embed_text(["a windmill"])


def test_words_weights_that_do_not_fit_are_named(copied: Path) -> None:
    whole = load_file(copied / "model.safetensors")
    norm = "text_model.final_layer_norm.weight"
    for change, says in (
        ({norm: None}, r"lacks .*final_layer_norm\.weight"),
        ({"logit_scale": None}, r"lacks logit_scale"),
        ({norm: np.ones(5, np.float32)}, r"of another shape .*final_layer_norm\.weight"),
        ({"text_model.extra.weight": np.ones(3, np.float32)}, r"besides .*extra\.weight"),
    ):
        tensors = {name: value for name, value in {**whole, **change}.items() if value is not None}
        save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(WeightsError, match=says):
            open_folder(copied).embed_text(["a windmill"])


def test_pieces_of_words_as_the_first_siglip_has_them(saved: dict[str, Path], tmp_path: Path) -> None:
    """Its own class of tokenizer, which needs a library that is not always there: then one line says which."""
    folder = Path(shutil.copytree(saved["siglip"], tmp_path / "pieces"))
    (folder / "tokenizer.json").unlink()
    config = {"tokenizer_class": "SiglipTokenizer", "model_input_names": ["input_ids"], "model_max_length": 16, "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    try:
        import sentencepiece
    except ImportError:
        (folder / "spiece.model").write_bytes(b"pieces")
        with pytest.raises(MissingExtra, match=r"quickstep\[siglip\]"):
            open_folder(folder).embed_text(SENTENCES)
        return
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a video of the windmill", "a photo of a halo", "blue green red head spin dance dancing"] * 20),
        model_prefix=str(folder / "spiece"),
        vocab_size=60,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    expected = own_vectors(folder, SENTENCES)
    assert np.abs(open_folder(folder).embed_text(SENTENCES) - expected).max() <= 1e-5
    assert np.abs(expected[0] - expected[1]).max() > 1e-2


def test_a_tokenizer_never_runs_code_that_lies_beside_it(copied: Path, saved: dict[str, Path]) -> None:
    config = json.loads((copied / "tokenizer_config.json").read_text())
    config["auto_map"] = {"AutoTokenizer": [None, "evil.Evil"]}
    (copied / "tokenizer_config.json").write_text(json.dumps(config))
    (copied / "evil.py").write_text("import pathlib\npathlib.Path(__file__).with_name('ran').touch()\nclass Evil: pass\n")
    assert np.array_equal(open_folder(copied).embed_text(["a halo"]), open_folder(saved["clip"]).embed_text(["a halo"]))
    assert not list(copied.rglob("ran"))
