"""Fine-tuning, whole runs on a tiny CLIP and tiny videos: what it learns, what it keeps, and what becomes of a run that is stopped."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from toys import draw_colours

from quickstep.datasets.manifest import Manifest, write_manifest
from quickstep.evaluation import evaluate
from quickstep.models.model import Model
from quickstep.models.model_files import TUNING_STATE
from quickstep.storage.cache import Cache
from quickstep.training.augmentation.augment import NOTHING, Augment
from quickstep.training.finetuning import FinetuneConfig, Tuned, checkpoint, finetune
from quickstep.training.finetuning.trainable_model import Tuning
from quickstep.training.train import TrainConfig, train
from quickstep.types.errors import ConfigError, ManifestError, MissingExtra, ModelError, QuickstepError, UnknownName, WeightsError
from quickstep.types.segment import Segment


@pytest.fixture(autouse=True, scope="module")
def same_threads() -> Iterator[None]:
    """Sums in the same order, and no waiting for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuning")
    checkpoints.save("clip", folder / "clip")
    return folder


@pytest.fixture(scope="module")
def manifest(place: Path) -> Manifest:
    return draw_colours(place / "videos")


@pytest.fixture(scope="module")
def quick(place: Path) -> FinetuneConfig:
    return FinetuneConfig(
        backbone=f"hf-image:{place / 'clip'}",
        epochs=3,
        batch=5,
        frames=2,
        unfreeze="2",
        learning_rate=1e-3,
        head_rate=5.0,
        precision="fp32",
        workers=2,
    )


@pytest.fixture(scope="module")
def tuned(manifest: Manifest, quick: FinetuneConfig, place: Path) -> Tuned:
    return finetune(manifest, quick, cache=Cache(place / "store"), folder=place / "model")


def weights(model: Path) -> dict[str, np.ndarray]:
    """Everything that a model has learnt."""
    found = {f"network.{name}": value for name, value in load_file(model / "backbone" / "model.safetensors").items()}
    return found | {f"head.{name}": value for name, value in load_file(model / "head.safetensors").items()}


