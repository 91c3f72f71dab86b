"""Looks: skin, hair and clothes of somebody, and how the top is patterned; knows neither bodies nor drawing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quickstep.datasets.synthetic.body import Array

RINGS, SECTORS = 5, 16  # how finely the trunk is divided


@dataclass(frozen=True, eq=False)
class Looks:
    """What somebody wears; colours are RGB in 0..255."""

    skin: Array
    hair: Array
    top: Array
    accent: Array
    trousers: Array
    shoes: Array
    style: str  # of hair
    pattern: str  # of the top
    sleeves: float  # share of the arm that is covered
    hems: float  # share of the leg that is covered
    loose: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Looks:
        """Somebody's clothes."""
        skins = [(238, 196, 165), (205, 155, 120), (160, 110, 78), (110, 72, 50), (225, 178, 140)]
        hairs = [(35, 28, 25), (85, 55, 35), (190, 150, 85), (120, 50, 30), (60, 60, 65), (175, 60, 120)]
        top, accent, trousers, shoes = (_cloth(rng) for _ in range(4))
        if np.abs(top - accent).sum() < 150:
            accent = 255 - top
        return cls(
            np.array(skins[rng.integers(len(skins))], float),
            np.array(hairs[rng.integers(len(hairs))], float),
            top,
            accent,
            trousers * 0.85,
            shoes * 0.5 + 120,
            str(rng.choice(["short", "long", "afro", "cap", "beanie"])),
            str(rng.choice(["plain", "stripes", "logo", "jacket", "halves"])),
            float(rng.choice([0.0, 0.45, 1.0, 1.0])),
            float(rng.choice([0.45, 1.0, 1.0, 1.0])),
            float(rng.uniform(0.95, 1.35)),
        )


def paint(looks: Looks) -> Array:
    """The colour of every patch of the trunk, (RINGS - 1, SECTORS, 3): rings from the hips up, sectors from the front leftwards."""
    patches = np.tile(looks.top, (RINGS - 1, SECTORS, 1))
    patches[0] = looks.top * 0.9
    if looks.pattern == "stripes":
        patches[1] = looks.accent
        patches[3] = looks.accent
    elif looks.pattern == "logo":
        patches[2, [0, 1, -1, -2]] = looks.accent
        patches[1:3, 7:9] = looks.accent
    elif looks.pattern == "jacket":
        patches[:, [0, -1]] = looks.accent
        patches[2, 6:10] = looks.accent * 0.7
    elif looks.pattern == "halves":
        patches[:, :8] = looks.accent
    return patches


def _cloth(rng: np.random.Generator) -> Array:
    """A colour of cloth: any hue, from pale to dark."""
    wheel = np.clip(np.abs((rng.uniform(0, 6) + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    colour: Array = (1 - rng.uniform(0.15, 0.85) * (1 - wheel)) * rng.uniform(70, 235)
    return colour
