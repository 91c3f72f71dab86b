"""Heads for joints: they separate moves that differ in one respect, are deterministic, and compute what is published."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from torch import nn
from torch.nn import functional

from quickstep.heads import Examples, FitConfig, Head, History, open_head
from quickstep.heads.skeleton.augmentation import Changes, augment, mirrored
from quickstep.heads.skeleton.graph_network import Block, GraphNetwork, graph_of
from quickstep.heads.skeleton.input_channels import STREAMS, Body, JointSequences, likely_bones, resample, skeleton_of, stream_inputs
from quickstep.heads.skeleton.mirror_choice import mirroring_is_harmless
from quickstep.heads.skeleton.tensorflow_lstm import read_basic_lstm
from quickstep.heads.tree_ensemble import TreeArrays
from quickstep.storage.serialization import to_plain
from quickstep.types.errors import ConfigError, WeightsError
from quickstep.types.segment import Segment
from quickstep.types.signals import Features
from quickstep.types.skeleton import SKELETONS, unnamed_skeleton

COCO = SKELETONS["coco-17"]
HEADS = ("lstm", "pose-ensemble", "pose-trees", "stgcn")
SMALL: dict[str, dict[str, Any]] = {
    "lstm": {"hidden": 16, "steps": 24, "mirror": False},
    "pose-ensemble": {"trees": 20, "width": 6, "blocks": 2, "steps": 24, "mirror": False},
    "pose-trees": {"trees": 40, "mirror": False},
    "stgcn": {"width": 8, "blocks": 2, "steps": 24, "at_once": 2, "mirror": False},
}
# One body, x to the right and y down, in body lengths from the hips: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles.
_MIDDLE_AND_LEFT = ((0, -0.45), (0.02, -0.47), (0.04, -0.46), (0.1, -0.3), (0.13, -0.15), (0.14, 0), (0.07, 0), (0.08, 0.25), (0.09, 0.5))
UPRIGHT_BODY = np.array([(sign * x, y) for x, y in _MIDDLE_AND_LEFT for sign in ((1, -1) if x else (1,))])  # (17, 2)
MOVES = ("left arm", "right arm", "squat", "walk")


def move(name: str, rng: np.random.Generator, *, dimensions: int = 2, moments: int | None = None) -> Features:
    """Return a body of random size that does one of MOVES at a random pace."""
    count = moments or int(rng.integers(20, 50))
    times = np.arange(count) / 20.0
    swing = np.sin(2 * math.pi * (times * rng.uniform(0.8, 1.2) + rng.uniform()))  # (T,)
    body = np.repeat(UPRIGHT_BODY[None] * rng.uniform(0.9, 1.1, (1, 1, 2)), count, axis=0)
    if name.endswith("arm"):
        side = ("left arm", "right arm").index(name)
        body[:, 9 + side, 1] -= 0.4 + 0.1 * swing
        body[:, 7 + side, 1] -= 0.15 + 0.05 * swing
    elif name == "squat":
        body[:, :13, 1] += 0.1 * (1 + swing)[:, None]
    else:
        body[:, 13:, 0] += 0.1 * swing[:, None] * np.array([1, -1, 1, -1])
    body += rng.normal(0, 0.01, body.shape)
    depth = rng.normal(0, 0.01, (count, 17, dimensions - 2))
    return Features(np.concatenate([body, depth, np.ones((count, 17, 1))], axis=2).astype(np.float32), times)


def moves_of(count: int, *, names: tuple[str, ...] = MOVES, seed: int = 0, dimensions: int = 2) -> Examples:
    """Return so many segments of moves, in groups by dancer."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(names)
    features = [move(names[label], rng, dimensions=dimensions) for label in labels]
    segments = tuple(Segment(f"{i}.npy", group=f"dancer {i // (2 * len(names))}") for i in range(count))
    return Examples(features, labels, segments, skeleton=replace(COCO, dimensions=dimensions))


def accuracy(head: Head, examples: Examples) -> float:
    return float((head.scores(examples.features).argmax(axis=1) == examples.labels).mean())


