"""Choose a folder, or a list of videos, of the app's machine by browsing the data folders; nothing is typed."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from quickstep.apps.web import page_elements, session

MOST = 500  # entries of a folder that are offered


def choose_folder(key: str, *, with_lists: bool = False) -> Path | None:
    """Let the user open folders and choose one (or a csv, with `with_lists`); return the choice."""
    started = session.started()
    roots = [folder.resolve() for folder in started.data_folders]
    chosen: Path | None = st.session_state.get(f"{key} chosen")
    if chosen is not None:
        _show_choice(key, chosen)
        return chosen
    here: Path = st.session_state.setdefault(f"{key} here", roots[0])
    if len(roots) > 1:
        place = next(number for number, root in enumerate(roots) if here.is_relative_to(root))
        root = st.selectbox("Data folder", roots, index=place, key=f"{key} root")
        if not here.is_relative_to(root):
            here = root
    entries = _entries(here, with_lists=with_lists)
    st.markdown(f"In **{page_elements.plain(str(here))}**")
    label = "Folders and lists" if with_lists else "Folders"
    name = st.selectbox(label, entries, index=None, placeholder="Open a folder …", key=f"{key} {here}", format_func=_shown)
    with st.container(horizontal=True):
        up = st.button("Up", icon=":material/arrow_upward:", disabled=here in roots, key=f"{key} up")
        use = st.button("Use this folder", icon=":material/check:", key=f"{key} use", type="primary")
    if name is not None and name.is_dir():
        st.session_state[f"{key} here"] = started.allowed(str(name))
    elif name is not None or use:
        st.session_state[f"{key} chosen"] = started.allowed(str(name or here))
    elif up:
        st.session_state[f"{key} here"] = here.parent
    else:
        st.session_state[f"{key} here"] = here
        return None
    return st.rerun()


def _show_choice(key: str, chosen: Path) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"Chosen: **{page_elements.plain(str(chosen))}**", width="content")
        if st.button("Choose another", icon=":material/folder_open:", key=f"{key} again"):
            forget_folder(key)
            st.rerun()


def forget_folder(key: str) -> None:
    """Forget the choice; the folder that is open stays open."""
    st.session_state.pop(f"{key} chosen", None)


def _entries(folder: Path, *, with_lists: bool) -> list[Path]:
    """Return the folders in a folder, and the lists of videos; a folder that cannot be read is empty."""
    shown = [path for path in folder.iterdir() if not path.name.startswith(".")]
    folders = sorted(path for path in shown if path.is_dir())
    return [*folders, *(sorted(path for path in shown if path.suffix == ".csv") if with_lists else [])][:MOST]


def _shown(path: Path) -> str:
    return f"{path.name}/" if path.is_dir() else path.name
