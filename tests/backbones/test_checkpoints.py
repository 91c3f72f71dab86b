"""Checkpoints that are absent, half, damaged or unsuitable, and a hub that answers, is gone, or is not there at all."""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from quickstep.backbones import open_backbone, weights_available
from quickstep.backbones.checkpoints.checkpoint import find_checkpoint
from quickstep.backbones.image_encoders import ImageEncoder
from quickstep.types.errors import WeightsError
from quickstep.types.signals import Frames

PICTURE = Frames(np.full((1, 32, 32, 3), 99, np.uint8), np.zeros(1))
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save("clip", tmp_path_factory.mktemp("whole"))


@pytest.fixture
def copied(clip: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clip, tmp_path / "copy"))


def embed(folder: Path) -> Any:
    return open_backbone(f"hf-image:{folder}").embed([PICTURE])[0].values


def open_folder(folder: Path) -> ImageEncoder:
    backbone = open_backbone(f"hf-image:{folder}")
    assert isinstance(backbone, ImageEncoder)
    return backbone


def change_tensors(folder: Path, change: Any) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_half_a_checkpoint_says_what_is_missing(copied: Path, name: str) -> None:
    (copied / name).unlink()
    assert not weights_available(f"hf-image:{copied}")
    with pytest.raises(WeightsError, match=name):
        open_backbone(f"hf-image:{copied}")


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe\x00"])
def test_broken_configs_are_one_clear_line(copied: Path, name: str, content: bytes) -> None:
    (copied / name).write_bytes(content)
    with pytest.raises(WeightsError, match=name) as caught:
        open_backbone(f"hf-image:{copied}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 4, 1000, -1])
def test_weights_cut_short_are_refused(copied: Path, kept: int) -> None:
    file = copied / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(WeightsError, match="broken or cut short"):
        open_backbone(f"hf-image:{copied}")


def test_weights_that_do_not_fit_are_named(copied: Path) -> None:
    norm = "vision_model.post_layernorm.weight"
    change_tensors(copied, lambda tensors: tensors.pop(norm))
    with pytest.raises(WeightsError, match=r"lacks .*post_layernorm\.weight"):
        embed(copied)
    change_tensors(copied, lambda tensors: tensors.update({norm: np.ones(5, np.float32)}))
    with pytest.raises(WeightsError, match=r"of another shape .*post_layernorm\.weight"):
        embed(copied)
    change_tensors(
        copied, lambda tensors: tensors.update({norm: np.ones(32, np.float32), "vision_model.extra.weight": np.ones(3, np.float32)})
    )
    with pytest.raises(WeightsError, match=r"extra\.weight"):
        embed(copied)


def test_shards_and_older_files_load_alike(clip: Path, tmp_path: Path) -> None:
    whole = embed(clip)
    shards = checkpoints.save("clip", tmp_path / "shards", max_shard_size="40KB")
    assert len(list(shards.glob("*.safetensors"))) > 1
    assert np.array_equal(embed(shards), whole)
    next(iter(sorted(shards.glob("*.safetensors")))).unlink()
    with pytest.raises(WeightsError, match=r"incomplete: model-00001"):
        open_backbone(f"hf-image:{shards}")


def test_older_weight_files_load_and_broken_ones_do_not(clip: Path, copied: Path) -> None:
    import torch

    tensors = {key: torch.from_numpy(value) for key, value in load_file(copied / "model.safetensors").items()}
    (copied / "model.safetensors").unlink()
    torch.save(tensors, copied / "pytorch_model.bin")
    assert np.array_equal(embed(copied), embed(clip))
    (copied / "pytorch_model.bin").write_bytes((copied / "pytorch_model.bin").read_bytes()[:5000])
    with pytest.raises(WeightsError, match="cannot be loaded"):
        embed(copied)
    (copied / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        embed(copied)


def test_configs_that_contradict_their_weights_are_refused(copied: Path) -> None:
    (copied / "preprocessor_config.json").write_text(json.dumps({**checkpoints.CLIP_PICTURE, "crop_size": 24}))
    with pytest.raises(WeightsError, match="24 pixels, its network takes 32"):
        open_backbone(f"hf-image:{copied}")
    (copied / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(WeightsError, match=r"'bert'.*clip"):
        open_backbone(f"hf-image:{copied}")


def test_a_named_backbone_takes_a_local_folder(clip: Path) -> None:
    backbone = open_backbone("clip-vit-b32", weights=clip)
    assert (backbone.name, backbone.revision, backbone.license, backbone.width) == ("clip-vit-b32", None, "MIT", 24)
    assert backbone.embed([PICTURE])[0].values.shape == (1, 24)


def test_folders_that_are_not_there() -> None:
    for where in ("./nowhere", "/nowhere/at/all", "a/b/c", "~/nowhere-at-all"):
        with pytest.raises(WeightsError, match="does not exist"):
            find_checkpoint(where)
    with pytest.raises(WeightsError, match="is a file"):
        find_checkpoint(Path(__file__))


class _Hub(http.server.BaseHTTPRequestHandler):
    """As much of a model hub as fetching needs."""

    folder: Path
    requests: list[str]
    refuse: tuple[int, str] | None = None
    lie: bool = False

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        type(self).requests.append(f"{self.command} {self.path}")
        if self.refuse is not None:
            self._answer(b"{}", status=self.refuse[0], **{"X-Error-Code": self.refuse[1]})
        elif self.path.startswith("/api/models/"):
            files = [{"rfilename": file.name} for file in self.folder.iterdir()]
            self._answer(json.dumps({"id": "some/clip", "sha": COMMIT, "siblings": files}).encode())
        else:
            content = (self.folder / self.path.rsplit("/", 1)[1]).read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            if self.lie and self.path.endswith(".safetensors"):
                digest = "0" * 64
            self._answer(content, **{"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"'})

    def _answer(self, content: bytes, *, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def hub(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Hub]]:
    class Hub(_Hub):
        folder = Path(shutil.copytree(clip, tmp_path / "published"))
        requests: list[str] = []  # noqa: RUF012  # one hub, one list

    (Hub.folder / "README.md").write_text("---\nlicense: apache-2.0\ntags: [x]\n---\n# A card\n")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    yield Hub
    server.shutdown()
    thread.join()
    server.server_close()


def test_weights_are_fetched_once_verified_and_kept(hub: type[_Hub], clip: Path) -> None:
    assert not weights_available("hf-image:some/clip")
    backbone = open_backbone("hf-image:some/clip")
    assert isinstance(backbone, ImageEncoder)
    assert (backbone.revision, backbone.license) == (COMMIT, "apache-2.0")
    assert np.array_equal(backbone.embed([PICTURE])[0].values, embed(clip))
    assert backbone.identity == open_backbone(f"hf-image:{clip}").identity
    hub.requests.clear()
    assert weights_available("hf-image:some/clip")
    assert open_backbone("hf-image:some/clip").revision == COMMIT
    assert open_backbone(f"hf-image:some/clip@{COMMIT}").revision == COMMIT
    assert hub.requests == [], "what is kept is not asked for again"


def test_a_fetched_checkpoint_reads_as_the_local_one(hub: type[_Hub], clip: Path) -> None:
    words = ["a windmill", "a halo"]
    expected = open_folder(clip).embed_text(words)
    backbone = open_backbone("hf-image:some/clip")
    assert isinstance(backbone, ImageEncoder)
    assert np.array_equal(backbone.embed_text(words), expected)


def test_a_tokenizer_left_behind_is_fetched_when_words_are_read(hub: type[_Hub], clip: Path, tmp_path: Path) -> None:
    aside = tmp_path / "aside"
    aside.mkdir()
    for file in hub.folder.glob("tokenizer*"):
        file.rename(aside / file.name)
    backbone = open_backbone("hf-image:some/clip")
    assert isinstance(backbone, ImageEncoder)
    with pytest.raises(WeightsError, match="no tokenizer"):
        backbone.embed_text(["a windmill"])
    hub.refuse = (500, "")
    with pytest.raises(WeightsError, match=r"the tokenizer of some/clip is not on this machine and the hub cannot be reached"):
        backbone.embed_text(["a windmill"])
    hub.refuse = None
    for file in aside.iterdir():
        file.rename(hub.folder / file.name)
    assert np.array_equal(backbone.embed_text(["a windmill"]), open_folder(clip).embed_text(["a windmill"]))


def test_a_fetched_file_that_is_not_what_was_promised_is_refused(hub: type[_Hub]) -> None:
    hub.lie = True
    with pytest.raises(WeightsError, match="damaged"):
        open_backbone("hf-image:some/clip").embed([PICTURE])


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((404, "RepoNotFound"), "check the name"),
        ((401, "RepoNotFound"), "check the name"),
        ((403, "GatedRepo"), "gated"),
        ((404, "RevisionNotFound"), "no revision"),
        ((500, ""), "cannot be reached"),
    ],
)
def test_what_the_hub_says_becomes_one_line(hub: type[_Hub], answer: tuple[int, str], says: str) -> None:
    hub.refuse = answer
    with pytest.raises(WeightsError, match=says) as caught:
        open_backbone("hf-image:some/clip")
    assert "some/clip" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_hub_without_weights_says_so(hub: type[_Hub]) -> None:
    (hub.folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="no weights"):
        open_backbone("hf-image:some/clip")


@pytest.mark.parametrize("how", ["nobody", "silent", "offline"])
def test_no_network_is_said_within_seconds(how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    if how == "nobody":
        listening.close()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", how == "offline")
    monkeypatch.setattr("quickstep.storage.hub._TIMEOUT", 0.5)
    started = time.monotonic()
    with pytest.raises(WeightsError, match=r"openai/clip-vit-base-patch32.*weights.*flow-hist"):
        open_backbone("clip-vit-b32")
    assert time.monotonic() - started < 8
    assert not weights_available("clip-vit-b32")
    listening.close()
