"""Describe a segment's joints as one vector, for trees: positions, directions, distances, speeds and rhythms."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quickstep.heads.skeleton.input_channels import Body, JointSequences, bones, from_middle, speeds, unit_vectors

INTERVALS = 16  # of time, each with its mean
COARSE_INTERVALS = 8  # for the path of the whole body
HARMONICS = 8  # from once to this many times a segment
MOST_JOINTS = 24  # whose distances from each other are used


def describe(sequences: JointSequences, body: Body) -> NDArray[np.float32]:
    """Return one vector a segment, (N, F)."""
    if not len(sequences):
        return np.zeros((0, 0), dtype=np.float32)
    return torch.cat([part.flatten(1) for part in _parts(sequences, body)], dim=1).float().numpy()


def _parts(sequences: JointSequences, body: Body) -> Iterator[Tensor]:
    positions = sequences.joints[..., :-1]  # (N, T, K, D)
    middle, relative = positions[:, :, list(body.root)].mean(dim=2), from_middle(positions, body)
    speed, relative_speed = speeds(positions, sequences.pace), speeds(relative, sequences.pace)
    yield interval_means(relative, INTERVALS)
    yield interval_means(speed, INTERVALS)
    yield interval_means(middle, COARSE_INTERVALS)
    yield middle[:, -1] - middle[:, 0]
    moving = (relative, speed, middle, speeds(middle, sequences.pace), _length(speed), _length(relative_speed))
    for values in (*moving, _bone_directions(positions, body), _distances(positions)):
        yield statistics_over_time(values)
    yield harmonics(relative)


def interval_means(values: Tensor, count: int) -> Tensor:
    """Return the mean over each of `count` equal intervals of time: (N, T, ...) -> (N, count, ...)."""
    ends = np.linspace(0, values.shape[1], count + 1)
    spans = [(int(np.floor(start)), max(int(np.ceil(end)), int(np.floor(start)) + 1)) for start, end in pairwise(ends)]
    return torch.stack([values[:, start:end].mean(dim=1) for start, end in spans], dim=1)


def statistics_over_time(values: Tensor) -> Tensor:
    """Return mean, standard deviation, minimum, quartiles and maximum over time: (N, T, ...) -> (N, 6, F)."""
    flat = values.flatten(2)
    if not flat.numel():
        return flat.new_zeros(len(flat), 6, 0)
    ordered, last = flat.sort(dim=1).values, flat.shape[1] - 1
    quantiles = [ordered[:, round(share * last)] for share in (0.0, 0.25, 0.75, 1.0)]
    return torch.stack([flat.mean(dim=1), flat.std(dim=1, correction=0), *quantiles], dim=1)


def harmonics(values: Tensor) -> Tensor:
    """Return how strongly each value oscillates once, twice ... in a segment, (N, HARMONICS, F)."""
    flat = values.flatten(2)
    amplitudes = torch.fft.rfft(flat - flat.mean(dim=1, keepdim=True), dim=1).abs() / flat.shape[1]
    return torch.nn.functional.pad(amplitudes, (0, 0, 0, max(0, HARMONICS + 1 - amplitudes.shape[1])))[:, 1 : HARMONICS + 1]


def _length(vectors: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return length


def _bone_directions(positions: Tensor, body: Body) -> Tensor:
    return unit_vectors(bones(positions, body)[:, :, body.bones]) if body.bones else positions[:, :, :0]


def _distances(positions: Tensor) -> Tensor:
    """Return the distances between joints, (N, T, pairs); of very many joints a spread-out selection."""
    count = positions.shape[2]
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_JOINTS)).round().astype(int))
    one, other = np.triu_indices(len(chosen), 1)
    return _length(positions[:, :, chosen[one]] - positions[:, :, chosen[other]])