def assert_same(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def whole(error: BaseException) -> str:
    assert "\n" not in str(error)
    return str(error)


# -- what comes out ------------------------------------------------------------------------------------------------------------


def test_the_validation_score_is_the_one_that_everybody_finds(tuned: Tuned, manifest: Manifest, place: Path) -> None:
    report = evaluate(Model.load(place / "model"), split="val", baselines=False)
    assert tuned.validation is not None
    assert tuned.validation.accuracy == report.figures.accuracy.value
    assert tuned.validation.balanced_accuracy == report.figures.balanced_accuracy.value
    assert tuned.validation.loss == pytest.approx(tuned.history.val_loss[tuned.history.best_epoch - 1], abs=0)
    fresh = Model.load(place / "model").predict([s.path for s in manifest.part("val").segments], cache=Cache(place / "another")).predictions
    assert [tuple(each.scores) for each in fresh] == [each.scores for each in report.tested]
    assert tuned.validation.accuracy > 0.9
    assert tuned.history.train_loss[-1] < tuned.history.train_loss[0]


def test_the_model_is_one_folder_that_can_be_moved_and_is_sealed(tuned: Tuned, manifest: Manifest, place: Path, tmp_path: Path) -> None:
    assert tuned.model.folder == place / "model"
    assert not (place / "model" / TUNING_STATE).exists()
    shutil.copytree(place / "model", tmp_path / "moved")
    shutil.copytree(place / "clip", tmp_path / "clip")
    moved = Model.load(tmp_path / "moved")
    assert str(moved.backbone.checkpoint.folder) == str(tmp_path / "moved" / "backbone")  # type: ignore[attr-defined]
    segments = manifest.part("test").segments
    scores = [tuple(p.scores) for p in moved.predict(segments, cache=Cache(tmp_path / "s")).predictions]
    assert scores == [tuple(p.scores) for p in tuned.model.predict(segments).predictions]
    moved.save(tmp_path / "again")
    assert_same(tmp_path / "again", place / "model")
    file = tmp_path / "moved" / "backbone" / "model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-5] ^= 1
    file.write_bytes(raw)
    with pytest.raises(ModelError, match=r"backbone/model\.safetensors was changed"):
        Model.load(tmp_path / "moved")
    file.unlink()
    with pytest.raises(ModelError, match=r"lacks backbone/model\.safetensors"):
        Model.load(tmp_path / "moved")


def test_only_the_open_blocks_learn(tuned: Tuned, place: Path) -> None:
    """The checkpoint has two layers: with two blocks open, these are the last layer and what stands above it."""
    before, after = load_file(place / "clip" / "model.safetensors"), load_file(place / "model" / "backbone" / "model.safetensors")
    changed = {name for name in after if not np.array_equal(before[name], after[name])}
    assert any(".layers.1." in name for name in changed)
    assert not [name for name in changed if "embeddings" in name or ".layers.0." in name or "pre_layrnorm" in name]


def test_the_same_seed_gives_the_same_weights_with_any_number_of_workers(
    manifest: Manifest, quick: FinetuneConfig, tuned: Tuned, place: Path, tmp_path: Path
) -> None:
    finetune(manifest, replace(quick, workers=1), folder=tmp_path / "one")
    assert_same(tmp_path / "one", place / "model")


def test_taken_in_parts_a_step_is_the_same_step(manifest: Manifest, quick: FinetuneConfig, tmp_path: Path) -> None:
    short = replace(quick, epochs=1, dropout=0.0)
    for name, parts in (("whole", 1), ("parts", 3)):
        finetune(manifest, replace(short, accumulate=parts), folder=tmp_path / name)
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    for name in one:
        np.testing.assert_allclose(one[name], other[name], atol=2e-5, err_msg=name)


def test_everything_at_once_still_learns(manifest: Manifest, quick: FinetuneConfig, tmp_path: Path) -> None:
    config = replace(
        quick, epochs=6, optimizer="sgd", learning_rate=0.02, schedule="step", layer_decay=0.7, mixup=0.2, label_smoothing=0.1, ema=0.9,
        balanced=True, metric="macro-f1", unfreeze="all", windows=2, tensorboard=str(tmp_path / "board"),
    )  # fmt: skip
    told: list[str] = []
    found = finetune(manifest, config, folder=tmp_path / "m", tell=told.append)
    assert found.validation is not None
    assert found.validation.accuracy > 0.8
    assert found.model.view.windows == 2
    assert sum("epoch" in line and "macro f1" in line for line in told) == len(found.history.train_loss)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(tmp_path / "board")).Reload()
    assert [round(point.value, 4) for point in board.Scalars("loss/validation")] == [round(loss, 4) for loss in found.history.val_loss]


def test_without_a_folder_the_model_can_be_saved_later(manifest: Manifest, quick: FinetuneConfig, tmp_path: Path) -> None:
    found = finetune(manifest, replace(quick, epochs=1), augment=NOTHING)
    found.model.save(tmp_path / "m")
    assert Model.load(tmp_path / "m").labels == found.model.labels


# -- going on ------------------------------------------------------------------------------------------------------------------


class Stopped(Exception):
    pass


def stop_at(count: int) -> Callable[[str], None]:
    """Hears of the epochs, and stops the run as a kill would, after so many."""
    seen = [0]

    def tell(text: str) -> None:
        seen[0] += text.startswith("epoch")
        if seen[0] == count:
            raise Stopped

    return tell


