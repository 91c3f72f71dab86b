"""X-CLIP against transformers itself: the same scores of words from the same frames, whatever else is in the batch."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from toys import draw_colours

from quickstep.backbones import TEXT_BACKBONES, embeds_text, open_backbone, view_for, weights_available
from quickstep.backbones.frame_statistics import for_one_frame
from quickstep.backbones.preprocessing import read_processor, resize_and_crop
from quickstep.backbones.pretrained_network import Pretrained
from quickstep.backbones.xclip import XClip
from quickstep.heads.text.xclip_prompts import adapt_texts
from quickstep.models.feature_extraction import extract
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig, train
from quickstep.types.errors import ConfigError, WeightsError
from quickstep.types.segment import Segment
from quickstep.types.signals import Frames
from quickstep.types.view import View

FAMILIES = list(checkpoints.WINDOWS)
WORDS = ["halo", "a video of a windmill", "The HEAD, dancing in the blue video of a green dance", "spin"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {family: checkpoints.save(family, root / family) for family in FAMILIES}


@pytest.fixture
def copied(saved: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved["xclip"], tmp_path / "copy"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def open_folder(folder: Path, **options: Any) -> XClip:
    backbone = open_backbone(f"hf-xclip:{folder}", **{"precision": "fp32", **options})
    assert isinstance(backbone, XClip)
    return backbone


def windows(count: int, frames: int, height: int = 40, width: int = 56, seed: int = 0) -> list[Frames]:
    """Coarse pictures with grain that change from frame to frame, and from window to window."""
    rng = np.random.default_rng(seed)
    shape = (count, frames, height // 8 + 1, width // 8 + 1, 3)
    coarse = rng.integers(0, 256, shape).repeat(8, 2).repeat(8, 3)[:, :, :height, :width]
    pixels = np.clip(coarse + rng.normal(0, 12, coarse.shape), 0, 255).astype(np.uint8)
    return [Frames(frames_of_window, 0.5 + np.arange(frames) / 4) for frames_of_window in pixels]


def own_scores(folder: Path, shown: list[Frames], words: list[str]) -> NDArray[np.float32]:
    """Score with the checkpoint's own processor and network: (windows, prompts)."""
    processor = transformers.AutoProcessor.from_pretrained(folder)
    network = transformers.XCLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    inputs = processor(
        text=words, videos=[list(frames.pixels) for frames in shown], return_tensors="pt", padding=True, truncation=True, max_length=16
    )
    with torch.inference_mode():
        scores: NDArray[np.float32] = network(**inputs).logits_per_video.numpy()
    return scores


def unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths: NDArray[np.float32] = np.linalg.norm(values, axis=-1, keepdims=True)
    return values / lengths


def our_scores(backbone: XClip, shown: list[Frames], words: list[str], *, rewriting: bool = True) -> NDArray[np.float32]:
    texts, matching = backbone.embed_text(words), backbone.matching
    rows = []
    for features in backbone.embed(shown):
        video, parts = features.values[0, 0], features.values[0, 1:]
        rewritten = adapt_texts(texts, parts, matching.prompting) if rewriting else texts
        rows.append(matching.scale * unit(rewritten) @ unit(video) + matching.bias)
    return np.stack(rows)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [(48, 32), (40, 56), (67, 45)])
def test_scores_are_those_of_the_network_itself(saved: dict[str, Path], family: str, size: tuple[int, int]) -> None:
    backbone = open_folder(saved[family], embedding="prompted")
    videos = windows(3, backbone.view.frames, *size)
    expected = own_scores(saved[family], videos, WORDS)
    scores = our_scores(backbone, videos, WORDS)
    assert scores.shape == expected.shape == (3, len(WORDS))
    assert np.abs(scores - expected).max() <= 1e-5
    assert np.abs(our_scores(backbone, videos, WORDS, rewriting=False) - expected).max() > 0.1, "rewriting the words changes nothing here"
    assert np.ptp(expected, axis=0).min() > 1e-3, "the windows are all the same to the network, so this shows nothing"
    for sentence in range(len(WORDS)):  # and word by word, where nothing needs to be filled up
        alone = own_scores(saved[family], videos, WORDS[sentence : sentence + 1])
        assert np.abs(scores[:, sentence] - alone[:, 0]).max() <= 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_the_videos_vector_is_the_networks_own(saved: dict[str, Path], family: str) -> None:
    backbone, both = open_folder(saved[family]), open_folder(saved[family], embedding="prompted")
    videos = windows(2, backbone.view.frames)
    plain = backbone.embed(videos)
    slope, offset = (np.array(vector, np.float32) for vector in (backbone.processor.slope, backbone.processor.offset))
    values = np.stack([resize_and_crop(frames.pixels, backbone.view, exact=True) for frames in videos]) * slope + offset
    network = transformers.XCLIPModel.from_pretrained(saved[family], dtype=torch.float32).eval()
    with torch.inference_mode():
        expected = network.get_video_features(torch.from_numpy(values).permute(0, 1, 4, 2, 3)).pooler_output.numpy()
    for features, prompting, row, frames in zip(plain, both.embed(videos), expected, videos, strict=True):
        assert features.values.shape == (1, backbone.width) == (1, 24)
        assert prompting.values.shape == (1, 1 + 16, 24)
        assert np.abs(features.values[0] - row).max() <= 1e-5
        assert np.abs(prompting.values[0, 0] - row).max() <= 1e-5
        assert features.times.tolist() == [(frames.times[0] + frames.times[-1]) / 2]


