"""The page Try: classify uploaded videos or samples; show the prediction, its confidence, the decisive parts, and downloads."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import streamlit as st

from quickstep.apps.web import formatting, page_elements, session, video_player
from quickstep.apps.web.formatting import Verdict, clock, counted, share, verdict_on
from quickstep.apps.web.page_elements import Video
from quickstep.apps.web.theme import HUES
from quickstep.inference.predict import Attribution, attribute, to_json, to_rows
from quickstep.inference.timelines import FORMATS, Span, Timeline, TimelineConfig, timeline
from quickstep.inference.timelines.windows import window_length
from quickstep.models.classifier import Prediction, Predictions
from quickstep.signals.video import probe
from quickstep.types.errors import QuickstepError
from quickstep.types.segment import Failure, Segment

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
            text = f"{span.name} ({share(span.score)})" if span.label else f"unsure, perhaps {span.most_probable}"
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


TYPES = ["mp4", "mov", "avi", "mkv", "webm", "m4v"]
LONG = 2.5  # windows: a video longer than this has a timeline
SHOWN = 6  # labels


@dataclass(frozen=True, eq=False)
class Result:
    """One video with its prediction, or with what went wrong."""

    video: Video
    prediction: Prediction | None
    problem: str = ""


def page() -> None:
    """Show the page."""
    page_elements.header("What is this move?", "Choose videos, watch them, then press Predict.")
    page_elements.model_facts()
    uploads = st.file_uploader(
        "Videos", type=TYPES, accept_multiple_files=True, label_visibility="collapsed", max_upload_size=session.started().config.max_mb
    )
    videos = page_elements.save_uploads(uploads) or _sample()
    if not videos:
        st.info("Choose a video: drop it above, or press *Upload*.", icon=":material/upload_file:")
        return
    table, choice = st.empty(), st.empty()
    place = 0
    if len(videos) > 1:
        place = choice.selectbox("Show", range(len(videos)), format_func=lambda number: videos[number].name)
    left, right = st.columns([3, 2], gap="large")
    with left:
        under = _preview(videos[place])
    answer, downloads = right.empty(), st.empty()
    if any(_key(video) not in st.session_state.get("kept", {}) for video in videos):
        table.empty()
        if not _pressed(answer, len(videos)):
            return
    results = _classify_all(videos, answer)
    if len(results) > 1:
        table.html(_overview(results))
    _show(results[place], answer, under)
    with downloads.container():
        _downloads(results, results[place])


def _preview(video: Video) -> Any:
    """Show a video before it is classified; return the place under it."""
    video_player.show(video.path, key=_player(video))
    return st.empty()


def _player(video: Video) -> str:
    return f"player-{abs(hash(video.key))}"


def _pressed(answer: Any, count: int) -> bool:
    """Show the button in the place of the answer; return whether it was pressed."""
    with answer.container():
        text = "Predict" if count == 1 else f"Predict {counted(count, 'video')}"
        return st.button(text, type="primary", icon=":material/play_circle:", shortcut="Enter", width="stretch")


def _sample() -> list[Video]:
    """Return the chosen sample; at first, the first one."""
    videos = {video.name: video for video in page_elements.samples()}
    if not videos:
        return []
    name = st.pills(
        "Or choose a sample", list(videos), default=next(iter(videos)), format_func=page_elements.plain, key=f"sample {session.chosen()}"
    )
    return [videos[name]] if name else []


def _key(video: Video) -> str:
    return f"result {video.key} {session.model_state()}"


def _classify_all(videos: list[Video], answer: Any) -> list[Result]:
    """Classify the videos; show in the place of the answer which one is watched."""
    results = []
    for place, video in enumerate(videos):
        if _key(video) not in st.session_state.get("kept", {}):
            which = "" if len(videos) == 1 else f" ({place + 1} of {len(videos)})"
            answer.progress(place / len(videos), text=f"Watching {page_elements.plain(video.name)}{which} …")
        results.append(page_elements.remembered(_key(video), lambda video=video: _classify(video), most=2000))  # type: ignore[misc]
    return results


def _classify(video: Video) -> Result:
    try:
        with session.locked_model() as model:
            predictions = model.predict([video.path], cache=page_elements.cache_for(video))
    except QuickstepError as error:
        return Result(video, None, page_elements.error_text(error, video))
    if predictions.failures:
        return Result(video, None, page_elements.error_text(predictions.failures[0].error, video))
    return Result(video, predictions.predictions[0])


def _verdict(prediction: Prediction) -> Verdict:
    return verdict_on(prediction, session.started().config.min_confidence)


def _overview(results: list[Result]) -> str:
    """Return all predictions as a table."""
    rows = []
    for result in results:
        if result.prediction is None:
            rows.append((result.video.name, "—", result.problem, ""))
            continue
        label = result.prediction.label
        verdict = _verdict(result.prediction)
        rows.append((result.video.name, label if verdict.named else f"not sure: {label}?", verdict.short, share(result.prediction.score)))
    return formatting.table(("video", "label", "confidence", "score"), rows, numbers=(3,))


def _show(result: Result, answer: Any, under: Any) -> None:
    """Show the answer beside the video, and under it the timeline or the parts that decided."""
    video, prediction = result.video, result.prediction
    if prediction is None:
        answer.error(page_elements.plain(result.problem), icon=":material/error:")
        return
    with answer.container():
        with under.container():
            line = _timeline(video)
        kicker = "over the whole video" if line is not None else ""
        st.html(formatting.answer(prediction, kicker=kicker, min_confidence=session.started().config.min_confidence))
        ranked = prediction.top(len(prediction.labels))
        st.html(formatting.bars(ranked[:SHOWN], named=_verdict(prediction).named))
        if len(ranked) > SHOWN:
            with st.expander(f"{counted(len(ranked) - SHOWN, 'more label')}"):
                st.html(formatting.bars(ranked[SHOWN:], named=False))
        if prediction.damaged:
            st.caption(f"{share(prediction.damaged)} of the frames are damaged; the frames beside them are used instead.")
    with under.container():
        if line is not None:
            show_timeline(line, player=_player(video), key=f"timeline {_player(video)}")
            st.caption("Which move happens when; click to jump there.")
        else:
            _show_decisive_parts(video, prediction, _player(video))


def _timeline(video: Video) -> Timeline | None:
    """Return the timeline of a long video; None for a short one."""

    def make() -> Timeline | None:
        try:
            with session.locked_model() as model:
                if probe(video.path).duration < LONG * window_length(model.lead, TimelineConfig()):
                    return None
                with page_elements.bar("Building the timeline") as progress:
                    return timeline(model, video.path, cache=page_elements.cache_for(video), progress=progress)
        except QuickstepError:  # the page shows the error of the prediction already
            return None

    return page_elements.remembered(f"timeline {video.key} {session.model_state()}", make)


def _show_decisive_parts(video: Video, prediction: Prediction, player: str) -> None:
    """Show which parts of a short video are evidence for the label."""

    def make() -> Attribution:
        with session.locked_model() as model:
            return attribute(model, prediction.segment, prediction.label, cache=page_elements.cache_for(video))

    with st.spinner("Computing which parts decided …"):
        attribution = page_elements.remembered(f"weighed {video.key} {session.model_state()}", make)
    strongest = attribution.strongest
    if strongest is None:
        return
    st.caption(
        f"Which parts decided: the darker a part, the higher its own score for “{prediction.label}”; "
        f"the highest is {strongest.start:.1f} to {strongest.end:.1f} s. Click to jump there."
    )
    show_weighed(attribution, attribution.parts[-1].end, player=player, key=f"weighed {player}")


# -- files -------------------------------------------------------------------------------------------------------------------


def _downloads(results: list[Result], shown: Result) -> None:
    """Offer the predictions as files."""
    predictions = _with_names_of_uploads(results)
    if not predictions.predictions and not predictions.failures:
        return
    with st.container(horizontal=True):
        st.download_button("CSV", _csv(predictions), "predictions.csv", "text/csv", on_click="ignore", icon=":material/download:")
        st.download_button(
            "JSON", _json(results, predictions), "predictions.json", "application/json", on_click="ignore", icon=":material/download:"
        )
        if shown.prediction is not None:
            name = f"{Path(shown.video.name).stem}.srt"
            st.download_button(
                "SRT", FORMATS[".srt"](_as_timeline(shown)), name, "text/plain", on_click="ignore", icon=":material/download:"
            )


def _with_names_of_uploads(results: list[Result]) -> Predictions:
    """Return the predictions with the names of the uploaded files."""
    predictions, failures = [], []
    for result in results:
        name = Path(result.video.name)
        if result.prediction is not None:
            predictions.append(replace(result.prediction, segment=replace(result.prediction.segment, path=name)))
        if result.problem:
            failures.append(Failure(Segment(name), QuickstepError(result.problem)))
    return Predictions(tuple(predictions), tuple(failures))


def _csv(predictions: Predictions) -> str:
    rows = to_rows(predictions)
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0].keys() if rows else ["path"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _json(results: list[Result], predictions: Predictions) -> str:
    """Return the predictions, and the timelines of long videos, as JSON."""
    timelines = []
    for result in results:
        line = _kept_timeline(result)
        if line is not None:
            timelines.append(replace(line, video=Path(result.video.name)).to_json())
    return json.dumps({**to_json(predictions), **({"timelines": timelines} if timelines else {})}, ensure_ascii=False, indent=1)


def _kept_timeline(result: Result) -> Timeline | None:
    """Return the timeline that the page has shown; None for a short video."""
    line: Timeline | None = st.session_state["kept"].get(f"timeline {result.video.key} {session.model_state()}")
    return line


def _as_timeline(result: Result) -> Timeline:
    """Return the timeline of a video; of a short one, a single span."""
    line = _kept_timeline(result)
    if line is not None:
        return line
    assert result.prediction is not None
    end = probe(result.video.path).duration
    label = result.prediction.label if _verdict(result.prediction).named else None
    span = Span(0.0, end, label, result.prediction.score, most_probable=result.prediction.label)
    return Timeline(result.video.path, end, result.prediction.labels, (span,), ())
