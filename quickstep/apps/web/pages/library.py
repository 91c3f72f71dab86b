"""The page Library: search by text, by an example or by label, play the results, and find duplicate footage."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import streamlit as st

from quickstep.apps.web import page_elements, session, video_player
from quickstep.apps.web.folder_browser import choose_folder
from quickstep.apps.web.formatting import clock, counted, share
from quickstep.apps.web.job_progress import watch
from quickstep.apps.web.jobs import Job, Jobs
from quickstep.backbones import embeds_text
from quickstep.library import Duplicates, Library, Moment, SearchConfig, SearchResult, duplicates, search
from quickstep.storage.files import write_bytes
from quickstep.types.errors import QuickstepError

TYPES = ["mp4", "mov", "avi", "mkv", "webm", "m4v"]
COLUMNS = 3


@st.cache_resource(show_spinner="Opening the library …")
def _open(uri: str) -> tuple[Library, Any]:
    """Return the library and the backbone of its vectors."""
    library = Library.open(uri)
    return library, library.backbone(cache=session.cache())


def page() -> None:
    """Show the page."""
    page_elements.header("Library", "Search many videos by text, by an example, or by the labels that the model predicted.")
    uri = _uri()
    latest = jobs().latest
    if latest is not None and latest.running:
        watch("Making the library:", jobs())
        return
    if latest is not None and latest.status:
        st.error(page_elements.plain(latest.message), icon=":material/error:")
    if uri is None:
        st.info("There is no library yet: make one from videos.", icon=":material/search:")
        _add_videos()
        return
    library, backbone = _open(uri)
    st.caption(f"{counted(_videos(library), 'video')}, {counted(library.count('NOT gone'), 'window')} of {library.card.window:g} s")
    finding, copies, more = st.tabs(["Search", "Duplicates", "Add videos"])
    with finding:
        _search(library, backbone)
    with copies:
        _duplicates(library)
    with more:
        _add_videos()


@st.cache_resource(show_spinner=False)
def jobs() -> Jobs:
    """Return the jobs that add videos to the library."""
    return Jobs()


def _uri() -> str | None:
    """Return the library's address: the one that the app was started with, or the one that was made here; None without one."""
    own = session.started().config.videos / "library"
    return session.started().config.library or (str(own) if own.is_dir() else None)


def _add_videos() -> None:
    """Make or extend the library from dropped videos, or from a folder of the app's machine."""
    ways = ["your computer", "the app's machine"]
    how = st.segmented_control("Videos from", ways, default=ways[0], required=True, key="videos from")
    if how == ways[0]:
        folder_of_videos = (session.started().config.videos / "library-videos").absolute()
        most = session.started().config.max_mb
        uploads = st.file_uploader("Videos", type=TYPES, accept_multiple_files=True, max_upload_size=most, key="for library")
        st.caption(
            f"They are kept in {page_elements.plain(str(folder_of_videos))} of the app's machine, because a library plays its videos."
        )
        if uploads and st.button(f"Add {counted(len(uploads), 'video')}", type="primary", icon=":material/add:"):
            folder_of_videos.mkdir(parents=True, exist_ok=True)
            _index([_keep(upload, folder_of_videos) for upload in uploads])
        return
    folder = choose_folder("library")
    if folder is not None and st.button("Add this folder's videos", type="primary", icon=":material/add:"):
        _index([folder])


def _keep(upload: Any, folder_of_videos: Path) -> Path:
    """Save a dropped video under its own name; the same name with other content gets a number."""
    content, name = upload.getvalue(), page_elements.display_name(upload.name)
    for number in count():
        place = folder_of_videos / (name if number == 0 else f"{Path(name).stem}-{number}{Path(name).suffix}")
        if not place.exists():
            write_bytes(place, content)
            return place
        if place.read_bytes() == content:
            return place
    raise AssertionError("count() does not end")


def _index(videos: list[Path]) -> None:
    """Start the job; a new library gets the backbone of the model in use, whose weights are known to be on this machine."""
    uri, model = _uri(), session.model_folder()
    new = uri is None
    uri = uri or str((session.started().config.videos / "library").absolute())
    cache = ("--cache", str(session.started().cache)) if session.started().cache else ()
    labelled = ("--model", str(model)) if new and model is not None else ()
    backbone = ("--backbone", session.lead().spec.name) if new else ()
    weights = ("--weights", str(session.lead().spec.weights)) if new and session.lead().spec.weights else ()
    command = ["index", uri, *map(str, videos), *backbone, *weights, *labelled, *cache]
    if not jobs().begin(Job(counted(len(videos), "video") if videos[0].is_file() else videos[0].name, [command], Path(uri))):
        st.error("Videos are being added already; wait until that is finished.")
        return
    _open.clear()
    st.rerun()