@pytest.mark.parametrize("bend", ["quick_gelu", "gelu", "gelu_new", "relu", "silu"])
def test_words_are_rewritten_as_by_the_networks_own_generator(bend: str) -> None:
    from transformers.models.x_clip.modeling_x_clip import XCLIPPromptGenerator

    torch.manual_seed(0)
    config = transformers.XCLIPConfig(
        projection_dim=24,
        prompt_layers=3,
        prompt_num_attention_heads=3,
        prompt_hidden_act=bend,
        prompt_alpha=0.7,
        text_config={"layer_norm_eps": 1e-3},
        vision_config={"layer_norm_eps": 1e-2},
    )
    config._attn_implementation = "eager"
    generator = XCLIPPromptGenerator(config).eval()
    for weight in generator.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    prompting = {f"prompts_generator.{name}": value.numpy() for name, value in generator.state_dict().items()}
    settings = {"prompt_num_attention_heads": 3, "vision_config.layer_norm_eps": 1e-2, "text_config.layer_norm_eps": 1e-3}
    prompting |= {name: np.array(value, np.float32) for name, value in {**settings, f"prompt_hidden_act.{bend}": 1}.items()}
    rng = np.random.default_rng(0)
    texts, parts = (rng.normal(size=(count, 24)).astype(np.float32) for count in (5, 7))
    with torch.inference_mode():
        expected = texts + generator(torch.from_numpy(texts)[None], torch.from_numpy(parts)[None])[0].numpy()
    adapted = adapt_texts(texts, parts, prompting)
    assert adapted.dtype == np.float32
    assert np.abs(adapted - expected).max() <= 1e-4
    assert np.abs(adapted - texts).max() > 0.1
    for sentence in range(5):
        assert np.abs(adapt_texts(texts[sentence : sentence + 1], parts, prompting) - adapted[sentence]).max() <= 1e-5
    with pytest.raises(ConfigError, match=r"'mish'.*quick_gelu"):
        adapt_texts(texts, parts, {name: value for name, value in prompting.items() if "act" not in name} | {"prompt_hidden_act.mish": rng})


def test_many_sentences_are_rewritten_quickly() -> None:
    width, rng = 512, np.random.default_rng(0)
    shapes = {"layernorm.weight": (width,), "layernorm.bias": (width,), "alpha": (width,)}
    for layer in ("decoder.0", "decoder.1"):
        shapes |= {f"{layer}.cross_attn.{name}.weight": (width, width) for name in ("q_proj", "k_proj", "v_proj", "proj")}
        shapes |= {f"{layer}.{name}.{kind}": (width,) for name in ("norm1", "norm3") for kind in ("weight", "bias")}
        shapes |= {f"{layer}.mlp.0.weight": (4 * width, width), f"{layer}.mlp.0.bias": (4 * width,), f"{layer}.mlp.3.bias": (width,)}
        shapes |= {f"{layer}.mlp.3.weight": (width, 4 * width), f"{layer}.cross_attn.proj.bias": (width,)}
    prompting = {f"prompts_generator.{name}": (rng.normal(size=shape) / 30).astype(np.float32) for name, shape in shapes.items()}
    settings = {"prompt_num_attention_heads": 8, "vision_config.layer_norm_eps": 1e-5, "text_config.layer_norm_eps": 1e-5}
    prompting |= {name: np.array(value, np.float32) for name, value in {**settings, "prompt_hidden_act.quick_gelu": 1}.items()}
    texts, parts = (rng.normal(size=(count, width)).astype(np.float32) for count in (400, 196))
    quickest = min(_seconds(lambda: adapt_texts(texts, parts, prompting)) for _ in range(3))
    assert quickest < 2.0


