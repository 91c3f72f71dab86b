"""Try: drop videos or take a sample; the answer beside the player, how sure it is, which moments decided, and files of it."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st

from quickstep.apps.web import html_fragments, model_choice, page_elements, session, timeline_strip, video_player
from quickstep.apps.web.confidence_words import read, share, some
from quickstep.apps.web.page_elements import Video
from quickstep.inference.attribution import Weighed, weigh
from quickstep.inference.predict import to_json, to_rows
from quickstep.inference.timelines import FORMATS, Span, Timeline, TimelineConfig, timeline
from quickstep.inference.timelines.windows import window_of
from quickstep.models.predictions import Prediction, Predictions
from quickstep.signals.video import probe
from quickstep.types.errors import QuickstepError
from quickstep.types.segment import Failure

TYPES = ["mp4", "mov", "avi", "mkv", "webm", "m4v"]
LONG = 2.5  # windows: a video longer than this has a timeline
SHOWN = 6  # labels


@dataclass(frozen=True, eq=False)
class Seen:
    """What the model says of one video."""

    video: Video
    prediction: Prediction | None
    problem: str = ""


def page() -> None:
    """The page."""
    page_elements.header("What is this move?", "Drop one or more videos and see what the model calls them, and how sure it may be.")
    uploads = st.file_uploader(
        "Videos", type=TYPES, accept_multiple_files=True, label_visibility="collapsed", max_upload_size=session.started().config.max_mb
    )
    videos = page_elements.bring(uploads) or _sample()
    if not videos:
        st.info("There are no samples for this model: drop a video of your own.", icon=":material/upload_file:")
        return
    seen = _all(videos)
    shown = _choose(seen) if len(seen) > 1 else seen[0]
    _show(shown)
    _downloads(seen, shown)


def _sample() -> list[Video]:
    """The sample that was picked; the first one, so that there is something to see at once."""
    videos = {video.name: video for video in page_elements.samples()}
    if not videos:
        return []
    name = st.pills("Or take a sample", list(videos), default=next(iter(videos)), key=f"sample {model_choice.chosen()}")
    return [videos[name]] if name else []


def _all(videos: list[Video]) -> list[Seen]:
    """What the model says of each; those it has not seen yet are looked at with a bar of progress."""
    seen, bar = [], None
    for place, video in enumerate(videos):
        key = f"seen {video.key} {model_choice.stamp()}"
        if key not in st.session_state.get("kept", {}):
            bar = bar or st.progress(0.0)
            bar.progress(place / len(videos), text=f"Looking at {page_elements.plain(video.name)} …")
        seen.append(page_elements.remembered(key, lambda video=video: _look(video), most=2000))  # type: ignore[misc]
    if bar is not None:
        bar.empty()
    return seen


def _look(video: Video) -> Seen:
    try:
        with model_choice.in_turn() as model:
            found = model.predict([video.path], cache=page_elements.store_for(video))
    except QuickstepError as error:
        return Seen(video, None, page_elements.told(error, video))
    if found.failures:
        return Seen(video, None, page_elements.told(found.failures[0].error, video))
    return Seen(video, found.predictions[0])


def _choose(seen: list[Seen]) -> Seen:
    """All answers in a table, and which one is shown."""
    rows = []
    for each in seen:
        if each.prediction is None:
            rows.append((each.video.name, "—", each.problem, ""))
            continue
        reading = read(each.prediction)
        rows.append((each.video.name, each.prediction.label if reading.named else "—", reading.short, share(each.prediction.score)))
    st.html(html_fragments.table(("video", "label", "reading", "score"), rows, numbers=(3,)))
    place = st.selectbox("Show", range(len(seen)), format_func=lambda number: seen[number].video.name)
    return seen[place]


def _show(seen: Seen) -> None:
    video, prediction = seen.video, seen.prediction
    player = f"player-{abs(hash(video.key))}"
    left, right = st.columns([3, 2], gap="large")
    if prediction is None:
        with left:
            video_player.show(video.path, key=player)
        right.error(seen.problem, icon=":material/error:")
        return
    with right:
        found = _timeline(video)
        kicker = "over the whole video" if found is not None else ""
        st.html(html_fragments.answer(prediction, kicker=kicker))
        ranked = prediction.top(len(prediction.labels))
        st.html(html_fragments.bars(ranked[:SHOWN], named=read(prediction).named))
        if len(ranked) > SHOWN:
            with st.expander(f"{some(len(ranked) - SHOWN, 'more label')}"):
                st.html(html_fragments.bars(ranked[SHOWN:], named=False))
        if prediction.damaged:
            st.caption(f"{share(prediction.damaged)} of the moments looked at are damaged; their neighbours stand in.")
    with left:
        video_player.show(video.path, key=player)
        if found is not None:
            timeline_strip.show_timeline(found, player=player, key=f"timeline {player}")
            st.caption("What is danced when; a click jumps there.")
        else:
            _deciding(video, prediction, player)


def _timeline(video: Video) -> Timeline | None:
    """The timeline of a video that is long for the model; None for a short one."""

    def make() -> Timeline | None:
        try:
            with model_choice.in_turn() as model:
                if probe(video.path).duration < LONG * window_of(model.lead, TimelineConfig()):
                    return None
                with page_elements.bar("Looking for what is danced when") as tell:
                    return timeline(model, video.path, cache=page_elements.store_for(video), progress=tell)
        except QuickstepError:  # the prediction's own error is told; without it there is nothing to jump to
            return None

    return page_elements.remembered(f"timeline {video.key} {model_choice.stamp()}", make)


def _deciding(video: Video, prediction: Prediction, player: str) -> None:
    """Which parts of a short video speak for the answer."""

    def make() -> Weighed:
        with model_choice.in_turn() as model:
            return weigh(model, prediction.segment, prediction.label, cache=page_elements.store_for(video))

    with st.spinner("Asking which moments decided …"):
        found = page_elements.remembered(f"weighed {video.key} {model_choice.stamp()}", make)
    strongest = found.strongest
    if strongest is None:
        return
    st.caption(
        f"Which moments decided: the darker, the more a part by itself speaks for “{prediction.label}”; "
        f"most of all {strongest.start:.1f} to {strongest.end:.1f} s. A click jumps there."
    )
    timeline_strip.show_weighed(found, found.parts[-1].end, player=player, key=f"weighed {player}")


# -- files -------------------------------------------------------------------------------------------------------------------


def _downloads(seen: list[Seen], shown: Seen) -> None:
    """The answers as files."""
    found = _renamed(seen)
    if not found.predictions and not found.failures:
        return
    with st.container(horizontal=True):
        st.download_button("CSV", _csv(found), "answers.csv", "text/csv", on_click="ignore", icon=":material/download:")
        st.download_button("JSON", _json(seen, found), "answers.json", "application/json", on_click="ignore", icon=":material/download:")
        if shown.prediction is not None:
            name = f"{Path(shown.video.name).stem}.srt"
            st.download_button(
                "SRT", FORMATS[".srt"](_as_timeline(shown)), name, "text/plain", on_click="ignore", icon=":material/download:"
            )


def _renamed(seen: list[Seen]) -> Predictions:
    """The predictions under the names that people gave their videos."""
    made = [
        replace(each.prediction, segment=replace(each.prediction.segment, path=Path(each.video.name))) for each in seen if each.prediction
    ]
    failed = [
        Failure(page_elements.segment_of(replace(each.video, path=Path(each.video.name))), QuickstepError(each.problem))
        for each in seen
        if each.problem
    ]
    return Predictions(tuple(made), tuple(failed))


def _csv(found: Predictions) -> str:
    rows = to_rows(found)
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0].keys() if rows else ["path"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _json(seen: list[Seen], found: Predictions) -> str:
    """The predictions, and the timelines of long videos."""
    timelines = []
    for each in seen:
        made: Timeline | None = st.session_state["kept"].get(f"timeline {each.video.key} {model_choice.stamp()}")
        if made is not None:
            timelines.append(replace(made, video=Path(each.video.name)).to_json())
    return json.dumps({**to_json(found), **({"timelines": timelines} if timelines else {})}, ensure_ascii=False, indent=1)


def _as_timeline(seen: Seen) -> Timeline:
    """The timeline of a video; of a short one, a single span."""
    made: Timeline | None = st.session_state["kept"].get(f"timeline {seen.video.key} {model_choice.stamp()}")
    if made is not None:
        return made
    assert seen.prediction is not None
    end = probe(seen.video.path).duration
    named = seen.prediction.label if read(seen.prediction).named else None
    span = Span(0.0, end, named, seen.prediction.score, likeliest=seen.prediction.label)
    return Timeline(seen.video.path, end, seen.prediction.labels, (span,), ())
