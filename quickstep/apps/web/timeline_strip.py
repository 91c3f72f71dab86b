"""Coloured spans under a player, with a playhead; a click seeks in the browser, without a request to the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import streamlit as st

from quickstep.apps.web.formatting import clock, share
from quickstep.apps.web.theme import HUES
from quickstep.inference.attribution import Attribution
from quickstep.inference.timelines import Timeline

WEAK = "var(--qs-weak)"


@dataclass(frozen=True)
class Block:
    """A span of time as it is drawn."""

    start: float
    end: float
    text: str  # inside, where it fits
    tip: str  # shown under the pointer, and read by screen readers
    colour: str
    strength: float = 1.0  # from 0, pale, to 1


_HTML = '<div class="rows"></div><div class="axis"></div><div class="legend"></div>'

_strip: Any = None


def _mount() -> Any:
    """Return the component; register it when it is first used."""
    global _strip
    if _strip is None:
        folder = files("quickstep.apps.web")
        css, js = (folder.joinpath(f"strip.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
        _strip = st.components.v2.component("quickstep_strip", html=_HTML, css=css, js=js)
    return _strip


@dataclass(frozen=True)
class Row:
    """Blocks beside each other; a low row has no text inside."""

    blocks: Sequence[Block]
    low: bool = False


def show(rows: Sequence[Row], duration: float, *, player: str, key: str, legend: Sequence[tuple[str, str]] = ()) -> None:
    """Draw rows of blocks for the video in the container `player`."""
    plain = [{"low": row.low, "stretches": [vars(block) for block in row.blocks]} for row in rows]
    _mount()(key=key, data={"rows": plain, "duration": max(duration, 0.1), "player": player, "legend": [list(pair) for pair in legend]})


def show_timeline(timeline: Timeline, *, player: str, key: str) -> None:
    """Draw a timeline: a row a person, a colour a label, grey where the model is unsure."""
    colours = {label: HUES[place % len(HUES)] for place, label in enumerate(timeline.labels)}
    rows = []
    for person in timeline.people:
        blocks = []
        for span in timeline.of(person):
            when = f"{clock(span.start)} to {clock(span.end)}"
            text = f"{span.name} ({share(span.score)})" if span.label else f"unsure, perhaps {span.likeliest}"
            blocks.append(Block(span.start, span.end, span.name, f"{text}, {when}", colours.get(span.label or "", WEAK)))
        rows.append(Row(blocks))
    used = [label for label in timeline.labels if any(span.label == label for span in timeline.spans)]
    unsure = [("unsure", WEAK)] if any(span.label is None for span in timeline.spans) else []
    show(rows, timeline.duration, player=player, key=key, legend=[*((label, colours[label]) for label in used), *unsure])


def show_weighed(weighed: Attribution, duration: float, *, player: str, key: str) -> None:
    """Draw the parts of a video: the darker, the higher a part's own score for the label."""
    parts, most = [], max((part.score for part in weighed.parts), default=1.0)
    for part in weighed.parts:
        other = "" if part.label == weighed.label else f"; by itself it is {part.label}"
        tip = f"{clock(part.start)} to {clock(part.end)}: {share(part.score)} {weighed.label}{other}"
        parts.append(Block(part.start, part.end, "", tip, "var(--qs-main)", 0.08 + 0.92 * part.score / max(most, 0.2)))
    show([Row(parts, low=True)], duration, player=player, key=key)