def _seconds(work: Any) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("embedding", ["projected", "prompted"])
def test_a_window_is_the_same_bits_in_any_company(saved: dict[str, Path], precision: str, embedding: str) -> None:
    backbone = open_folder(saved["xclip"], precision=precision, embedding=embedding)
    videos = windows(9, 8, 32, 32)
    alone = [backbone.embed([frames])[0].values for frames in videos]
    rng = np.random.default_rng(1)
    for _ in range(5):
        some = rng.permutation(9)[: rng.integers(1, 10)]
        for number, features in zip(some, backbone.embed([videos[i] for i in some]), strict=True):
            assert np.array_equal(features.values, alone[number])
    assert backbone.embed([]) == []


def test_the_order_of_frames_and_every_frame_count(saved: dict[str, Path]) -> None:
    backbone = open_folder(saved["xclip"])
    (window,) = windows(1, 8, 32, 32)
    whole = backbone.embed([window])[0].values
    backward = backbone.embed([Frames(window.pixels[::-1].copy(), window.times)])[0].values
    assert np.abs(whole - backward).max() > 1e-4
    for frame in range(8):
        pixels = window.pixels.copy()
        pixels[frame] = 255 - pixels[frame]
        assert np.abs(backbone.embed([Frames(pixels, window.times)])[0].values - whole).max() > 1e-4


def test_the_view_is_the_checkpoints_own(saved: dict[str, Path]) -> None:
    assert open_folder(saved["xclip"]).view == View(frames=8, size=32, edge=32, fit="crop", resample="bilinear")
    assert open_folder(saved["xclip-zero-shot"]).view == View(frames=32, size=32, edge=32, fit="crop", resample="bilinear")
    assert open_folder(saved["xclip-newer-config"]).view == View(frames=8, size=32, edge=40, fit="crop", resample="bilinear")


def test_older_processor_files_say_one_number_for_edge_and_crop() -> None:
    published = {name: value for name, value in checkpoints.XCLIP_PICTURE.items() if name != "crop_size"}
    assert read_processor({**published, "size": 224}, "x", frames=16).view == View(frames=16, size=224, edge=224, resample="bilinear")
    assert read_processor({**published, "size": 336}, "x").view == View(size=336, edge=336, resample="bilinear")
    silent = read_processor({"image_processor_type": "VideoMAEImageProcessor"}, "x")
    own = transformers.VideoMAEImageProcessorPil()
    assert (silent.mean, silent.std) == (tuple(own.image_mean), tuple(own.image_std))
    assert silent.view == View(size=224, edge=224, resample="bilinear")


@pytest.mark.parametrize("family", ["xclip", "xclip-newer-config"])
def test_pictures_are_prepared_as_by_the_checkpoints_own_processor(saved: dict[str, Path], family: str) -> None:
    backbone = open_folder(saved[family])
    processor = transformers.AutoImageProcessor.from_pretrained(saved[family], backend="pil")
    slope, offset = (np.array(values) for values in (backbone.processor.slope, backbone.processor.offset))
    for height, width in ((64, 96), (101, 57), (33, 200), (24, 40), (48, 48)):
        (window,) = windows(1, 8, height, width)
        expected = processor([list(window.pixels)], return_tensors="np")["pixel_values"][0].transpose(0, 2, 3, 1)
        assert np.abs(backbone.prepared(window) * slope + offset - expected).max() <= 1e-5


@pytest.mark.parametrize(("family", "right", "wrong"), [("xclip", 8, 5), ("xclip", 8, 16), ("xclip-zero-shot", 32, 8)])
def test_another_number_of_frames_is_refused_naming_the_right_one(saved: dict[str, Path], family: str, right: int, wrong: int) -> None:
    backbone = open_folder(saved[family])
    says = rf"frames: .* exactly {right} frames, not {wrong}"
    for ask in (
        lambda: backbone.embed(windows(1, right) + windows(1, wrong)),
        lambda: view_for(backbone, frames=wrong),
        lambda: extract([Segment(Path("not-even-opened.mp4"))], backbone, view=View(frames=wrong)),
    ):
        with pytest.raises(ConfigError, match=says) as caught:
            ask()
        assert "\n" not in str(caught.value)
    assert view_for(backbone, frames=right) == view_for(backbone) == backbone.view