def fit(
    name: str, train: Examples, val: Examples | None = None, *, classes: int = 4, settings: Any = None, **fitting: Any
) -> tuple[Head, History]:
    head = open_head(name, SMALL[name] | (settings or {}))
    return head, head.fit(train, val, classes=classes, fitting=FitConfig(**({"epochs": 40} | fitting)))


# -- all of them -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dimensions"),
    [
        ("lstm", 2),
        ("pose-trees", 2),
        ("pose-trees", 3),
        ("stgcn", 3),
        *(pytest.param(*more, marks=pytest.mark.slow) for more in (("lstm", 3), ("stgcn", 2), ("pose-ensemble", 2), ("pose-ensemble", 3))),
    ],
)
def test_moves_are_separated_in_2d_and_3d(name: str, dimensions: int) -> None:
    epochs = 200 if name == "lstm" else 40
    head, history = fit(name, moves_of(48, dimensions=dimensions), moves_of(16, seed=1, dimensions=dimensions), epochs=epochs)
    assert accuracy(head, moves_of(80, seed=2, dimensions=dimensions)) >= 0.9
    assert len(history.val_loss) == history.epochs


@pytest.mark.parametrize("name", HEADS)
def test_the_same_seed_gives_the_same_bytes_and_leaves_global_generators_alone(name: str) -> None:
    before, numpys = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002 - it must stay untouched
    mirror = {"mirror": None if name == "pose-trees" else True}  # None: chosen, with folds of its own
    twice = []
    for _ in range(2):
        head, history = fit(name, moves_of(24), moves_of(8, seed=1), epochs=2, seed=7, settings=mirror)
        twice.append((history, head.weights(), head.last_weights()))
    assert torch.equal(before, torch.get_rng_state())
    assert all(np.array_equal(one, other) for one, other in zip(numpys, np.random.get_state(), strict=True))  # noqa: NPY002
    assert twice[0][0] == twice[1][0]
    for one, other in zip(twice[0][1:], twice[1][1:], strict=True):
        assert one is not None
        assert other is not None
        assert {n: a.tobytes() for n, a in one.items()} == {n: a.tobytes() for n, a in other.items()}
    other_seed, _ = fit(name, moves_of(24), moves_of(8, seed=1), epochs=2, seed=8)
    inputs = moves_of(4, seed=3).features
    assert not np.array_equal(other_seed.scores(inputs), head.scores(inputs))


@pytest.mark.parametrize("name", HEADS)
def test_scores_depend_only_on_segment_config_and_weights(name: str) -> None:
    head, _ = fit(name, moves_of(24), epochs=3)
    inputs = moves_of(12, seed=3).features
    together = head.scores(inputs)
    assert together.dtype == np.float64
    assert np.array_equal(together, np.concatenate([head.scores([segment]) for segment in inputs]))
    again = open_head(name, json.loads(json.dumps(to_plain(head.config))))
    again.load({key: array.copy() for key, array in head.weights().items()})
    assert np.array_equal(again.scores(inputs), together)
    assert again.classes == head.classes == 4
    assert head.scores([]).shape == (0, 4)


@pytest.mark.parametrize("name", [name for name in HEADS if name != "pose-ensemble"])  # its history is that of its networks
def test_the_history_agrees_with_the_scores(name: str) -> None:
    train = moves_of(24)
    head, history = fit(name, train, epochs=1)
    wrong = head.scores(train.features).argmax(axis=1) != train.labels
    assert tuple(wrong.astype(int).tolist()) == history.wrong_train
    assert History.from_json(json.loads(json.dumps(history.to_json()))).with_segments(train.segments, ()) == history


@pytest.mark.parametrize("name", HEADS)
def test_weights_of_another_head_are_refused(name: str) -> None:
    head, _ = fit(name, moves_of(16), epochs=1)
    good = head.weights()
    some = max(good, key=lambda key: good[key].size)
    real = next(key for key in good if good[key].dtype.kind == "f" and key != some)
    worse: list[dict[str, NDArray[Any]]] = [
        {},
        {key: array for key, array in good.items() if key != some},
        good | {"more": good[some]},
        good | {some: good[some][:-1]},
        good | {some: good[some].astype(np.float16)},
        good | {real: np.full_like(good[real], np.nan)},
    ]
    for weights in worse:
        with pytest.raises(ValueError):
            open_head(name, SMALL[name]).load(weights)
    other: dict[str, Any] = {"lstm": {"hidden": 17}, "pose-trees": {}}.get(name, {"streams": "bone"})
    sizes = {"sizes": good["sizes"] + np.int32(1)} if name == "pose-trees" else {}
    with pytest.raises(ValueError):
        open_head(name, SMALL[name] | other).load(good | sizes)


