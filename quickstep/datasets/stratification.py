"""allot: whole units (groups of segments) shared out over parts so that every class comes near its share in each.

Only counts: knows no segment, no video and no file. Greedy from the largest unit down, then moves and swaps while they help,
from several seeded beginnings; the best is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]
_SWAPS = 200  # kinds up to which every swap is tried; above, a sample
_ROUNDS = 400


@dataclass(frozen=True)
class Unit:
    """What must stay together: how many segments of each class, and the parts it may go to."""

    name: int
    counts: tuple[int, ...]  # (C,)
    parts: tuple[int, ...]


def allot(units: Sequence[Unit], shares: Sequence[float], rng: np.random.Generator) -> dict[int, int]:
    """The part of each unit, by its name; the order of `units` and the generator decide between equals."""
    kinds = list(dict.fromkeys((unit.counts, unit.parts) for unit in units))
    index = {kind: number for number, kind in enumerate(kinds)}
    which = np.array([index[unit.counts, unit.parts] for unit in units])
    plan = _Plan(kinds, which, np.asarray(shares, dtype=np.float64))
    beginnings = 12 if len(units) <= 300 else 3
    tables = [plan.improved(plan.greedy(rng), rng) for _ in range(beginnings)]
    best = min(tables, key=plan.cost)  # (K, P): how many units of each kind go to each part
    chosen: dict[int, int] = {}
    for kind in range(len(kinds)):
        members = rng.permutation(np.flatnonzero(which == kind))
        parts = np.repeat(np.arange(len(shares)), best[kind])
        chosen |= {units[member].name: int(part) for member, part in zip(members, parts, strict=True)}
    return chosen


class _Plan:
    """The cost of a table of kinds by parts, and ways to a cheaper one."""

    def __init__(self, kinds: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], which: NDArray[np.int64], shares: Counts) -> None:
        self.which = which
        self.counts = np.array([counts for counts, _ in kinds], dtype=np.float64)  # (K, C)
        self.allowed = np.zeros((len(kinds), len(shares)), dtype=bool)
        for number, (_, parts) in enumerate(kinds):
            self.allowed[number, list(parts)] = True
        total = np.bincount(which, minlength=len(kinds)) @ self.counts  # (C,)
        self.wanted = shares[:, None] * total[None, :]  # (P, C)
        self.empty = (shares[:, None] > 0) & (total[None, :] > 0)
        # a class that is absent costs more than any imbalance; from train most, then test, then val
        rank = np.array([4.0, 1.0, 2.0]) if len(shares) == 3 and len(set(shares)) > 1 else np.ones(len(shares))
        self.absence = 10.0 * rank * max(1.0, float(total.sum()))

    def part_cost(self, part: int, counts: Counts) -> Counts:
        """What a part with these counts (..., C) costs."""
        wanted = self.wanted[part]
        off = (counts - wanted) ** 2 / np.maximum(wanted, 0.5)
        size = (counts.sum(-1) - wanted.sum()) ** 2 / max(float(wanted.sum()), 0.5)
        absent = ((counts < 0.5) & self.empty[part]).sum(-1) * self.absence[part]
        return np.asarray(off.sum(-1) + size + absent)

    def cost(self, table: NDArray[np.int64]) -> float:
        held = table.T @ self.counts  # (P, C)
        return float(sum(self.part_cost(part, held[part]) for part in range(len(held))))

    def greedy(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Large units first, each to where it costs least."""
        parts = self.allowed.shape[1]
        held = np.zeros((parts, self.counts.shape[1]))
        costs = np.array([float(self.part_cost(part, held[part])) for part in range(parts)])
        table = np.zeros(self.allowed.shape, dtype=np.int64)
        order = rng.permutation(len(self.which))
        sizes = self.counts.sum(1)[self.which[order]]
        bound = (self.allowed[self.which[order]].sum(1) > 1).astype(int)  # what has no choice comes first
        for unit in order[np.lexsort((-sizes, bound))]:
            kind = self.which[unit]
            choices = np.flatnonzero(self.allowed[kind]).tolist()
            after = {part: float(self.part_cost(part, held[part] + self.counts[kind])) for part in choices}
            part = min(choices, key=lambda part: after[part] - costs[part])
            held[part] += self.counts[kind]
            costs[part] = after[part]
            table[kind, part] += 1
        return table

    def improved(self, table: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Moves, then swaps, while either makes it cheaper."""
        for _ in range(_ROUNDS):
            if not (self._move(table) or self._swap(table, rng)):
                break
        return table

    def _move(self, table: NDArray[np.int64]) -> bool:
        held = table.T @ self.counts
        parts = range(len(held))
        now = np.array([float(self.part_cost(part, held[part])) for part in parts])
        less = np.stack([self.part_cost(part, held[part] - self.counts) for part in parts], axis=1) - now  # (K, P)
        more = np.stack([self.part_cost(part, held[part] + self.counts) for part in parts], axis=1) - now
        less[table == 0] = np.inf
        more[~self.allowed] = np.inf
        change = less[:, :, None] + more[:, None, :]  # (K, from, to)
        change[:, np.arange(len(held)), np.arange(len(held))] = np.inf
        kind, source, target = np.unravel_index(int(change.argmin()), change.shape)
        if change[kind, source, target] >= -1e-9:
            return False
        table[kind, source] -= 1
        table[kind, target] += 1
        return True

    def _swap(self, table: NDArray[np.int64], rng: np.random.Generator) -> bool:
        held = table.T @ self.counts
        for source in range(len(held)):
            for target in range(source + 1, len(held)):
                there = _sample(np.flatnonzero((table[:, source] > 0) & self.allowed[:, target]), rng)
                back = _sample(np.flatnonzero((table[:, target] > 0) & self.allowed[:, source]), rng)
                if len(there) and len(back) and self._swap_between(table, held, (source, target), (there, back)):
                    return True
        return False

    def _swap_between(
        self, table: NDArray[np.int64], held: Counts, ends: tuple[int, int], kinds: tuple[NDArray[np.int64], NDArray[np.int64]]
    ) -> bool:
        """Make the best exchange of one unit for another between two parts, if any helps."""
        (source, target), (there, back) = ends, kinds
        step = self.counts[there][:, None, :] - self.counts[back][None, :, :]  # (A, B, C)
        after = self.part_cost(source, held[source] - step) + self.part_cost(target, held[target] + step)
        now = float(self.part_cost(source, held[source]) + self.part_cost(target, held[target]))
        first, second = np.unravel_index(int(after.argmin()), after.shape)
        if after[first, second] >= now - 1e-9:
            return False
        table[there[first], [source, target]] += [-1, 1]
        table[back[second], [source, target]] += [1, -1]
        return True


def _sample(kinds: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    return kinds if len(kinds) <= _SWAPS else rng.choice(kinds, _SWAPS, replace=False)