@pytest.mark.parametrize("extra", [{}, {"ema": 0.8, "optimizer": "sgd", "learning_rate": 0.01, "save_minutes": 0.0, "mixup": 0.3}])
def test_a_run_that_was_stopped_goes_on_to_the_same_end(
    manifest: Manifest, quick: FinetuneConfig, tmp_path: Path, extra: dict[str, Any]
) -> None:
    config = replace(quick, **extra)
    finetune(manifest, config, folder=tmp_path / "straight")
    with pytest.raises(Stopped):
        finetune(manifest, config, folder=tmp_path / "stopped", tell=stop_at(2))
    assert (tmp_path / "stopped" / TUNING_STATE / "last.safetensors").exists()
    told: list[str] = []
    again = finetune(manifest, config, folder=tmp_path / "stopped", tell=told.append)
    assert any(line.startswith("goes on after epoch 1") for line in told)
    assert_same(tmp_path / "straight", tmp_path / "stopped")
    assert again.history.to_json() == Model.load(tmp_path / "straight").history.to_json()  # type: ignore[union-attr]


def test_a_state_of_other_settings_is_not_gone_on_from(manifest: Manifest, quick: FinetuneConfig, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        finetune(manifest, quick, folder=tmp_path / "m", tell=stop_at(2))
    with pytest.raises(ConfigError, match=r"stopped, with other settings \(learning-rate was 0.001 and is 0.002\)") as caught:
        finetune(manifest, replace(quick, learning_rate=2e-3), folder=tmp_path / "m")
    whole(caught.value)


def test_a_full_disk_at_a_state_is_one_line_and_the_last_good_one_stays(
    manifest: Manifest, quick: FinetuneConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tuned: Tuned, place: Path
) -> None:
    real, calls = checkpoint.save_file, [0]

    def full(tensors: Any, path: Path, **about: Any) -> None:
        calls[0] += 1
        real(tensors, path, **about)
        if calls[0] > 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save_file", full)
        with pytest.raises(ModelError, match=r"No space left.*last good state before it is kept") as caught:
            finetune(manifest, quick, folder=tmp_path / "m")
    whole(caught.value)
    assert not list((tmp_path / "m" / TUNING_STATE).glob("*.part"))
    finetune(manifest, quick, folder=tmp_path / "m")
    assert_same(tmp_path / "m", place / "model")


def test_a_video_that_breaks_in_a_later_epoch_is_left_out_and_the_run_goes_on(
    manifest: Manifest, quick: FinetuneConfig, tmp_path: Path
) -> None:
    shutil.copytree(manifest.source, tmp_path / "videos")  # type: ignore[arg-type]
    mine = manifest.with_segments(replace(s, path=tmp_path / "videos" / s.path.relative_to(manifest.source)) for s in manifest.segments)  # type: ignore[arg-type]
    broken = [next(s for s in mine.segments if s.split == part) for part in ("train", "val")]
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        if text.startswith("epoch 1 "):
            for segment in broken:
                segment.path.write_bytes(b"no video any more")

    found = finetune(mine, quick, folder=tmp_path / "m", tell=tell)
    assert [failure.segment.path for failure in found.failures] == [s.path for s in broken]
    assert sum("left out from now on" in line for line in told) == 2
    assert found.history.epochs == 3
    assert len(found.history.train_segments) == 14
    assert any("2 segments could not be used" in note for note in found.warnings)
    with pytest.raises(QuickstepError, match="not a video"):
        finetune(mine, quick, strict=True)


# -- what is said --------------------------------------------------------------------------------------------------------------


def test_when_nothing_is_learnt_it_says_so_after_three_epochs(manifest: Manifest, quick: FinetuneConfig) -> None:
    told: list[str] = []
    found = finetune(manifest, replace(quick, learning_rate=1e-9, epochs=4, patience=9), tell=told.append)
    at = next(place for place, line in enumerate(told) if "nothing is being learnt yet" in line)
    assert told[at - 1].startswith("epoch 3 of 4")
    assert "ln 3 = 1.099" in told[at]
    assert "learning_rate=1e-08" in told[at]
    assert any("nothing was learnt" in note for note in found.warnings)
    quiet: list[str] = []
    finetune(manifest, replace(quick, epochs=4), tell=quiet.append)
    assert not any("learnt" in line for line in quiet)


def test_memory_that_ends_is_answered_with_what_to_lower_or_found_out(
    manifest: Manifest, quick: FinetuneConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Tuning.forward

    def small(self: Tuning, windows: torch.Tensor) -> torch.Tensor:
        if len(windows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(self, windows)

    monkeypatch.setattr(Tuning, "forward", small)
    with pytest.raises(ConfigError, match=r"batch: 5 segments at once do not fit.*accumulate=2.*auto_batch") as caught:
        finetune(manifest, quick)
    whole(caught.value)
    told: list[str] = []
    found = finetune(manifest, replace(quick, epochs=1, auto_batch=True), tell=told.append)
    assert any("5 segments a step, taken in 4 parts" in line for line in told)
    assert found.model.facts.training["accumulate"] == 4


def test_what_cannot_be_tuned_or_does_not_fit_is_one_line(manifest: Manifest, quick: FinetuneConfig, place: Path) -> None:
    def refuse(match: str, kind: type[QuickstepError], of: Manifest = manifest, **changes: Any) -> None:
        with pytest.raises(kind, match=match) as caught:
            finetune(of, replace(quick, **changes))
        whole(caught.value)

    for name in ("flow-hist", "joints"):
        refuse(f"'{name}' cannot be fine-tuned; these can: clip-vit-b32", UnknownName, backbone=name)
    refuse("size: .* looks at", ConfigError, size=64)
    refuse("unfreeze: the network has 4 blocks", ConfigError, unfreeze="9")
    refuse("no xclip|X-CLIP is wanted", WeightsError, backbone=f"hf-xclip:{place / 'clip'}")
    if not torch.cuda.is_available():
        refuse("device: no GPU can be used here", ConfigError, device="cuda")
        refuse("precision: fp16 needs a GPU", ConfigError, precision="fp16")
    red = manifest.with_segments(s for s in manifest.segments if s.label == "red")
    refuse("has only one class", ManifestError, of=red)
    single = manifest.with_segments(next(s for s in manifest.segments if s.label == label) for label in manifest.labels)
    refuse("one video for each of 3 classes", ManifestError, of=single)
    apart = manifest.with_segments(replace(s, split="val" if s.label == "red" else "train") for s in manifest.segments)
    refuse("'red' has no video in the train part", ManifestError, of=apart)


def test_all_of_a_label_in_one_group_is_said(manifest: Manifest, quick: FinetuneConfig) -> None:
    tied = manifest.with_segments(replace(s, split=None, group="one" if s.label == "red" else s.group) for s in manifest.segments)
    found = finetune(tied, replace(quick, epochs=1))
    assert any("class 'red' is not in val and test: it has only 1 group" in note for note in found.warnings)


def test_it_goes_on_from_a_model_and_keeps_its_head_while_the_classes_are_the_same(
    manifest: Manifest, quick: FinetuneConfig, place: Path, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "s")
    probe = train(manifest, TrainConfig(backbone=quick.backbone, frames=2), cache=cache)
    probe.model.save(tmp_path / "probe")
    on = replace(quick, backbone=None, from_=str(tmp_path / "probe"), learning_rate=1e-12, epochs=1)
    told: list[str] = []
    found = finetune(manifest, on, augment=NOTHING, folder=tmp_path / "m", tell=told.append)
    segments = manifest.part("test").segments
    same = [p.label for p in probe.model.predict(segments, cache=cache).predictions]
    assert [p.label for p in found.model.predict(segments, cache=cache).predictions] == same
    assert found.history.train_loss[0] < 0.7
    tuned_again = finetune(manifest, replace(on, from_=str(tmp_path / "m")), augment=NOTHING)
    assert tuned_again.history.train_loss[0] < 0.7
    fewer = manifest.with_segments(s for s in manifest.segments if s.label != "red")
    with pytest.raises(ConfigError, match=r"new_head: the model .*probe tells 3 classes apart .* and the videos show 2.*new_head"):
        finetune(fewer, on)
    assert finetune(fewer, replace(on, new_head=True)).model.labels == ("blue", "green")


def test_libraries_that_are_missing_are_named_with_their_extra(
    manifest: Manifest, quick: FinetuneConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [
        name
        for name in sys.modules
        if name.startswith(("accelerate", "quickstep.training.finetuning.devices", "quickstep.training.finetuning.loop"))
    ]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.delattr("quickstep.training.finetuning.devices", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'quickstep\[finetune\]'"):
        finetune(manifest, quick)


# -- from outside: kills, several processes ------------------------------------------------------------------------------------


OPTIONS = {"epochs": 6, "batch": 5, "frames": 2, "unfreeze": 2, "learning-rate": 0.001, "workers": 2, "save-minutes": 0.001, "ema": 0.9}


def command(place: Path, manifest: Manifest, out: Path, **more: object) -> list[str]:
    listed = out.parent / "videos.csv"
    if not listed.exists():
        write_manifest(manifest, listed)
    said = {**OPTIONS, "backbone": f"hf-image:{place / 'clip'}", "precision": "fp32", **more}
    options = [word for name, value in said.items() for word in (f"--{name}", str(value))]
    return ["-m", "quickstep", "finetune", str(listed), "-o", str(out), *options]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def killed_after_an_epoch(started: list[str], how: signal.Signals, later: float) -> str:
    """Ends a run so many seconds after it has told of one more epoch; what it said."""
    process = subprocess.Popen(started, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment())
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith("epoch"):
            time.sleep(later)
            process.send_signal(how)
            break
    said += process.stderr.read()
    process.stderr.close()
    process.wait()
    assert process.returncode, "it came to its end before"
    return said


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_killed_at_any_moment_the_same_command_comes_to_the_same_end(
    manifest: Manifest, place: Path, tmp_path: Path, how: signal.Signals
) -> None:
    subprocess.run([sys.executable, *command(place, manifest, tmp_path / "straight")], check=True, capture_output=True, env=environment())
    rng = random.Random(int(how))
    for _ in range(3):
        said = killed_after_an_epoch([sys.executable, *command(place, manifest, tmp_path / "killed")], how, rng.uniform(0, 0.2))
        assert "Traceback" not in said
        assert how == signal.SIGKILL or "the same command goes on from here" in said
    done = subprocess.run(
        [sys.executable, *command(place, manifest, tmp_path / "killed")], capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0
    assert_same(tmp_path / "straight", tmp_path / "killed")
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == sorted(p.name for p in (tmp_path / "straight").iterdir())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_take_the_steps_that_one_would(manifest: Manifest, place: Path, tmp_path: Path) -> None:
    still = {"dropout": 0, "epochs": 2}
    subprocess.run(
        [sys.executable, *command(place, manifest, tmp_path / "one", **still)], check=True, capture_output=True, env=environment()
    )
    how = {"num_processes": 2, "num_machines": 1, "mixed_precision": "no", "dynamo_backend": "no"}
    launch = ["-m", "accelerate.commands.launch", "--cpu", *(word for name, value in how.items() for word in (f"--{name}", str(value)))]
    started = [sys.executable, *launch, *command(place, manifest, tmp_path / "two", **still)]
    done = subprocess.run(started, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 1 of 2") == 1  # one of them speaks
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in one:
        np.testing.assert_allclose(one[name], two[name], atol=5e-5, err_msg=name)


def test_the_command_prints_the_score_and_the_sheet_is_drawn(manifest: Manifest, place: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, *command(place, manifest, tmp_path / "m", epochs=1)], capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, done.stderr
    assert "epoch 1 is kept: validation loss" in done.stderr
    assert (tmp_path / "m" / "README.md").is_file()
    segment = Segment(manifest.segments[0].path)
    assert Model.load(tmp_path / "m").predict([segment]).predictions
    from quickstep.training.finetuning.augmentation_preview import SheetConfig, draw_sheet

    sheet = draw_sheet(manifest, Augment(augment=1.0), SheetConfig(rows=3, columns=2, pictures=2, size=24), out=tmp_path / "sheet.png")
    from PIL import Image

    with Image.open(sheet.picture) as picture:
        assert picture.width > 3 * 48
        assert picture.height > 3 * 24
    assert sheet.segments == 3
