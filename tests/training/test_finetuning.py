"""Fine-tuning of a tiny CLIP on tiny videos: what is trained, what is saved, and how a stopped run resumes."""

from __future__ import annotations

import contextlib
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
from types import SimpleNamespace
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
from quickstep.training.finetuning import FinetuneConfig, Finetuned, checkpoint, finetune, loop
from quickstep.training.finetuning.early_stopping import Measures, Progression
from quickstep.training.finetuning.run_state import Sums
from quickstep.training.finetuning.trainable_model import TrainableModel
from quickstep.training.train import TrainConfig, train
from quickstep.types.errors import ConfigError, ManifestError, MissingExtra, ModelError, QuickstepError, UnknownName, WeightsError
from quickstep.types.segment import Segment


@pytest.fixture(autouse=True, scope="module")
def same_threads() -> Iterator[None]:
    """Use one thread: sums are in the same order, and no thread waits for another on a busy machine."""
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
def tuned(manifest: Manifest, quick: FinetuneConfig, place: Path) -> Finetuned:
    return finetune(manifest, quick, cache=Cache(place / "store"), folder=place / "model")


def weights(model: Path) -> dict[str, np.ndarray]:
    """Return the trained weights of a model folder."""
    result = {f"network.{name}": value for name, value in load_file(model / "backbone" / "model.safetensors").items()}
    return result | {f"head.{name}": value for name, value in load_file(model / "head.safetensors").items()}


def assert_same(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def whole(error: BaseException) -> str:
    assert "\n" not in str(error)
    return str(error)


# -- loss and moving average ---------------------------------------------------------------------------------------------------


def test_label_smoothing_spreads_a_share_of_the_label_over_all_classes() -> None:
    logits, labels = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, 3.0]]), torch.tensor([0, 1])
    run = SimpleNamespace(task=SimpleNamespace(config=FinetuneConfig(label_smoothing=0.3)), weights=None)
    log_p = logits.log_softmax(dim=1)
    expected = -(0.7 * log_p[[0, 1], labels] + 0.3 * log_p.mean(dim=1))
    torch.testing.assert_close(loop._losses(logits, labels, run), expected)  # type: ignore[arg-type]


def test_the_moving_average_keeps_the_share_of_the_decay() -> None:
    averages = {"weight": torch.ones(3)}
    model = SimpleNamespace(trained_tensors={"weight": torch.zeros(3)})
    run = SimpleNamespace(task=SimpleNamespace(config=FinetuneConfig(ema=0.9), model=model), updates=10**6, ema=averages)
    loop._update_ema(run)  # type: ignore[arg-type]
    torch.testing.assert_close(averages["weight"], torch.full((3,), 0.9))


def one_process(config: FinetuneConfig, model: Any) -> Any:
    """Return a run with what a step needs."""
    accelerator = SimpleNamespace(device="cpu", num_processes=1, autocast=contextlib.nullcontext, backward=lambda _loss: None)
    return SimpleNamespace(
        task=SimpleNamespace(config=config, model=model), accelerator=accelerator, epoch=0, step=0, weights=None, sums=Sums()
    )


@pytest.mark.parametrize("seed", range(8))
def test_mixup_keeps_the_larger_share_of_each_segment(seed: int) -> None:
    given: list[torch.Tensor] = []

    def model(windows: torch.Tensor) -> torch.Tensor:
        given.append(windows.float())
        return torch.zeros(len(windows), 2)

    windows = np.stack([np.zeros((1, 4, 4, 3), np.uint8), np.full((1, 4, 4, 3), 255, np.uint8)])
    batch = SimpleNamespace(windows=windows, labels=np.array([0, 1]))
    loop._train_part(one_process(FinetuneConfig(mixup=1.0, seed=seed), model), batch, np.arange(2), 2)  # type: ignore[arg-type]
    dark, bright = given[0].flatten(1).mean(dim=1).tolist()
    assert dark < 127.5 < bright


