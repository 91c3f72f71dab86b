"""Library: find moments by words, by an example or by their label; play them; find footage that is there twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from quickstep.apps.web import page_elements, session, video_player
from quickstep.apps.web.confidence_words import clock, share, some
from quickstep.backbones import embeds_text
from quickstep.library import Duplicates, Library, Moment, SearchConfig, SearchResult, duplicates, search
from quickstep.types.errors import QuickstepError

TYPES = ["mp4", "mov", "avi", "mkv", "webm", "m4v"]
ACROSS = 3


@st.cache_resource(show_spinner="Opening the library …")
def _opened(place: str) -> tuple[Library, Any]:
    """The library and the backbone that made its vectors."""
    library = Library.open(place)
    return library, library.backbone(cache=session.cache())


def page() -> None:
    """The page."""
    page_elements.header("Library", "Find moments in many videos: by words, by an example, by what the model called them.")
    place = session.started().config.library
    if place is None:
        st.info(
            "No library was named. Make one: `quickstep index LIBRARY VIDEOS`, then start with `--library LIBRARY`.",
            icon=":material/search:",
        )
        return
    library, backbone = _opened(place)
    st.caption(f"{some(_videos(library), 'video')}, {some(library.count('NOT gone'), 'window')} of {library.card.window:g} s")
    finding, copies = st.tabs(["Search", "Duplicates"])
    with finding:
        _search(library, backbone)
    with copies:
        _duplicates(library)


def _search(library: Library, backbone: Any) -> None:
    words, like = None, None
    ways = [*(["words"] if embeds_text(backbone) else []), "an example", *(["a label"] if _labels(library) else [])]
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    with left:
        how = st.segmented_control("Search by", ways, default=ways[0], required=True, key="search by")
    label = (
        right.selectbox("Only what the model called", _labels(library), index=None, placeholder="any label", key="label")
        if _labels(library)
        else None
    )
    if how == "words":
        words = st.text_input("What to find", placeholder="she spins on her head", key="words").strip() or None
    elif how == "an example":
        brought = st.file_uploader("A video that looks like it", type=TYPES, max_upload_size=session.started().config.max_mb, key="like")
        like = page_elements.bring_one(brought) if brought else None
    elif label is None:
        st.caption("Choose a label.")
    if words is None and like is None and label is None:
        if not embeds_text(backbone):
            st.caption(
                f"This library was made with {library.card.backbone.name}, which has no text encoder: search by an example or by a label."
            )
        return
    config = SearchConfig(like=str(like.path) if like else None, label=label, top=12)
    key = f"search {library.uri} {words} {like.key if like else ''} {label}"
    with st.spinner("Searching …"):
        found = page_elements.remembered(key, lambda: search(library, words, config, backbone=backbone, cache=session.own_cache()))
    _found(found, like.name if like else words or f"label {label}")


def _found(found: SearchResult, asked: str) -> None:
    """The moments, best first, and what one should know about them."""
    if found.good is False:
        best = (
            ""
            if found.best is None
            else f" The best there is scores {found.best:.2f}; a match would score above {found.threshold.score:.2f}."
            if found.threshold
            else ""
        )
        st.warning(f"No good match for “{asked}”.{best}", icon=":material/search_off:")
    elif found.threshold is None:
        st.caption("There are too few videos here to tell a good match from a bad one.")
    if not found.moments:
        return
    playing_now: Moment | None = st.session_state.get("moment")
    if playing_now in found.moments:
        _play(playing_now)
    for at in range(0, len(found.moments), ACROSS):
        for column, (place, moment) in zip(st.columns(ACROSS), enumerate(found.moments[at : at + ACROSS], start=at), strict=False):
            with column:
                _card(place, moment)


def _card(place: int, moment: Moment) -> None:
    """One moment: its picture, where it is, and a button that plays it."""
    with st.container(border=True):
        if moment.thumbnail:
            st.image(moment.thumbnail, width="stretch")
        named = max(moment.names.items(), key=lambda item: item[1], default=None)
        told = f"{named[0]} {share(named[1])}" if named else f"score {moment.score:.2f}"
        st.markdown(f"**{page_elements.plain(Path(moment.path).name)}**  \n{page_elements.plain(told)}")
        if st.button(f"{clock(moment.start)} – {clock(moment.end)}", key=f"play {place}", icon=":material/play_arrow:", width="stretch"):
            st.session_state["moment"] = moment
            st.rerun()


def _play(moment: Moment) -> None:
    """The moment that was asked for."""
    st.markdown(f"**{page_elements.plain(Path(moment.path).name)}**, {clock(moment.start)} to {clock(moment.end)}")
    if not Path(moment.path).exists():
        st.info("This video is not where it was when the library was made.", icon=":material/videocam_off:")
        return
    left, _ = st.columns([1, 1])
    with left:
        video_player.show(Path(moment.path), key="player-moment", start=moment.start, end=moment.end, autoplay=True)


def _duplicates(library: Library) -> None:
    """Footage that is in several videos."""
    st.caption("The same footage in several videos, also coded again, cut, cropped or mirrored.")
    key = f"duplicates {library.uri} {library.count()}"
    if st.button("Look for duplicates", icon=":material/content_copy:") and key not in st.session_state.get("kept", {}):
        with page_elements.bar("Holding the videos against each other") as tell:
            page_elements.remembered(key, lambda: duplicates(library, cache=session.cache(), progress=tell))
    found: Duplicates | None = st.session_state.get("kept", {}).get(key)
    if found is None:
        return
    st.markdown(page_elements.plain(f"{found.summary[:1].upper()}{found.summary[1:]}."))
    for number, group in enumerate(found.groups[:20]):
        match = group.matches[0]
        with st.container(border=True):
            for column, path, span in zip(st.columns(2), (match.first, match.second), (match.first_span, match.second_span), strict=True):
                with column:
                    st.markdown(f"**{page_elements.plain(Path(path).name)}**  \n{clock(span[0])} to {clock(span[1])}")
                    if Path(path).exists():
                        video_player.show(Path(path), key=f"player-copy-{number}-{path == match.first:d}", start=span[0], end=span[1])
            st.caption(f"{match.row[5]}, likeness {match.score:.3f}, {some(len(group.paths), 'video')} in this group")


def _videos(library: Library) -> int:
    count: int = library.count("start = 0 AND NOT gone")
    return count


def _labels(library: Library) -> list[str]:
    """What the model called the windows."""

    def make() -> list[str]:
        known: set[str] = set()
        try:
            for batch in library.batches(["names"], "names IS NOT NULL"):
                known |= set(batch["names"].flatten().to_pylist())
        except QuickstepError:
            return []
        return sorted(known)

    return page_elements.remembered(f"labels {library.uri}", make)
