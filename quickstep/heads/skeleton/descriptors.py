"""A segment's joints as one long row of numbers, for trees: where, in which direction, how far apart, how fast, in what rhythm.

Knows neither labels nor trees.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quickstep.heads.skeleton.input_channels import Body, Moves, bones, directions, from_middle, speeds

STRETCHES = 16  # of time, each with its mean
COARSE = 8  # stretches for the way of the whole body
RHYTHMS = 8  # of one to so many times a segment
SOME = 24  # joints, at most, whose distances from each other are told


def described(moves: Moves, body: Body) -> NDArray[np.float32]:
    """One row a segment, (N, F)."""
    if not len(moves):
        return np.zeros((0, 0), dtype=np.float32)
    return torch.cat([part.flatten(1) for part in _parts(moves, body)], dim=1).float().numpy()


def _parts(moves: Moves, body: Body) -> Iterator[Tensor]:
    places = moves.joints[..., :-1]  # (N, T, K, D)
    middle, own = places[:, :, list(body.root)].mean(dim=2), from_middle(places, body)
    speed, own_speed = speeds(places, moves.pace), speeds(own, moves.pace)
    yield stretches(own, STRETCHES)
    yield stretches(speed, STRETCHES)
    yield stretches(middle, COARSE)
    yield middle[:, -1] - middle[:, 0]
    moving = (own, speed, middle, speeds(middle, moves.pace), _length(speed), _length(own_speed))
    for values in (*moving, _directions(places, body), _distances(places)):
        yield spread(values)
    yield rhythms(own)


def stretches(values: Tensor, count: int) -> Tensor:
    """The mean over each of `count` equal stretches of time: (N, T, ...) -> (N, count, ...)."""
    ends = np.linspace(0, values.shape[1], count + 1)
    spans = [(int(np.floor(start)), max(int(np.ceil(end)), int(np.floor(start)) + 1)) for start, end in pairwise(ends)]
    return torch.stack([values[:, start:end].mean(dim=1) for start, end in spans], dim=1)


def spread(values: Tensor) -> Tensor:
    """Mean, deviation, least, most and the quarters over time: (N, T, ...) -> (N, 6, F)."""
    flat = values.flatten(2)
    if not flat.numel():
        return flat.new_zeros(len(flat), 6, 0)
    ordered, last = flat.sort(dim=1).values, flat.shape[1] - 1
    marks = [ordered[:, round(share * last)] for share in (0.0, 0.25, 0.75, 1.0)]
    return torch.stack([flat.mean(dim=1), flat.std(dim=1, correction=0), *marks], dim=1)


def rhythms(values: Tensor) -> Tensor:
    """How strongly each number swings once, twice ... in a segment, (N, RHYTHMS, F)."""
    flat = values.flatten(2)
    swings = torch.fft.rfft(flat - flat.mean(dim=1, keepdim=True), dim=1).abs() / flat.shape[1]
    return torch.nn.functional.pad(swings, (0, 0, 0, max(0, RHYTHMS + 1 - swings.shape[1])))[:, 1 : RHYTHMS + 1]


def _length(vectors: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return length


def _directions(places: Tensor, body: Body) -> Tensor:
    return directions(bones(places, body)[:, :, body.bones]) if body.bones else places[:, :, :0]


def _distances(places: Tensor) -> Tensor:
    """How far joints are from each other, (N, T, pairs); of very many joints some that are spread over all."""
    count = places.shape[2]
    told = np.unique(np.linspace(0, count - 1, min(count, SOME)).round().astype(int))
    one, other = np.triu_indices(len(told), 1)
    return _length(places[:, :, told[one]] - places[:, :, told[other]])
