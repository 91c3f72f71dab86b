"""Spans under a player: coloured stretches of time with a playhead; a click jumps there, in the browser, without asking the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import streamlit as st

from quickstep.apps.web.confidence_words import clock, share
from quickstep.apps.web.theme import HUES
from quickstep.inference.attribution import Weighed
from quickstep.inference.timelines import Timeline

WEAK = "var(--qs-weak)"


@dataclass(frozen=True)
class Stretch:
    """A stretch of time as it is shown."""

    start: float
    end: float
    text: str  # inside, where there is room
    tip: str  # when pointed at, and for who does not see it
    colour: str
    strength: float = 1.0  # from 0, pale, to 1


_HTML = '<div class="rows"></div><div class="axis"></div><div class="legend"></div>'

_strip: Any = None


def _mount() -> Any:
    """The component, registered when it is first shown."""
    global _strip
    if _strip is None:
        home = files("quickstep.apps.web")
        css, js = (home.joinpath(f"strip.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
        _strip = st.components.v2.component("quickstep_strip", html=_HTML, css=css, js=js)
    return _strip


@dataclass(frozen=True)
class Row:
    """Stretches beside each other; a low one has no words inside."""

    stretches: Sequence[Stretch]
    low: bool = False


def show(rows: Sequence[Row], duration: float, *, player: str, key: str, legend: Sequence[tuple[str, str]] = ()) -> None:
    """Draw rows of stretches for the video in the container `player`."""
    plain = [{"low": row.low, "stretches": [vars(stretch) for stretch in row.stretches]} for row in rows]
    _mount()(key=key, data={"rows": plain, "duration": max(duration, 0.1), "player": player, "legend": [list(pair) for pair in legend]})


def show_timeline(found: Timeline, *, player: str, key: str) -> None:
    """A timeline: a row a person, a colour a label, grey where the model is not sure."""
    colours = {label: HUES[place % len(HUES)] for place, label in enumerate(found.labels)}
    rows = []
    for person in found.people:
        stretches = []
        for span in found.of(person):
            when = f"{clock(span.start)} to {clock(span.end)}"
            told = f"{span.name} ({share(span.score)})" if span.label else f"unsure, perhaps {span.likeliest}"
            stretches.append(Stretch(span.start, span.end, span.name, f"{told}, {when}", colours.get(span.label or "", WEAK)))
        rows.append(Row(stretches))
    used = [label for label in found.labels if any(span.label == label for span in found.spans)]
    unsure = [("unsure", WEAK)] if any(span.label is None for span in found.spans) else []
    show(rows, found.duration, player=player, key=key, legend=[*((label, colours[label]) for label in used), *unsure])


def show_weighed(found: Weighed, duration: float, *, player: str, key: str) -> None:
    """How much each part of a video speaks for its label: the darker the more."""
    parts, most = [], max((part.score for part in found.parts), default=1.0)
    for part in found.parts:
        other = "" if part.label == found.label else f"; by itself it would be {part.label}"
        tip = f"{clock(part.start)} to {clock(part.end)}: {share(part.score)} {found.label}{other}"
        parts.append(Stretch(part.start, part.end, "", tip, "var(--qs-main)", 0.08 + 0.92 * part.score / max(most, 0.2)))
    show([Row(parts, low=True)], duration, player=player, key=key)