def _search(library: Library, backbone: Any) -> None:
    text, like = None, None
    ways = [*(["text"] if embeds_text(backbone) else []), "an example", *(["a label"] if _labels(library) else [])]
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    with left:
        how = st.segmented_control("Search by", ways, default=ways[0], required=True, key="search by")
    label = (
        right.selectbox("Only the predicted label", _labels(library), index=None, placeholder="any label", key="label")
        if _labels(library)
        else None
    )
    if how == "text":
        text = st.text_input("Search for", placeholder="she spins on her head", key="text").strip() or None
    elif how == "an example":
        upload = st.file_uploader("A similar video", type=TYPES, max_upload_size=session.started().config.max_mb, key="like")
        like = page_elements.save_example(upload) if upload else None
    elif label is None:
        st.caption("Choose a label.")
    if text is None and like is None and label is None:
        if not embeds_text(backbone):
            st.caption(f"This library was made with {library.card.backbone.name}, which cannot read text: search by example or label.")
        return
    config = SearchConfig(like=str(like.path) if like else None, label=label, top=12)
    key = f"search {library.uri} {text} {like.key if like else ''} {label}"
    with st.spinner("Searching …"):
        result = page_elements.remembered(key, lambda: search(library, text, config, backbone=backbone, cache=session.own_cache()))
    _show_results(result, like.name if like else text or f"label {label}")


def _show_results(result: SearchResult, query: str) -> None:
    """Show the moments, best first, and whether they are good matches."""
    if result.good is False:
        scores = ""
        if result.best is not None and result.threshold:
            scores = f" The best score is {result.best:.2f}; a good match has more than {result.threshold.score:.2f}."
        st.warning(f"No good match for “{query}”.{scores}", icon=":material/search_off:")
    elif result.threshold is None:
        st.caption("The library has too few videos to tell a good match from a bad one.")
    if not result.moments:
        return
    playing_now: Moment | None = st.session_state.get("moment")
    if playing_now in result.moments:
        _play(playing_now)
    for at in range(0, len(result.moments), COLUMNS):
        for column, (place, moment) in zip(st.columns(COLUMNS), enumerate(result.moments[at : at + COLUMNS], start=at), strict=False):
            with column:
                _card(place, moment)


def _card(place: int, moment: Moment) -> None:
    """Show one moment: its thumbnail, its video, and a button that plays it."""
    with st.container(border=True):
        if moment.thumbnail:
            st.html(page_elements.picture(moment.thumbnail, f"{Path(moment.path).name} at {clock(moment.start)}"))
        label = max(moment.names.items(), key=lambda item: item[1], default=None)
        caption = f"{label[0]} {share(label[1])}" if label else f"score {moment.score:.2f}"
        st.markdown(f"**{page_elements.plain(Path(moment.path).name)}**  \n{page_elements.plain(caption)}")
        if st.button(f"{clock(moment.start)} – {clock(moment.end)}", key=f"play {place}", icon=":material/play_arrow:", width="stretch"):
            st.session_state["moment"] = moment
            st.rerun()


def _play(moment: Moment) -> None:
    """Play a moment."""
    st.markdown(f"**{page_elements.plain(Path(moment.path).name)}**, {clock(moment.start)} to {clock(moment.end)}")
    if not Path(moment.path).exists():
        st.info("The file of this video was moved or deleted after it was indexed.", icon=":material/videocam_off:")
        return
    left, _ = st.columns([1, 1])
    with left:
        video_player.show(Path(moment.path), key="player-moment", start=moment.start, end=moment.end, autoplay=True)


def _duplicates(library: Library) -> None:
    """Find the same footage in several videos."""
    st.caption("The same footage in several videos, also re-encoded, cut, cropped or mirrored.")
    key = f"duplicates {library.uri} {library.count()}"
    if st.button("Find duplicates", icon=":material/content_copy:") and key not in st.session_state.get("kept", {}):
        with page_elements.bar("Comparing the videos") as progress:
            page_elements.remembered(key, lambda: duplicates(library, cache=session.cache(), progress=progress))
    result: Duplicates | None = st.session_state.get("kept", {}).get(key)
    if result is None:
        return
    st.markdown(page_elements.plain(f"{result.summary[:1].upper()}{result.summary[1:]}."))
    for number, group in enumerate(result.groups[:20]):
        match = group.matches[0]
        with st.container(border=True):
            for column, path, span in zip(st.columns(2), (match.first, match.second), (match.first_span, match.second_span), strict=True):
                with column:
                    st.markdown(f"**{page_elements.plain(Path(path).name)}**  \n{clock(span[0])} to {clock(span[1])}")
                    if Path(path).exists():
                        video_player.show(Path(path), key=f"player-copy-{number}-{path == match.first:d}", start=span[0], end=span[1])
            st.caption(f"{match.row[5]}, likeness {match.score:.3f}, {counted(len(group.paths), 'video')} in this group")


def _videos(library: Library) -> int:
    count: int = library.count("start = 0 AND NOT gone")
    return count


def _labels(library: Library) -> list[str]:
    """Return the labels that the model predicted for the windows."""

    def make() -> list[str]:
        names: set[str] = set()
        try:
            for batch in library.batches(["names"], "names IS NOT NULL"):
                names |= set(batch["names"].flatten().to_pylist())
        except QuickstepError:
            return []
        return sorted(names)

    return page_elements.remembered(f"labels {library.uri}", make)
