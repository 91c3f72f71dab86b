"""Synthetic dancers: reproducible, with true joints and correct moves, and only the movement depends on the label."""

from __future__ import annotations

import csv
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from quickstep.datasets.synthetic import CLASS_SECONDS, MOVES, DemoConfig, draw_class, draw_dancers, draw_demo
from quickstep.datasets.synthetic.body import POINTS
from quickstep.datasets.synthetic.routine import perform
from quickstep.datasets.synthetic.scene import Dancer, Scene
from quickstep.signals.video import probe, read_frames
from quickstep.types.errors import ConfigError, MediaError, UnknownName

SIZE = (160, 120)
SMALL = DemoConfig(moves=("windmill", "spin-left"), videos=3, dancers=2, seconds=0.8, width=160, height=120, clutter=0.5)
PAIRS = [(name, move.pair) for name, move in MOVES.items() if move.pair and name < move.pair]


def people(count: int, seed: int = 0) -> list[Dancer]:
    return [Dancer.drawn(index, seed, 64) for index in range(count)]


def scene(move: str, dancer: Dancer, number: int, *, seconds: float = 3.0, clutter: float = 0.0) -> Scene:
    """Return a scene as `draw_dancers` makes it, seeded by the name of the move."""
    seeds = (0, 102, zlib.crc32(move.encode()), number)
    return Scene.drawn(move, dancer, seeds, size=SIZE, fps=25.0, seconds=seconds, clutter=clutter)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_dancers(tmp_path_factory.mktemp("drawn"), SMALL, workers=2)