@pytest.mark.parametrize("name", HEADS)
def test_features_without_joints_or_of_another_skeleton_are_refused(name: str) -> None:
    flat = Examples([Features(np.zeros((5, 51), np.float32), np.arange(5.0))] * 4, np.arange(4) % 2)
    with pytest.raises(ConfigError, match="reads the joints of one body"):
        fit(name, flat)
    with pytest.raises(ConfigError, match="has 15 joints, and the features have 17"):
        fit(name, replace(moves_of(8), skeleton=SKELETONS["jhmdb-15"]))
    broken = moves_of(8)
    broken.features[3].values[0, 0] = np.nan
    with pytest.raises(ConfigError, match="not finite"):
        fit(name, broken)
    head, _ = fit(name, moves_of(8), epochs=1)
    with pytest.raises(ConfigError, match="where this head was fitted on"):
        head.scores([Features(np.zeros((5, 9, 3), np.float32), np.arange(5.0))])


@pytest.mark.parametrize("name", HEADS)
def test_one_timestamp_one_joint_and_undetected_joints_give_finite_scores(name: str) -> None:
    train = moves_of(16)
    train.features[0].values[..., -1] = 0.0
    short = [Features(segment.values[:1], segment.times[:1]) for segment in train.features]
    head, _ = fit(name, replace(train, features=[*short[:4], *train.features[4:]]), epochs=2)
    assert np.isfinite(head.scores([*short, *train.features])).all()
    point = [Features(segment.values[:, 9:10].copy(), segment.times) for segment in train.features]
    head, _ = fit(name, replace(train, features=point, skeleton=None), epochs=2)
    assert np.isfinite(head.scores(point)).all()


@pytest.mark.parametrize("name", HEADS)
def test_the_frame_rate_does_not_matter(name: str) -> None:
    """A segment at 25 and at 50 frames a second, interpolated linearly, gets the same scores."""
    head, _ = fit(name, moves_of(24), epochs=5)
    for segment in moves_of(6, seed=4).features:
        times = np.linspace(segment.times[0], segment.times[-1], 2 * len(segment) - 1)
        between = np.stack([np.interp(times, segment.times, column) for column in segment.values.reshape(len(segment), -1).T], axis=1)
        finer = Features(between.reshape(-1, 17, 3).astype(np.float32), times)
        assert np.allclose(*(open_scores(head, part) for part in (segment, finer)), atol=0.05)


def open_scores(head: Head, features: Features) -> NDArray[np.float64]:
    logits = head.scores([features])[0]
    return np.asarray(np.exp(logits) / np.exp(logits).sum())