def test_the_gradient_is_the_mean_over_the_segments_that_could_be_read() -> None:
    """Two of four segments were read, with gradients 1 and 5: their sum was divided by four, and their mean is 3."""
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.tensor([(1.0 + 5.0) / 4])
    run = one_process(FinetuneConfig(), torch.nn.ParameterList([weight]))
    assert loop._sum_over_processes(run, [None, None], (torch.tensor(1.0), torch.tensor(1.0)), 4) == 2  # type: ignore[arg-type]
    assert weight.grad.item() == pytest.approx(3.0)


# -- the best epoch ------------------------------------------------------------------------------------------------------------


def epochs_of(config: FinetuneConfig, epochs: list[tuple[float, float]]) -> Progression:
    """Add epochs with these validation losses and accuracies until training is over."""
    progression = Progression()
    for loss, accuracy in epochs:
        if progression.over(config):
            break
        progression.add(1.0, 0.5, [], Measures(loss, accuracy, accuracy, accuracy, (), 10), list(range(10)), config.metric)
    return progression


def test_the_best_epoch_has_the_lowest_loss_and_patience_counts_those_after_it() -> None:
    config = FinetuneConfig(metric="loss", epochs=10, patience=2)
    progression = epochs_of(config, [(1.0, 0.9), (0.5, 0.2), (0.7, 0.3), (0.6, 0.9), (0.1, 1.0)])
    assert (progression.best_epoch, progression.epochs) == (2, 4)


def test_epochs_of_equal_accuracy_are_ordered_by_their_loss() -> None:
    config = FinetuneConfig(metric="accuracy", epochs=10, patience=9)
    assert epochs_of(config, [(1.0, 0.8), (0.9, 0.8), (0.95, 0.8), (0.2, 0.7)]).best_epoch == 2


# -- the result ------------------------------------------------------------------------------------------------------------


def test_the_validation_score_is_that_of_evaluate(tuned: Finetuned, manifest: Manifest, place: Path) -> None:
    report = evaluate(Model.load(place / "model"), split="val", baselines=False)
    assert tuned.validation is not None
    assert tuned.validation.accuracy == report.figures.accuracy.value
    assert tuned.validation.balanced_accuracy == report.figures.balanced_accuracy.value
    assert tuned.validation.loss == pytest.approx(tuned.history.val_loss[tuned.history.best_epoch - 1], abs=0)
    fresh = Model.load(place / "model").predict([s.path for s in manifest.part("val").segments], cache=Cache(place / "another")).predictions
    assert [tuple(prediction.scores) for prediction in fresh] == [prediction.scores for prediction in report.tested]
    assert tuned.validation.accuracy > 0.9
    assert tuned.history.train_loss[-1] < tuned.history.train_loss[0]


def test_the_model_is_one_folder_that_can_be_moved_and_has_checksums(
    tuned: Finetuned, manifest: Manifest, place: Path, tmp_path: Path
) -> None:
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


def test_only_unfrozen_blocks_change(tuned: Finetuned, place: Path) -> None:
    """The checkpoint has two layers: with two blocks open, these are the last layer and the final norm."""
    before, after = load_file(place / "clip" / "model.safetensors"), load_file(place / "model" / "backbone" / "model.safetensors")
    changed = {name for name in after if not np.array_equal(before[name], after[name])}
    assert any(".layers.1." in name for name in changed)
    assert not [name for name in changed if "embeddings" in name or ".layers.0." in name or "pre_layrnorm" in name]


def test_the_same_seed_gives_the_same_weights_with_any_number_of_workers(
    manifest: Manifest, quick: FinetuneConfig, tuned: Finetuned, place: Path, tmp_path: Path
) -> None:
    finetune(manifest, replace(quick, workers=1), folder=tmp_path / "one")
    assert_same(tmp_path / "one", place / "model")


def test_a_step_in_parts_is_the_same_step(manifest: Manifest, quick: FinetuneConfig, tmp_path: Path) -> None:
    short = replace(quick, epochs=1, dropout=0.0)
    for name, parts in (("whole", 1), ("parts", 3)):
        finetune(manifest, replace(short, accumulate=parts), folder=tmp_path / name)
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    for name in one:
        np.testing.assert_allclose(one[name], other[name], atol=2e-5, err_msg=name)


