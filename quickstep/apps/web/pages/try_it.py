"""The page Try: classify uploaded videos or samples; show the prediction, its confidence, the decisive parts, and downloads."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st

from quickstep.apps.web import formatting, page_elements, session, timeline_strip, video_player
from quickstep.apps.web.formatting import counted, share, verdict_on
from quickstep.apps.web.page_elements import Video
from quickstep.inference.attribution import Attribution, attribute
from quickstep.inference.predict import to_json, to_rows
from quickstep.inference.timelines import FORMATS, Span, Timeline, TimelineConfig, timeline
from quickstep.inference.timelines.windows import window_length
from quickstep.models.predictions import Prediction, Predictions
from quickstep.signals.video import probe
from quickstep.types.errors import QuickstepError
from quickstep.types.segment import Failure

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
    page_elements.header("What is this move?", "Upload one or more videos to see their predicted label and its confidence.")
    uploads = st.file_uploader(
        "Videos", type=TYPES, accept_multiple_files=True, label_visibility="collapsed", max_upload_size=session.started().config.max_mb
    )
    videos = page_elements.save_uploads(uploads) or _sample()
    if not videos:
        st.info("This model has no samples: upload a video.", icon=":material/upload_file:")
        return
    seen = _all(videos)
    shown = _choose(seen) if len(seen) > 1 else seen[0]
    _show(shown)
    _downloads(seen, shown)


def _sample() -> list[Video]:
    """Return the chosen sample; at first, the first one."""
    videos = {video.name: video for video in page_elements.samples()}
    if not videos:
        return []
    name = st.pills("Or choose a sample", list(videos), default=next(iter(videos)), key=f"sample {session.chosen()}")
    return [videos[name]] if name else []


def _all(videos: list[Video]) -> list[Result]:
    """Classify the videos; show a progress bar for those that are new."""
    seen, bar = [], None
    for place, video in enumerate(videos):
        key = f"seen {video.key} {session.model_state()}"
        if key not in st.session_state.get("kept", {}):
            bar = bar or st.progress(0.0)
            bar.progress(place / len(videos), text=f"Classifying {page_elements.plain(video.name)} …")
        seen.append(page_elements.remembered(key, lambda video=video: _look(video), most=2000))  # type: ignore[misc]
    if bar is not None:
        bar.empty()
    return seen


def _look(video: Video) -> Result:
    try:
        with session.locked_model() as model:
            found = model.predict([video.path], cache=page_elements.cache_for(video))
    except QuickstepError as error:
        return Result(video, None, page_elements.error_text(error, video))
    if found.failures:
        return Result(video, None, page_elements.error_text(found.failures[0].error, video))
    return Result(video, found.predictions[0])


def _choose(seen: list[Result]) -> Result:
    """Show all predictions in a table, and let the user choose one."""
    rows = []
    for each in seen:
        if each.prediction is None:
            rows.append((each.video.name, "—", each.problem, ""))
            continue
        reading = verdict_on(each.prediction)
        rows.append((each.video.name, each.prediction.label if reading.named else "—", reading.short, share(each.prediction.score)))
    st.html(formatting.table(("video", "label", "confidence", "score"), rows, numbers=(3,)))
    place = st.selectbox("Show", range(len(seen)), format_func=lambda number: seen[number].video.name)
    return seen[place]


def _show(seen: Result) -> None:
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
        st.html(formatting.answer(prediction, kicker=kicker))
        ranked = prediction.top(len(prediction.labels))
        st.html(formatting.bars(ranked[:SHOWN], named=verdict_on(prediction).named))
        if len(ranked) > SHOWN:
            with st.expander(f"{counted(len(ranked) - SHOWN, 'more label')}"):
                st.html(formatting.bars(ranked[SHOWN:], named=False))
        if prediction.damaged:
            st.caption(f"{share(prediction.damaged)} of the frames are damaged; the frames beside them are used instead.")
    with left:
        video_player.show(video.path, key=player)
        if found is not None:
            timeline_strip.show_timeline(found, player=player, key=f"timeline {player}")
            st.caption("Which move happens when; click to jump there.")
        else:
            _deciding(video, prediction, player)


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


def _deciding(video: Video, prediction: Prediction, player: str) -> None:
    """Show which parts of a short video are evidence for the label."""

    def make() -> Attribution:
        with session.locked_model() as model:
            return attribute(model, prediction.segment, prediction.label, cache=page_elements.cache_for(video))

    with st.spinner("Computing which parts decided …"):
        found = page_elements.remembered(f"weighed {video.key} {session.model_state()}", make)
    strongest = found.strongest
    if strongest is None:
        return
    st.caption(
        f"Which parts decided: the darker a part, the higher its own score for “{prediction.label}”; "
        f"the highest is {strongest.start:.1f} to {strongest.end:.1f} s. Click to jump there."
    )
    timeline_strip.show_weighed(found, found.parts[-1].end, player=player, key=f"weighed {player}")


# -- files -------------------------------------------------------------------------------------------------------------------


def _downloads(seen: list[Result], shown: Result) -> None:
    """Offer the predictions as files."""
    found = _renamed(seen)
    if not found.predictions and not found.failures:
        return
    with st.container(horizontal=True):
        st.download_button("CSV", _csv(found), "predictions.csv", "text/csv", on_click="ignore", icon=":material/download:")
        st.download_button(
            "JSON", _json(seen, found), "predictions.json", "application/json", on_click="ignore", icon=":material/download:"
        )
        if shown.prediction is not None:
            name = f"{Path(shown.video.name).stem}.srt"
            st.download_button(
                "SRT", FORMATS[".srt"](_as_timeline(shown)), name, "text/plain", on_click="ignore", icon=":material/download:"
            )


def _renamed(seen: list[Result]) -> Predictions:
    """Return the predictions with the names of the uploaded files."""
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


def _json(seen: list[Result], found: Predictions) -> str:
    """Return the predictions, and the timelines of long videos, as JSON."""
    timelines = []
    for each in seen:
        made: Timeline | None = st.session_state["kept"].get(f"timeline {each.video.key} {session.model_state()}")
        if made is not None:
            timelines.append(replace(made, video=Path(each.video.name)).to_json())
    return json.dumps({**to_json(found), **({"timelines": timelines} if timelines else {})}, ensure_ascii=False, indent=1)


def _as_timeline(seen: Result) -> Timeline:
    """Return the timeline of a video; of a short one, a single span."""
    made: Timeline | None = st.session_state["kept"].get(f"timeline {seen.video.key} {session.model_state()}")
    if made is not None:
        return made
    assert seen.prediction is not None
    end = probe(seen.video.path).duration
    named = seen.prediction.label if verdict_on(seen.prediction).named else None
    span = Span(0.0, end, named, seen.prediction.score, likeliest=seen.prediction.label)
    return Timeline(seen.video.path, end, seen.prediction.labels, (span,), ())