def test_training_says_so_before_it_decodes(saved: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = draw_colours(tmp_path, each=8, splits=False)
    monkeypatch.setattr("quickstep.training.train.split", lambda *_, **__: pytest.fail("videos were looked at first"))
    with pytest.raises(ConfigError, match="exactly 8 frames, not 5"):
        train(manifest, TrainConfig(backbone="xclip-b32", weights=str(saved["xclip"]), frames=5))


def test_training_and_overlapping_windows_of_real_videos(saved: dict[str, Path], tmp_path: Path) -> None:
    manifest = draw_colours(tmp_path, each=8)
    cache = Cache()
    trained = train(manifest, TrainConfig(backbone="xclip-b32", weights=str(saved["xclip"])), cache=cache)
    assert trained.model.view.frames == 8
    trained.model.save(tmp_path / "model")
    path = manifest.segments[0].path
    backbone = open_backbone("xclip-b32", weights=saved["xclip"])
    extraction = extract([Segment(path)], backbone, view=View(frames=8, fps=16, size=32, edge=32, windows=None, stride=0.25), cache=cache)
    (features,) = extraction.features.values()
    assert features.values.shape == (3, 24)  # a second of video, windows of half a second
    assert features.times.tolist() == pytest.approx([0.25, 0.5, 0.75], abs=0.09)  # within half a frame


def test_identity_is_of_the_content_and_needs_no_network(saved: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved, other = checkpoints.save("xclip", tmp_path / "moved"), checkpoints.save("xclip", tmp_path / "other", seed=1)
    monkeypatch.setattr(Pretrained, "_load_engine", lambda *_: pytest.fail("the network was loaded"))
    backbone = open_folder(saved["xclip"])
    json.dumps(backbone.identity)
    assert open_folder(moved).identity == backbone.identity
    others = [open_folder(other), open_folder(saved["xclip"], embedding="prompted"), open_folder(saved["xclip-newer-config"])]
    others += [open_folder(saved["xclip"], precision="bf16"), open_folder(saved["xclip"], engine="openvino")]
    assert len({json.dumps(opened.identity, sort_keys=True) for opened in (backbone, *others)}) == 6
    assert open_folder(moved).text_identity == backbone.text_identity != open_folder(other).text_identity
    (moved / "merges.txt").write_text("#version: 0.2\n")
    assert open_folder(moved).text_identity != backbone.text_identity


def test_matching_carries_what_rewrites_only_where_it_is_asked_for(saved: dict[str, Path]) -> None:
    tensors = load_file(saved["xclip"] / "model.safetensors")
    plain, prompting = open_folder(saved["xclip"]).matching, open_folder(saved["xclip"], embedding="prompted").matching
    assert (plain.bias, prompting.bias, dict(plain.prompting)) == (0, 0, {})
    assert plain.scale == prompting.scale == pytest.approx(float(np.exp(tensors["logit_scale"])))
    named = {name: value for name, value in tensors.items() if name.startswith("prompts_generator.")}
    assert len(named) == 29
    for name, value in named.items():
        assert np.array_equal(prompting.prompting[name], value)
    assert all(value.dtype == np.float32 for value in prompting.prompting.values())


def test_openvino_gives_the_same_vectors(saved: dict[str, Path]) -> None:
    pytest.importorskip("openvino")
    videos = windows(3, 8, 32, 32)
    expected = np.concatenate([features.values for features in open_folder(saved["xclip"], embedding="prompted").embed(videos)])
    backbone = open_folder(saved["xclip"], embedding="prompted", engine="openvino")
    vectors = np.concatenate([features.values for features in backbone.embed(videos)])
    assert (unit(vectors) * unit(expected)).sum(axis=-1).min() >= 0.99999
    assert np.array_equal(backbone.embed(videos[1:2])[0].values[0], vectors[1])


def test_older_weight_files_with_counters_load_alike(saved: dict[str, Path], copied: Path) -> None:
    tensors = {key: torch.from_numpy(value) for key, value in load_file(copied / "model.safetensors").items()}
    (copied / "model.safetensors").unlink()
    counters = {"text_model.embeddings.position_ids": 16, "vision_model.embeddings.position_ids": 17}
    torch.save({**tensors, **{name: torch.arange(count)[None] for name, count in counters.items()}}, copied / "pytorch_model.bin")
    old, new = (open_folder(folder, embedding="prompted") for folder in (copied, saved["xclip"]))
    assert np.array_equal(our_scores(old, windows(2, 8), WORDS), our_scores(new, windows(2, 8), WORDS))


def test_older_configs_that_say_a_half_twice_count_as_transformers_counts_them(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    config["vision_config_dict"] = {**config["vision_config"]}
    config["vision_config"] = {**config["vision_config"], "num_frames": 16}
    (copied / "config.json").write_text(json.dumps(config))
    assert transformers.AutoConfig.from_pretrained(copied).vision_config.num_frames == open_folder(copied).view.frames == 8


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mit.position_embedding": None}, "lacks mit.position_embedding"),
        ({"prompts_generator.alpha": None}, "lacks prompts_generator.alpha"),
        ({"prompts_generator.alpha": np.ones(3, np.float32)}, "of another shape prompts_generator.alpha"),
        ({"mit.extra.weight": np.ones(3, np.float32)}, "besides what its config describes: mit.extra.weight"),
    ],
)
def test_weights_that_do_not_fit_are_named(copied: Path, change: dict[str, Any], says: str) -> None:
    tensors = {name: value for name, value in {**load_file(copied / "model.safetensors"), **change}.items() if value is not None}
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    backbone = open_folder(copied)
    for ask in (lambda: backbone.embed(windows(1, 8)), lambda: backbone.embed_text(["halo"]), lambda: backbone.matching):
        with pytest.raises(WeightsError, match=says):
            ask()


@pytest.mark.parametrize("kept", [0, 1000, -1])
def test_weights_cut_short_are_noticed_at_once(copied: Path, kept: int) -> None:
    file = copied / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(WeightsError, match="broken or cut short"):
        open_folder(copied)


def test_one_frame_stands_for_a_window_where_nothing_moves(saved: dict[str, Path]) -> None:
    backbone, one = open_folder(saved["xclip"]), View(frames=1, size=32)
    single_frame = for_one_frame(backbone, one)
    (window,) = windows(1, 8, 32, 32)
    frame = Frames(window.pixels[3:4], window.times[3:4])
    (features,) = single_frame.embed([frame])
    held = Frames(np.repeat(frame.pixels, 8, axis=0), np.repeat(frame.times, 8))
    assert np.array_equal(features.values, backbone.embed([held])[0].values)
    assert features.times.tolist() == frame.times.tolist()
    assert single_frame.identity != backbone.identity
    assert embeds_text(single_frame)
    view_for(single_frame, frames=1)
    with pytest.raises(ConfigError, match="one frame"):
        view_for(single_frame, frames=8)
    assert for_one_frame(backbone, View(frames=8)) is backbone


def test_checkpoints_that_are_something_else(saved: dict[str, Path], copied: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"'clip' network.*hf-image:NAME"):
        open_folder(checkpoints.save("clip", tmp_path / "clip"))
    with pytest.raises(WeightsError, match=r"'xclip' network.*hf-xclip"):
        open_backbone(f"hf-image:{saved['xclip']}")
    with pytest.raises(ConfigError, match=r"embedding: must be one of projected, prompted"):
        open_folder(saved["xclip"], embedding="pooled")
    config = json.loads((copied / "config.json").read_text())
    for change, says in (({"num_frames": "8"}, "num_frames.*'8'"), ({"num_frames": 0}, "num_frames.* 0"), ({"image_size": 64}, "takes 64")):
        (copied / "config.json").write_text(json.dumps({**config, "vision_config": {**config["vision_config"], **change}}))
        with pytest.raises(WeightsError, match=says):
            open_folder(copied)


def test_it_stands_in_the_table(saved: dict[str, Path]) -> None:
    names = {"xclip-b32", "xclip-b16", "xclip-b16-zero-shot", "xclip-l14", "hf-xclip:NAME"}
    assert names <= set(TEXT_BACKBONES)
    named = open_backbone("xclip-b16-zero-shot", weights=saved["xclip-zero-shot"])
    assert (named.name, named.license, named.view.frames, named.revision) == ("xclip-b16-zero-shot", "MIT", 32, None)
    assert embeds_text(named)
    assert weights_available(f"hf-xclip:{saved['xclip']}")
    assert not weights_available("xclip-l14")