def rows_of(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class TestFiles:
    def test_the_same_settings_give_the_same_bytes_with_any_number_of_workers(self, drawn: Path, tmp_path: Path) -> None:
        again = draw_dancers(tmp_path, SMALL, workers=1)
        names = sorted(path.relative_to(drawn.parent) for path in drawn.parent.rglob("*.*"))
        assert len(names) == 1 + 2 * 6
        assert names == sorted(path.relative_to(tmp_path) for path in again.parent.rglob("*.*"))
        for name in names:
            assert (drawn.parent / name).read_bytes() == (tmp_path / name).read_bytes(), name

    def test_a_video_does_not_depend_on_the_others(self, drawn: Path, tmp_path: Path) -> None:
        draw_dancers(tmp_path, DemoConfig(moves=("spin-left",), videos=2, dancers=2, seconds=0.8, width=160, height=120, clutter=0.5))
        name = Path("spin-left", "dancer-01-01.mp4")
        assert (tmp_path / name).read_bytes() == (drawn.parent / name).read_bytes()

    def test_another_seed_draws_another_person(self) -> None:
        one, other = Dancer.drawn(0, 0, 64), Dancer.drawn(0, 1, 64)
        assert one.body != other.body

    def test_every_dancer_does_every_move_and_is_a_group(self, drawn: Path) -> None:
        rows = rows_of(drawn)
        assert [row["label"] for row in rows] == ["windmill"] * 3 + ["spin-left"] * 3
        assert [row["group"] for row in rows] == ["dancer-01", "dancer-02", "dancer-01"] * 2
        assert all((drawn.parent / row["path"]).is_file() and (drawn.parent / row["joints"]).is_file() for row in rows)
        assert len({row["path"] for row in rows}) == 6
        assert len({(row["group"], row["stage"]) for row in rows}) == 2

    def test_videos_and_joints_are_read_back_as_drawn(self, drawn: Path) -> None:
        for row in rows_of(drawn):
            path = drawn.parent / row["path"]
            with np.load(path.with_suffix(".npz")) as truth:
                times, joints, deep = truth["times"], truth["joints"], truth["joints_3d"]
                assert str(truth["skeleton"]) == "coco-17"
            info = probe(path)
            assert (info.width, info.height, info.codec, info.pixel_format) == (160, 120, "h264", "yuv420p")
            assert info.duration == pytest.approx(len(times) / 25, abs=0.01)
            assert joints.shape == deep.shape == (len(times), 17, 3)
            frames = read_frames(path, times)
            assert frames.pixels.shape == (len(times), 120, 160, 3)
            assert frames.times == pytest.approx(times, abs=1e-3)
            number = [r["path"] for r in rows_of(drawn) if r["label"] == row["label"]].index(row["path"])
            expected = Scene.drawn(
                row["label"],
                Dancer.drawn(number % 2, 0, 120),
                (0, 102, zlib.crc32(row["label"].encode()), number),
                size=SIZE,
                fps=25.0,
                seconds=0.8,
                clutter=0.5,
            )
            assert expected.joints == pytest.approx(joints)
            error = np.stack(list(expected.frames())).astype(float) - frames.pixels
            assert np.sqrt(np.mean(error**2)) < 9  # h264 at a modest quality

    def test_progress_counts_every_video(self, tmp_path: Path) -> None:
        steps: list[tuple[str, int, int]] = []
        config = DemoConfig(moves=("halo",), videos=2, dancers=1, seconds=0.5, width=64, height=64)
        draw_dancers(tmp_path, config, progress=lambda *step: steps.append(step))
        assert steps == [("drawing", 0, 2), ("drawing", 1, 2), ("drawing", 2, 2)]

    def test_a_folder_that_cannot_be_written_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(MediaError, match="cannot be written"):
            draw_dancers(tmp_path / "file", SMALL)

    @pytest.mark.parametrize(
        ("wrong", "error", "named"),
        [
            ({"moves": ("windmil",)}, UnknownName, "windmill"),
            ({"moves": ()}, ConfigError, "moves"),
            ({"moves": ("halo", "halo")}, ConfigError, "moves"),
            ({"videos": 0}, ConfigError, "videos"),
            ({"width": 321}, ConfigError, "width"),
            ({"fps": float("nan")}, ConfigError, "fps"),
            ({"seconds": 0.1}, ConfigError, "seconds"),
        ],
    )
    def test_settings_out_of_range_are_named(self, wrong: dict[str, object], error: type[Exception], named: str) -> None:
        with pytest.raises(error, match=named):
            DemoConfig(**wrong)  # type: ignore[arg-type]


class TestJoints:
    @pytest.mark.parametrize("move", sorted(MOVES))
    def test_joints_lie_on_the_drawn_body(self, move: str) -> None:
        for number, dancer in enumerate(people(2)):
            shot = scene(move, dancer, number, seconds=1.0)
            numbers = range(0, len(shot.times), 6)
            changed = [
                np.abs(full.astype(int) - empty).max(axis=2) > 4
                for full, empty in zip(shot.frames(numbers), shot.frames(numbers, empty=True), strict=True)
            ]
            joints = shot.joints[list(numbers)]
            x, y, visible = joints[..., 0], joints[..., 1], joints[..., 2] > 0
            assert visible.mean() > 0.5
            hit = [changed[t][int(y[t, k]), int(x[t, k])] for t, k in zip(*np.nonzero(visible), strict=True)]
            assert np.mean(hit) > 0.93
            assert np.mean(changed) < 0.35  # and the body does not fill the frame

    def test_bones_keep_their_length_and_bodies_touch_the_ground(self) -> None:
        bones = [(5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16), (5, 6), (11, 12)]
        for number, move in enumerate(sorted(MOVES)):
            figure = scene(move, people(3)[number % 3], number).figure
            joints = figure.coco
            for one, other in bones:
                length = np.linalg.norm(joints[:, one] - joints[:, other], axis=1)
                assert np.ptp(length) < 1e-6, (move, one, other)
            low = np.min([getattr(figure, name)[..., 1].reshape(len(joints), -1).min(axis=1) for name in POINTS], axis=0)
            assert low.min() > 0, move  # (T,): no body sinks
            assert low.max() < 0.2, move  # nor floats: the lowest joint is as far from the ground as the limb is thick

    def test_a_joint_behind_the_body_is_not_visible(self) -> None:
        shot = scene("spin-left", people(1)[0], 0)
        joints, away = shot.joints, shot.figure.head[:, :, 2] @ shot.camera.turn[0, 2] > 0.6
        assert away.any()
        assert not joints[away, 0, 2].any()  # the nose of a person who looks away
        towards = shot.figure.head[:, :, 2] @ shot.camera.turn[0, 2] < -0.8
        assert joints[towards, 0, 2].mean() > 0.9


class TestMoves:
    def test_pairs_name_each_other(self) -> None:
        assert len(PAIRS) >= 4
        for one, other in PAIRS:
            assert MOVES[other].pair == one

    def test_spins_turn_in_the_direction_of_their_name(self) -> None:
        for number, dancer in enumerate(people(6)):
            for move, sense in (("spin-left", 1), ("spin-right", -1)):
                joints = scene(move, dancer, number).figure.coco
                across = joints[:, 5] - joints[:, 6]  # towards the dancer's left
                angle = np.unwrap(np.arctan2(-across[:, 2], across[:, 0]))  # grows counter-clockwise seen from above
                assert sense * (angle[-1] - angle[0]) > np.pi
                assert (sense * np.diff(angle) > 0).all()

    def test_a_walk_goes_forwards_and_a_moonwalk_backwards(self) -> None:
        for number, dancer in enumerate(people(6)):
            for move, sense in (("walk", 1), ("moonwalk", -1)):
                figure = scene(move, dancer, number).figure
                steps = np.diff(figure.pelvis, axis=0)
                along = np.sum(steps * figure.turn[1:, :, 2], axis=1)
                assert sense * along.sum() > 0.5
                assert (sense * along > -1e-6).mean() > 0.9

    def test_reach_and_drop_come_in_the_order_of_the_name(self) -> None:
        for number, dancer in enumerate(people(6)):
            for move, sense in (("reach-then-drop", 1), ("drop-then-reach", -1)):
                joints = scene(move, dancer, number).figure.coco
                highest, lowest = joints[:, 9, 1].argmax(), joints[:, 0, 1].argmin()
                assert sense * (int(lowest) - int(highest)) > 5

    def test_fast_is_faster_than_slow(self) -> None:
        def tempo(move: str, number: int, dancer: Dancer) -> float:
            sway = scene(move, dancer, number, seconds=6).figure.pelvis[:, 0]
            return float(np.abs(np.diff(sway)).mean() / np.ptp(sway))

        fast = [tempo("groove-fast", n, d) for n, d in enumerate(people(6))]
        slow = [tempo("groove-slow", n, d) for n, d in enumerate(people(6))]
        assert min(fast) > 1.2 * max(slow)

    def test_floorwork_is_on_the_ground_and_steps_are_not(self) -> None:
        def level(move: str) -> float:
            return float(np.mean([scene(move, d, n).figure.skull[:, 1].mean() / d.body.height for n, d in enumerate(people(4))]))

        assert max(level(move) for move in ("windmill", "halo", "headspin", "swipe")) < 0.55
        assert min(level(move) for move in ("toprock", "walk", "moonwalk", "spin-left", "groove-fast")) > 0.75


class TestNoShortcuts:
    def test_two_moves_with_the_same_seeds_differ_in_the_movement_alone(self) -> None:
        dancer = people(1)[0]
        one, other = (
            Scene.drawn(move, dancer, (3, 1, 4), size=SIZE, fps=25.0, seconds=1.0, clutter=0.5) for move in ("windmill", "spin-left")
        )
        for name in ("times", "gain", "grain", "quality", "seed"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
        for this, that in zip(one.frames(empty=True), other.frames(empty=True), strict=True):
            assert np.array_equal(this, that)
        assert not np.array_equal(one.figure.coco, other.figure.coco)

    def test_metadata_does_not_predict_the_move(self) -> None:
        moves, dancers = DemoConfig().moves, people(10)
        facts, labels, groups = [], [], []
        for move in moves:
            for number in range(20):
                shot = scene(move, dancers[number % 10], number)
                facts.append([len(shot.times), shot.quality, shot.grain, len(shot.others), shot.blocker is None])
                labels.append(move)
                groups.append(number % 10)
        accuracy = by_group(np.array(facts, float), np.array(labels), np.array(groups), forest=True)
        assert accuracy < 1 / len(moves) + 3 * np.sqrt((1 / 6) * (5 / 6) / len(labels))

    @pytest.mark.parametrize(("one", "other"), PAIRS)
    def test_the_joints_of_one_frame_do_not_distinguish_a_pair(self, one: str, other: str) -> None:
        rng, dancers = np.random.default_rng(0), people(10)
        joints, labels, groups = [], [], []
        for move in (one, other):
            for number in range(100):
                shot = scene(move, dancers[number % 10], number)
                frame = len(shot.times) // 2 if number % 2 else int(rng.integers(len(shot.times)))
                joints.append(shot.joints[frame, :, :2].ravel())
                labels.append(move)
                groups.append(number % 10)
        accuracy = by_group(np.array(joints), np.array(labels), np.array(groups), forest=True)
        assert abs(accuracy - 0.5) < 3.5 * 0.5 / np.sqrt(len(labels))

    def test_the_middle_frame_distinguishes_floorwork_from_steps_but_not_left_from_right(self) -> None:
        dancers = people(10)
        features: dict[str, NDArray[np.float64]] = {}
        for move in ("spin-left", "spin-right", "windmill"):
            rows = []
            for number in range(40):
                shot = scene(move, dancers[number % 10], number, seconds=1.5)
                (image,) = shot.frames([len(shot.times) // 2])
                rows.append(gradients(image))
            features[move] = np.stack(rows)
        groups = np.tile(np.arange(40) % 10, 2)
        labels = np.repeat([0, 1], 40)
        direction = by_group(np.concatenate([features["spin-left"], features["spin-right"]]), labels, groups)
        level = by_group(np.concatenate([features["spin-left"], features["windmill"]]), labels, groups)
        assert abs(direction - 0.5) < 3 * 0.5 / np.sqrt(80)
        assert level > 0.7


def by_group(values: NDArray[np.float64], labels: NDArray[np.generic], groups: NDArray[np.int_], *, forest: bool = False) -> float:
    """Return the accuracy of a simple model on dancers it was not trained on."""
    model = (
        ExtraTreesClassifier(50, random_state=0) if forest else make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    )
    predicted = cross_val_predict(model, values, labels, groups=groups, cv=GroupKFold(5))
    return float(np.mean(predicted == labels))


def gradients(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return brightness and edge strength in four directions on a grid of 12 x 16."""
    grey = image.astype(float).mean(axis=2)
    down, right = np.gradient(grey)
    size, angle = np.hypot(down, right), (np.arctan2(down, right) % np.pi) / np.pi * 4
    maps = [grey] + [size * (angle.astype(int) % 4 == k) for k in range(4)]
    return np.concatenate([m.reshape(12, 10, 16, 10).mean(axis=(1, 3)).ravel() for m in maps])


def test_the_demo_has_a_dataset_and_videos_of_another_person(tmp_path: Path) -> None:
    config = DemoConfig(moves=("halo", "windmill", "toprock"), videos=1, dancers=1, seconds=0.5, width=64, height=64)
    videos = draw_demo(tmp_path, config)
    assert {row["label"] for row in rows_of(videos.dataset)} == {"halo", "windmill", "toprock"}
    assert [row["label"] for row in rows_of(videos.new_videos)] == ["halo", "windmill", "toprock"]
    labelled, new = (listed.parent / "halo" / "dancer-01-01.mp4" for listed in (videos.dataset, videos.new_videos))
    assert labelled.read_bytes() != new.read_bytes()


def test_the_class_is_danced_as_its_spans_say(tmp_path: Path) -> None:
    config = DemoConfig(moves=("halo", "drop", "rise", "toprock"), width=64, height=64, fps=10)
    video, spans = draw_class(tmp_path, config)
    rows = rows_of(spans)
    assert probe(video).duration == pytest.approx(CLASS_SECONDS, abs=0.01)
    assert rows[0]["start"] == "0.00"
    assert [row["end"] for row in rows[:-1]] == [row["start"] for row in rows[1:]]
    assert float(rows[-1]["end"]) == pytest.approx(CLASS_SECONDS, abs=0.01)
    assert {row["label"] for row in rows} == set(config.moves)
    assert all(before["label"] != after["label"] for before, after in pairwise(rows))


def test_a_routine_performs_each_move_in_its_span() -> None:
    dancer, fps = people(1)[0], 20.0
    routine = [("toprock", 3.0), ("drop", 2.0), ("halo", 3.0), ("rise", 2.0)]
    figure, times = perform(routine, dancer.body, fps, np.random.default_rng(5), 1.0)
    assert len(times) == 200
    pelvis, head = figure.pelvis[:, 1], figure.skull[:, 1]
    upright, dropping, upside_down, rising = slice(8, 60), slice(68, 100), slice(108, 160), slice(168, 200)
    assert pelvis[upright].min() > 0.4 * dancer.body.height
    assert pelvis[dropping][0] - pelvis[dropping][-1] > 0.2 * dancer.body.height
    assert (head[upside_down] < pelvis[upside_down]).mean() > 0.9
    assert pelvis[rising][-1] - pelvis[rising][0] > 0.2 * dancer.body.height
    step = np.linalg.norm(np.diff(figure.coco, axis=0), axis=-1).max(axis=1)
    assert step[[59, 99, 159]].max() < 2 * np.quantile(step, 0.99)  # no jump where one move becomes the next