def test_trees_use_class_weights() -> None:
    """The same segment ten times, once with another label: with class weights both labels count the same."""
    one = moves_of(1).features[0]
    train = Examples([one] * 10, np.arange(10) // 9, skeleton=COCO)
    accuracies = [
        open_scores(fit("pose-trees", train, classes=2, class_weights=w, settings={"augment": 0})[0], one)[1] for w in (False, True)
    ]
    assert accuracies[0] < 0.3
    assert abs(accuracies[1] - 0.5) < 0.15


# -- left and right ----------------------------------------------------------------------------------------------------------


def test_mirrored_copies_are_left_out_where_left_and_right_matter() -> None:
    sided, others = moves_of(48, names=("left arm", "right arm")), moves_of(48, names=("squat", "walk"))
    assert not mirroring_is_harmless(sided, COCO, classes=2, seed=0)
    assert mirroring_is_harmless(others, COCO, classes=2, seed=0)
    test = moves_of(40, names=("left arm", "right arm"), seed=2)
    accuracies = [accuracy(fit("pose-trees", sided, classes=2, settings={"mirror": mirror})[0], test) for mirror in (None, True)]
    assert accuracies[0] >= 0.95
    assert accuracies[1] <= 0.75


def test_mirrored_copies_teach_the_other_side() -> None:
    train = moves_of(32, names=("left arm", "squat"))
    other = moves_of(40, names=("right arm", "squat"), seed=3)
    plain, both = (accuracy(fit("pose-trees", train, classes=2, settings={"mirror": mirror})[0], other) for mirror in (False, True))
    assert both >= 0.95
    assert plain < both


def test_mirroring_swaps_sides_and_twice_is_the_identity() -> None:
    moves = resample(moves_of(4).features, 16)
    once = mirrored(moves, COCO)
    wrists = COCO.joints.index("left_wrist"), COCO.joints.index("right_wrist")
    assert torch.equal(once.joints[:, :, wrists[0], 0], -moves.joints[:, :, wrists[1], 0])
    assert torch.equal(once.joints[..., 1:], moves.joints[:, :, list(COCO.flipped), 1:])
    assert torch.equal(mirrored(once, COCO).joints, moves.joints)


# -- changes -----------------------------------------------------------------------------------------------------------------


def test_augmentation_is_small_and_with_strength_0_the_identity() -> None:
    moves = resample(moves_of(64).features, 32)
    same = augment(moves, Changes().times(0), steps=32, mirror=None, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(same.joints, moves.joints, atol=1e-6)
    assert torch.allclose(same.pace, moves.pace)
    result = augment(moves, Changes(), steps=40, mirror=None, generator=torch.Generator().manual_seed(0))
    again = augment(moves, Changes(), steps=40, mirror=None, generator=torch.Generator().manual_seed(0))
    assert torch.equal(result.joints, again.joints)
    assert result.joints.shape == (64, 40, 17, 3)
    assert 0.6 < float(result.pace.mean() * 39 / (moves.pace.mean() * 31)) < 1.0  # a part of the time, at about its pace
    assert 0 < float((result.joints[..., 2] == 0).float().mean()) < 0.1  # a few joints hidden
    thigh = [result.joints[:, :, 11, :2] - result.joints[:, :, 13, :2], moves.joints[:, :, 11, :2] - moves.joints[:, :, 13, :2]]
    lengths = [segment.norm(dim=-1).mean(dim=1) for segment in thigh]
    assert float((lengths[0] / lengths[1] - 1).abs().mean()) < 0.3


def test_a_3d_body_turns_around_the_vertical_alone() -> None:
    moves = resample(moves_of(8, dimensions=3).features, 16)
    turn = replace(Changes().times(0), turn=0.5)
    result = augment(moves, turn, steps=16, mirror=None, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(result.joints[..., 1], moves.joints[..., 1], atol=1e-6)
    flat = [segment.joints[..., [0, 2]].norm(dim=-1) for segment in (result, moves)]
    assert torch.allclose(*flat, atol=1e-5)
    assert not torch.allclose(result.joints[..., 0], moves.joints[..., 0], atol=0.02)


def test_warped_time_never_reverses() -> None:
    """A body that moves only to the right still does after the warp."""
    joints = torch.zeros(200, 30, 1, 3)
    joints[:, :, 0, 0] = torch.arange(30.0)
    changes = replace(Changes().times(0), warp=1.0, cut=0.5)
    result = augment(JointSequences(joints, torch.ones(200)), changes, steps=50, mirror=None, generator=torch.Generator().manual_seed(0))
    assert float(result.joints[:, :, 0, 0].diff(dim=1).min()) >= 0
    assert float(result.joints[:, :, 0, 0].diff(dim=1).diff(dim=1).abs().max()) > 0.05


@pytest.mark.slow
def test_augmentation_helps_on_other_bodies() -> None:
    """Trained on upright bodies and tested on tilted ones: rotation in training helps."""
    train, tilted = moves_of(24), moves_of(60, seed=5)
    for segment, angle in zip(tilted.features, np.random.default_rng(0).normal(0, 0.4, 60), strict=True):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], dtype=np.float32)
        segment.values[..., :2] = segment.values[..., :2] @ turn.T
    accuracies = [accuracy(fit("stgcn", train, epochs=120, settings={"augment": a, "streams": "joint"})[0], tilted) for a in (0, 3)]
    assert accuracies[1] > accuracies[0] + 0.2


# -- channels ----------------------------------------------------------------------------------------------------------------


def test_streams_are_joints_bones_and_their_speed_in_seconds() -> None:
    """A body that moves half a body length a second without changing its pose: bones have no motion, joints do."""
    times = np.arange(21) / 10.0
    values = np.repeat(np.concatenate([UPRIGHT_BODY, np.ones((17, 1))], axis=1)[None], 21, axis=0)
    values[..., 0] += 0.5 * times[:, None]
    moves = resample([Features(values.astype(np.float32), times)], 11)
    body = Body.of(COCO)
    joint, bone, joint_motion, bone_motion = stream_inputs(moves, body, STREAMS)  # each (1, 11, 17, 5)
    assert torch.allclose(joint_motion[..., 0], torch.asinh(torch.tensor(0.5)), atol=1e-4)
    assert torch.allclose(joint_motion[..., 2:4], torch.zeros(1), atol=1e-4)  # relative to the middle of the body nothing moves
    assert torch.allclose(bone_motion[..., :4], torch.zeros(1), atol=1e-4)
    elbow, wrist = COCO.joints.index("left_elbow"), COCO.joints.index("left_wrist")
    assert body.parents[wrist] == elbow
    assert np.allclose(bone[0, 5, wrist, :2], UPRIGHT_BODY[wrist] - UPRIGHT_BODY[elbow], atol=1e-5)
    assert np.allclose(bone[0, 5, wrist, 2:4].norm(), 1.0, atol=1e-5)
    assert (joint[..., 4] == 1).all()


def test_bones_of_an_unknown_skeleton_are_joints_that_keep_their_distance() -> None:
    features = [segment for seed in range(4) for segment in moves_of(16, seed=seed).features]
    limbs = {(5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16)}
    bones = likely_bones(features)
    assert len(bones) == 16
    assert len(limbs & set(bones)) >= 6
    assert skeleton_of(replace(moves_of(8), skeleton=unnamed_skeleton(17, 2))).edges
    assert skeleton_of(moves_of(8)).edges == COCO.edges


# -- the graph network -------------------------------------------------------------------------------------------------------


class Published(nn.Module):
    """A block of ST-GCN++ after the paper, with torch's own layers, for one stream."""

    def __init__(self, block: Block, stream: int) -> None:
        super().__init__()
        self.block, self.stream = block, stream

    def mix(self, x: torch.Tensor, weight: torch.Tensor, stride: int = 1) -> torch.Tensor:
        return functional.conv2d(x, weight[self.stream][..., None, None], stride=(stride, 1))

    def norm(self, x: torch.Tensor, normal: Any, at: slice = slice(None)) -> torch.Tensor:
        size = normal.weight.numel() // self.block.joints.graph.shape[0]
        names = ("mean", "variance", "weight", "bias")
        parts = [getattr(normal, name).view(-1, size)[self.stream][at] for name in names]
        return functional.batch_norm(x, parts[0], parts[1], parts[2], parts[3])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        joints, moments = self.block.joints, self.block.moments
        parts = torch.chunk(joints.mix.weight[self.stream], 3, dim=1)
        mixed = sum(
            torch.einsum("nctv,vw->nctw", functional.conv2d(x, part[..., None, None]), joints.graph[self.stream, number])
            for number, part in enumerate(parts)
        )
        y = functional.relu(self.norm(mixed, joints.normal) + self.around(x, joints.beside, 1))
        stride, outs, at = moments.stride, [], 0
        enter = torch.split(moments.enter.weight[self.stream], [*moments.widths, moments.plain, moments.plain])
        for number, weight in enumerate(enter):
            z = functional.conv2d(y, weight[..., None, None])
            if number < 5:
                z = functional.relu(self.norm(z, moments.normal, slice(at, at + len(weight))))
            at += len(weight)
            if number < 4:
                kernel = moments.looks[number].weight[self.stream].view(len(weight), 3, len(weight)).permute(0, 2, 1)[..., None]
                z = functional.conv2d(z, kernel, stride=(stride, 1), padding=(number + 1, 0), dilation=(number + 1, 1))
            elif number == 4:
                z = functional.max_pool2d(z, (3, 1), (stride, 1), (1, 0))
            else:
                z = z[:, :, ::stride]
            outs.append(z)
        z = functional.relu(self.norm(torch.cat(outs, dim=1), moments.between))
        z = self.norm(self.mix(z, moments.leave.weight), moments.last)
        return functional.relu(z if self.block.beside is None else z + self.around(x, self.block.beside, stride))

    def around(self, x: torch.Tensor, beside: Any, stride: int) -> torch.Tensor:
        if isinstance(beside, nn.Identity):
            return x
        return self.norm(self.mix(x, beside.mix.weight, stride), beside.normal)


@pytest.mark.parametrize(("channels", "stride", "first"), [((5, 13), 1, True), ((12, 24), 2, False), ((12, 12), 1, False)])
@torch.no_grad()
def test_a_block_computes_what_is_published(channels: tuple[int, int], stride: int, first: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    block = Block(2, channels, graph_of(COCO), generator, stride=stride, first=first)
    for name, value in block.named_buffers():
        value.copy_(torch.rand(value.shape, generator=generator) + ("variance" in name))
    for value in block.parameters():
        value.add_(0.1 * torch.randn(value.shape, generator=generator))
    block = block.double().eval()
    x = torch.randn(2, channels[0], 3, 10, 17, generator=generator, dtype=torch.float64)
    result = block(x)  # (S, C', B, T', K)
    for stream in range(2):
        expected = Published(block, stream)(x[stream].transpose(0, 1))  # (B, C', T', K)
        assert torch.allclose(result[stream].transpose(0, 1), expected, atol=1e-10)


def test_the_graph_has_a_part_for_neighbours_nearer_and_farther_and_each_column_adds_up_to_one() -> None:
    graph = graph_of(SKELETONS["h36m-17"])
    assert graph.shape == (3, 17, 17)
    assert torch.allclose(graph.sum(dim=(0, 1)), torch.ones(17))
    assert torch.allclose(graph[0].diagonal(), 1 / (graph.sum(dim=0) > 0).sum(dim=0))
    edges = {tuple(sorted(pair)) for pair in SKELETONS["h36m-17"].edges}
    joined = {tuple(sorted(pair)) for part in (1, 2) for pair in graph[part].nonzero().tolist()}
    assert joined == edges


@torch.no_grad()
def test_undetected_joints_are_ignored() -> None:
    """The position of an undetected joint does not matter; and streams do not influence each other."""
    network = GraphNetwork((2, 5, 3), (12, 24), graph_of(COCO), torch.Generator().manual_seed(0), at_once=2)
    values = torch.randn(2, 4, 16, 17, 5, generator=torch.Generator().manual_seed(1))
    detected = torch.ones(4, 16, 17)
    detected[:, :, 5] = 0
    other = values.clone()
    other[:, :, :, 5] = 100.0
    assert torch.allclose(network(values, detected), network(other, detected))
    other[1] = 7.0
    assert torch.allclose(network(values, detected)[0], network(other, detected)[0])
    assert torch.isfinite(network(values, torch.zeros(4, 16, 17))).all()


def test_streams_can_be_chosen() -> None:
    train = moves_of(24)
    alone, _ = fit("stgcn", train, settings={"streams": "bone"}, epochs=4)
    assert {"parents", "root", "weight", "bias"} <= set(alone.weights())
    assert alone.weights()["weight"].shape == (1, 16, 4)
    both, _ = fit("stgcn", train, settings={"streams": "joint,bone-motion"}, epochs=4)
    assert both.weights()["weight"].shape == (2, 16, 4)
    for wrong in ("", "joint,joint", "angles"):
        with pytest.raises(ConfigError, match="some of joint, bone, joint-motion, bone-motion"):
            open_head("stgcn", {"streams": wrong})
    with pytest.raises(ConfigError, match="a multiple of at_once"):
        open_head("stgcn", {"steps": 30})


def test_the_graph_network_smooths_labels_by_default() -> None:
    train = moves_of(16)
    default, explicit, none = (
        fit("stgcn", train, epochs=2, **smoothing)[0].weights()["weight"]
        for smoothing in ({}, {"label_smoothing": 0.1}, {"label_smoothing": 1e-12})
    )
    assert np.array_equal(default, explicit)
    assert not np.array_equal(default, none)


# -- trees -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_tree_arrays_give_the_probabilities_of_scikit_learn(weighted: bool) -> None:
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(200, 30)).astype(np.float32), rng.integers(0, 5, 200)
    rows[:40] = rows[0]  # so that some leaves are impure
    weight = rng.uniform(0.5, 2, 200) if weighted else None
    theirs = ExtraTreesClassifier(60, random_state=0).fit(rows, labels, sample_weight=weight)
    ours = TreeArrays.of(theirs)
    queries = rng.normal(size=(300, 30)).astype(np.float32)
    queries[:30] = ours.threshold[ours.feature >= 0][:30, None]  # exactly at a threshold
    assert np.abs(ours.probabilities(queries, 5) - theirs.predict_proba(queries)).max() <= 1e-12
    again = TreeArrays.from_arrays(ours.arrays, numbers=30, classes=5)
    assert np.array_equal(again.probabilities(queries, 5), ours.probabilities(queries, 5))


def test_a_class_without_a_row_keeps_its_place() -> None:
    rows, labels = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32), np.arange(40) % 2 * 2
    shares = TreeArrays.fit(rows, labels, trees=10, seed=0).probabilities(rows, 4)
    assert shares.shape == (40, 4)
    assert np.allclose(shares[:, [1, 3]], 0)
    assert np.allclose(shares.sum(axis=1), 1)