def test_all_options_together_still_learn(manifest: Manifest, quick: FinetuneConfig, tmp_path: Path) -> None:
    config = replace(
        quick, epochs=6, optimizer="sgd", learning_rate=0.02, schedule="step", layer_decay=0.7, mixup=0.2, label_smoothing=0.1, ema=0.9,
        balanced=True, metric="macro-f1", unfreeze="all", windows=2, tensorboard=str(tmp_path / "board"),
    )  # fmt: skip
    messages: list[str] = []
    result = finetune(manifest, config, folder=tmp_path / "m", tell=messages.append)
    assert result.validation is not None
    assert result.validation.accuracy > 0.8
    assert result.model.view.windows == 2
    assert sum("epoch" in line and "macro f1" in line for line in messages) == len(result.history.train_loss)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(tmp_path / "board")).Reload()
    assert [round(point.value, 4) for point in board.Scalars("loss/validation")] == [round(loss, 4) for loss in result.history.val_loss]


def test_without_a_folder_the_model_can_be_saved_later(manifest: Manifest, quick: FinetuneConfig, tmp_path: Path) -> None:
    result = finetune(manifest, replace(quick, epochs=1), augment=NOTHING)
    result.model.save(tmp_path / "m")
    assert Model.load(tmp_path / "m").labels == result.model.labels


# -- going on ------------------------------------------------------------------------------------------------------------------


class Stopped(Exception):
    pass


def stop_at(count: int) -> Callable[[str], None]:
    """Hears of the epochs, and stops the run as a kill would, after so many."""
    epochs = [0]

    def tell(text: str) -> None:
        epochs[0] += text.startswith("epoch")
        if epochs[0] == count:
            raise Stopped

    return tell


@pytest.mark.parametrize("extra", [{}, {"ema": 0.8, "optimizer": "sgd", "learning_rate": 0.01, "save_minutes": 0.0, "mixup": 0.3}])
def test_a_stopped_run_resumes_to_the_same_weights(
    manifest: Manifest, quick: FinetuneConfig, tmp_path: Path, extra: dict[str, Any]
) -> None:
    config = replace(quick, **extra)
    finetune(manifest, config, folder=tmp_path / "straight")
    with pytest.raises(Stopped):
        finetune(manifest, config, folder=tmp_path / "stopped", tell=stop_at(2))
    assert (tmp_path / "stopped" / TUNING_STATE / "last.safetensors").exists()
    messages: list[str] = []
    again = finetune(manifest, config, folder=tmp_path / "stopped", tell=messages.append)
    assert any(line.startswith("resuming after epoch 1") for line in messages)
    assert_same(tmp_path / "straight", tmp_path / "stopped")
    assert again.history.to_json() == Model.load(tmp_path / "straight").history.to_json()  # type: ignore[union-attr]