def test_arrays_with_circles_or_missing_nodes_are_refused() -> None:
    rng = np.random.default_rng(0)
    good = TreeArrays.fit(rng.normal(size=(40, 4)).astype(np.float32), np.arange(40) % 3, trees=5, seed=0).arrays
    inner = int(np.flatnonzero(good["feature"] >= 0)[1])
    changes: list[dict[str, NDArray[Any]]] = []
    for name, at, value in (
        ("children", inner, 0),
        ("children", inner, 10**6),
        ("feature", inner, 4),
        ("leaf_class", 0, 3),
        ("roots", 0, -1),
    ):
        array = good[name].copy()
        array[at] = value
        changes.append({name: array})
    changes += [{"starts": good["starts"][:-1]}, {"leaf_share": -good["leaf_share"]}, {"roots": good["roots"][:0]}]
    for change in changes:
        with pytest.raises(ValueError, match="trees"):
            TreeArrays.from_arrays(good | change, numbers=4, classes=3)


# -- TensorFlow 1 networks ---------------------------------------------------------------------------------------------------


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))


def tensorflow_1(x: NDArray[np.float64], weights: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Return the logits of the published network for (N, T, D), from the definition of BasicLSTMCell."""
    x = np.maximum(x @ weights["hidden_w"] + weights["hidden_b"], 0)
    for layer in (0, 1):
        kernel, bias = weights[f"kernel_{layer}"], weights[f"bias_{layer}"]
        size = kernel.shape[1] // 4
        c, h, outputs = np.zeros((len(x), size)), np.zeros((len(x), size)), []
        for moment in range(x.shape[1]):
            i, j, f, o = np.split(np.concatenate([x[:, moment], h], axis=1) @ kernel + bias, 4, axis=1)
            c = c * sigmoid(f + 1.0) + sigmoid(i) * np.tanh(j)
            h = np.tanh(c) * sigmoid(o)
            outputs.append(h)
        x = np.stack(outputs, axis=1)
    return np.asarray(x[:, -1] @ weights["out_w"] + weights["out_b"])


def checkpoint(hidden: int, *, width: int = 51, classes: int = 3) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(hidden)
    shapes = {
        "hidden_w": (width, hidden),
        "hidden_b": (hidden,),
        "out_w": (hidden, classes),
        "out_b": (classes,),
        "kernel_0": (2 * hidden, 4 * hidden),
        "bias_0": (4 * hidden,),
        "kernel_1": (2 * hidden, 4 * hidden),
        "bias_1": (4 * hidden,),
    }
    return {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}


TENSORFLOW_NAMES = {
    "hidden_w": "Variable",
    "out_w": "Variable_1",
    "hidden_b": "Variable_2",
    "out_b": "Variable_3",
    **{f"{kind}_{layer}": f"rnn/multi_rnn_cell/cell_{layer}/basic_lstm_cell/{kind}" for kind in ("kernel", "bias") for layer in (0, 1)},
}
SPOKEN_NAMES = {"hidden_w": "weights/hidden", "out_w": "weights/out", "hidden_b": "biases/hidden", "out_b": "biases/out"} | {
    f"{kind}_{layer}": f"lstm{layer + 1}_{kind}" for kind in ("kernel", "bias") for layer in (0, 1)
}


@pytest.mark.parametrize("names", [{}, TENSORFLOW_NAMES, SPOKEN_NAMES], ids=["short", "tensorflow", "spoken"])
@pytest.mark.parametrize(("hidden", "width", "classes"), [(20, 51, 3), (60, 51, 3), (4, 51, 16), (51, 51, 51)])
def test_a_tensorflow_1_network_gives_the_same_logits(tmp_path: Path, names: dict[str, str], hidden: int, width: int, classes: int) -> None:
    arrays = checkpoint(hidden, width=width, classes=classes)
    left = {"beta1_power": np.float32(0.9), "Variable/Adam": arrays["hidden_w"], "Variable/Adam_1": arrays["hidden_w"]}
    np.savez(tmp_path / "network.npz", **{names.get(name, name): array for name, array in arrays.items()}, **left)
    head = read_basic_lstm(tmp_path / "network.npz")
    rng = np.random.default_rng(1)
    inputs = rng.normal(0, 1, (5, 100, 51)).astype(np.float32)
    features = [Features(segment.reshape(100, 17, 3), np.arange(100) / 25) for segment in inputs]
    assert np.abs(head.scores(features) - tensorflow_1(inputs.astype(np.float64), arrays)).max() <= 1e-4
    again = open_head("lstm", asdict(head.config))  # type: ignore[call-overload]
    again.load(head.weights())
    assert np.array_equal(again.scores(features), head.scores(features))


def test_other_files_are_refused(tmp_path: Path) -> None:
    good = checkpoint(20)
    wrong: list[dict[str, Any]] = [
        {name: array for name, array in good.items() if name != "kernel_1"},
        {name: array for name, array in good.items() if name != "out_b"},
        good | {"bias_1": good["bias_1"][:-1]},
        {"a": np.zeros(3, dtype=np.float32)},
    ]
    for number, arrays in enumerate(wrong):
        np.savez(tmp_path / f"{number}.npz", **arrays)
        with pytest.raises(WeightsError, match="is not a network of two BasicLSTMCells"):
            read_basic_lstm(tmp_path / f"{number}.npz")
    np.savez(tmp_path / "nan.npz", **good | {"out_b": np.full(3, np.nan, dtype=np.float32)})
    with pytest.raises(WeightsError, match="not all finite"):
        read_basic_lstm(tmp_path / "nan.npz")
    (tmp_path / "text.npz").write_text("nothing")
    np.savez(tmp_path / "code.npz", a=np.array([print], dtype=object))
    for name in ("text.npz", "code.npz", "none.npz"):
        with pytest.raises(WeightsError, match="not a readable"):
            read_basic_lstm(tmp_path / name)


def test_the_published_settings_can_be_fitted() -> None:
    head = open_head("lstm", {"hidden": 20, "l2": 0.0015, "decay": 0.96, "dropout": 0.0, "augment": 0.0, "mirror": False})
    fitting = FitConfig(epochs=30, learning_rate=0.01, optimizer="adam", batch=512)
    history = head.fit(moves_of(48), classes=4, fitting=fitting)
    assert history.train_loss[-1] < history.train_loss[0]
    assert head.weights()["enter.weight"].shape == (20, 51)
    assert head.weights()["out.weight"].shape == (4, 20)