def test_a_state_with_other_settings_is_not_resumed(manifest: Manifest, quick: FinetuneConfig, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        finetune(manifest, quick, folder=tmp_path / "m", tell=stop_at(2))
    with pytest.raises(ConfigError, match=r"learning-rate was 0.001 and is 0.002") as caught:
        finetune(manifest, replace(quick, learning_rate=2e-3), folder=tmp_path / "m")
    whole(caught.value)


def test_a_full_disk_is_one_line_and_the_last_state_stays(
    manifest: Manifest, quick: FinetuneConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tuned: Finetuned, place: Path
) -> None:
    real, calls = checkpoint.save_file, [0]

    def full(tensors: Any, path: Path, **about: Any) -> None:
        calls[0] += 1
        real(tensors, path, **about)
        if calls[0] > 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save_file", full)
        with pytest.raises(ModelError, match=r"No space left") as caught:
            finetune(manifest, quick, folder=tmp_path / "m")
    whole(caught.value)
    assert not list((tmp_path / "m" / TUNING_STATE).glob("*.part"))
    finetune(manifest, quick, folder=tmp_path / "m")
    assert_same(tmp_path / "m", place / "model")


def test_a_video_that_breaks_in_a_later_epoch_is_left_out_and_the_run_continues(
    manifest: Manifest, quick: FinetuneConfig, tmp_path: Path
) -> None:
    shutil.copytree(manifest.source, tmp_path / "videos")  # type: ignore[arg-type]
    mine = manifest.with_segments(replace(s, path=tmp_path / "videos" / s.path.relative_to(manifest.source)) for s in manifest.segments)  # type: ignore[arg-type]
    broken = [next(s for s in mine.segments if s.split == part) for part in ("train", "val")]
    messages: list[str] = []

    def tell(text: str) -> None:
        messages.append(text)
        if text.startswith("epoch 1 "):
            for segment in broken:
                segment.path.write_bytes(b"no video any more")

    result = finetune(mine, quick, folder=tmp_path / "m", tell=tell)
    assert [failure.segment.path for failure in result.failures] == [s.path for s in broken]
    assert sum("skipped from now on" in line for line in messages) == 2
    assert result.history.epochs == 3
    assert len(result.history.train_segments) == 14
    assert any("2 segments could not be used" in note for note in result.warnings)
    with pytest.raises(QuickstepError, match="not a video"):
        finetune(mine, quick, strict=True)


# -- messages --------------------------------------------------------------------------------------------------------------


def test_a_run_that_learns_nothing_warns_after_three_epochs(manifest: Manifest, quick: FinetuneConfig) -> None:
    messages: list[str] = []
    result = finetune(manifest, replace(quick, learning_rate=1e-9, epochs=4, patience=9), tell=messages.append)
    at = next(place for place, line in enumerate(messages) if "nothing is learned yet" in line)
    assert messages[at - 1].startswith("epoch 3 of 4")
    assert "ln 3 = 1.099" in messages[at]
    assert "learning_rate=1e-08" in messages[at]
    assert any("nothing was learned" in note for note in result.warnings)
    quiet: list[str] = []
    finetune(manifest, replace(quick, epochs=4), tell=quiet.append)
    assert not any("learned" in line for line in quiet)


def test_an_error_about_memory_names_what_to_reduce(
    manifest: Manifest, quick: FinetuneConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = TrainableModel.forward

    def small(self: TrainableModel, windows: torch.Tensor) -> torch.Tensor:
        if len(windows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(self, windows)

    monkeypatch.setattr(TrainableModel, "forward", small)
    with pytest.raises(ConfigError, match=r"5 segments .*accumulate=2.*auto_batch") as caught:
        finetune(manifest, quick)
    whole(caught.value)
    messages: list[str] = []
    result = finetune(manifest, replace(quick, epochs=1, auto_batch=True), tell=messages.append)
    assert any("5 segments a step, in 4 parts" in line for line in messages)
    assert result.model.facts.training["accumulate"] == 4


def test_wrong_input_is_refused_in_one_line(manifest: Manifest, quick: FinetuneConfig, place: Path) -> None:
    def refuse(match: str, kind: type[QuickstepError], of: Manifest = manifest, **changes: Any) -> None:
        with pytest.raises(kind, match=match) as caught:
            finetune(of, replace(quick, **changes))
        whole(caught.value)

    for name in ("flow-hist", "joints"):
        refuse(f"'{name}'.*clip-vit-b32", UnknownName, backbone=name)
    refuse("64", ConfigError, size=64)
    refuse("4 blocks", ConfigError, unfreeze="9")
    refuse("xclip", WeightsError, backbone=f"hf-xclip:{place / 'clip'}")
    if not torch.cuda.is_available():
        refuse("no GPU", ConfigError, device="cuda")
        refuse("fp16", ConfigError, precision="fp16")
    red = manifest.with_segments(s for s in manifest.segments if s.label == "red")
    refuse("only one class", ManifestError, of=red)
    single = manifest.with_segments(next(s for s in manifest.segments if s.label == label) for label in manifest.labels)
    refuse("each of 3 classes", ManifestError, of=single)
    apart = manifest.with_segments(replace(s, split="val" if s.label == "red" else "train") for s in manifest.segments)
    refuse("'red' .*train part", ManifestError, of=apart)


def test_a_label_with_a_single_group_is_noted(manifest: Manifest, quick: FinetuneConfig) -> None:
    tied = manifest.with_segments(replace(s, split=None, group="one" if s.label == "red" else s.group) for s in manifest.segments)
    result = finetune(tied, replace(quick, epochs=1))
    assert any("'red'" in note for note in result.warnings)


def test_a_model_can_be_continued_and_keeps_its_head_if_the_classes_are_the_same(
    manifest: Manifest, quick: FinetuneConfig, place: Path, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "s")
    probe = train(manifest, TrainConfig(backbone=quick.backbone, frames=2), cache=cache)
    probe.model.save(tmp_path / "probe")
    on = replace(quick, backbone=None, from_=str(tmp_path / "probe"), learning_rate=1e-12, epochs=1)
    messages: list[str] = []
    result = finetune(manifest, on, augment=NOTHING, folder=tmp_path / "m", tell=messages.append)
    segments = manifest.part("test").segments
    same = [p.label for p in probe.model.predict(segments, cache=cache).predictions]
    assert [p.label for p in result.model.predict(segments, cache=cache).predictions] == same
    assert result.history.train_loss[0] < 0.7
    tuned_again = finetune(manifest, replace(on, from_=str(tmp_path / "m")), augment=NOTHING)
    assert tuned_again.history.train_loss[0] < 0.7
    fewer = manifest.with_segments(s for s in manifest.segments if s.label != "red")
    with pytest.raises(ConfigError, match=r"probe has 3 classes .* 2: .*new_head"):
        finetune(fewer, on)
    assert finetune(fewer, replace(on, new_head=True)).model.labels == ("blue", "green")


def test_missing_libraries_are_named_with_their_extra(manifest: Manifest, quick: FinetuneConfig, monkeypatch: pytest.MonkeyPatch) -> None:
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
    printed = {**OPTIONS, "backbone": f"hf-image:{place / 'clip'}", "precision": "fp32", **more}
    options = [word for name, value in printed.items() for word in (f"--{name}", str(value))]
    return ["-m", "quickstep", "finetune", str(listed), "-o", str(out), *options]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def killed_after_an_epoch(started: list[str], how: signal.Signals, later: float) -> str:
    """Interrupt a run `later` seconds after it reports a further epoch; return what it printed."""
    process = subprocess.Popen(started, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment())
    assert process.stderr is not None
    printed = ""
    for line in process.stderr:
        printed += line
        if line.startswith("epoch"):
            time.sleep(later)
            process.send_signal(how)
            break
    printed += process.stderr.read()
    process.stderr.close()
    process.wait()
    assert process.returncode, "it came to its end before"
    return printed


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_command_resumes_to_the_same_weights(manifest: Manifest, place: Path, tmp_path: Path, how: signal.Signals) -> None:
    subprocess.run([sys.executable, *command(place, manifest, tmp_path / "straight")], check=True, capture_output=True, env=environment())
    rng = random.Random(int(how))
    for _ in range(3):
        printed = killed_after_an_epoch([sys.executable, *command(place, manifest, tmp_path / "killed")], how, rng.uniform(0, 0.2))
        assert "Traceback" not in printed
        assert how == signal.SIGKILL or "same command" in printed
    done = subprocess.run(
        [sys.executable, *command(place, manifest, tmp_path / "killed")], capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0
    assert_same(tmp_path / "straight", tmp_path / "killed")
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == sorted(p.name for p in (tmp_path / "straight").iterdir())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_take_the_same_steps_as_one(manifest: Manifest, place: Path, tmp_path: Path) -> None:
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
    assert "validation loss" in done.stderr
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
