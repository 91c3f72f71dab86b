"""The page Review: the most suspicious labels first; confirm, correct or exclude each; then retrain."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from quickstep.apps.web import formatting, page_elements, session, video_player
from quickstep.apps.web.formatting import clock, counted
from quickstep.evaluation.rendering import write_card
from quickstep.models.model_files import check_target
from quickstep.training.label_review import Decision, Journal, Retrained, Suspect, Suspects, journal_for, retrain, suspects
from quickstep.training.label_review.journal import Action
from quickstep.types.errors import QuickstepError

MOST_KEYS = 9  # labels that have a digit of their own


def page() -> None:
    """Show the page."""
    page_elements.header("Review", "The most suspicious labels come first. Each decision is saved at once; the original list is kept.")
    opened = session.model()
    journal = journal_for(session.lead())
    manifest = journal.manifest

    def rank() -> Suspects:
        with session.locked_model() as model, page_elements.bar("Looking for wrong labels") as progress:
            return suspects(model, manifest, cache=session.cache(), progress=progress)

    ranked = page_elements.remembered(f"suspects {session.model_state()}", rank)
    decided = journal.decided
    listed = {journal.span_of(segment) for segment in manifest.segments}
    waiting = [suspect for suspect in ranked.suspects if (span := journal.span_of(suspect.segment)) not in decided and span in listed]
    _show_message()
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    left.progress(
        1 - len(waiting) / max(1, len(ranked.suspects)),
        text=f"{len(ranked.suspects) - len(waiting)} of {counted(len(ranked.suspects), 'segment')} reviewed",
    )
    right.text_input("Your name", key="who", placeholder="for the history")
    if waiting:
        skipped: list[str] = st.session_state.setdefault("skipped", [])
        ordered = sorted(waiting, key=lambda suspect: str(suspect.segment) in skipped)
        _show_segment(journal, ordered[0], opened.labels)
    else:
        st.success("All segments are reviewed.", icon=":material/done_all:")
    if ranked.failures:
        st.caption(
            f"{counted(len(ranked.failures), 'segment')} cannot be read, such as {page_elements.error_text(ranked.failures[0].error)}"
        )
    _history(journal)
    _retrain(journal)


def _show_segment(journal: Journal, suspect: Suspect, labels: tuple[str, ...]) -> None:
    """Show one segment with its label, the model's scores and the possible decisions."""
    segment = suspect.segment
    last = journal.latest().get(journal.span_of(segment))
    last_number = last.number if last is not None else 0
    left, right = st.columns([3, 2], gap="large")
    with left:
        video_player.show(segment.path, key="player-review", start=segment.start, end=segment.end, autoplay=True, loop=True)
        when = "" if segment.end is None else f", {clock(segment.start)} to {clock(segment.end)}"
        name, group = page_elements.plain(segment.path.name), page_elements.plain(segment.group or "no group")
        st.caption(f"{name}{when} · {segment.split or 'no split'} · {group}")
    with right:
        st.html(formatting.message(segment.label or "no label", suspect.reason, kicker="label"))
        st.html(formatting.bars(sorted(zip(suspect.labels, suspect.scores.tolist(), strict=True), key=lambda pair: -pair[1])[:4]))
        with st.container(horizontal=True):
            if segment.label is not None and st.button("Confirm", type="primary", icon=":material/check:", shortcut="Y", key="confirm"):
                _decide(journal, suspect, "confirm", known=last_number)
            if st.button("Exclude", icon=":material/delete:", shortcut="X", key="reject"):
                _decide(journal, suspect, "reject", known=last_number)
            if st.button("Skip", icon=":material/skip_next:", shortcut="S", key="skip"):
                st.session_state["skipped"].append(str(segment))
                st.rerun()
        st.caption("or correct the label:")
        choices = list(dict.fromkeys([*labels, *(other.label for other in journal.manifest.segments if other.label)]))
        with st.container(horizontal=True):
            for place, label in enumerate(choices[:30]):
                key = str(place + 1) if place < MOST_KEYS else None
                if label != segment.label and st.button(page_elements.plain(label), key=f"label {place}", shortcut=key):
                    _decide(journal, suspect, "correct", label, known=last_number)
        with st.form("another", border=False, clear_on_submit=True), st.container(horizontal=True, vertical_alignment="bottom"):
            another = st.text_input("another label", label_visibility="collapsed", placeholder="another label …")
            if st.form_submit_button("Set") and another.strip():
                _decide(journal, suspect, "correct", another, known=last_number)


def _decide(journal: Journal, suspect: Suspect, action: Action, label: str | None = None, *, known: int) -> None:
    try:
        decision = journal.decide(suspect.segment, action, label, by=st.session_state.get("who", "").strip(), known=known)
        st.session_state["message"] = (":material/save:", f"Saved: {suspect.segment.path.name} {decision}")
    except QuickstepError as error:
        st.session_state["message"] = (":material/error:", str(error))
    st.rerun()


def _show_message() -> None:
    """Show the result of the last action."""
    icon, text = st.session_state.pop("message", (None, ""))
    if text:
        st.toast(page_elements.plain(text), icon=icon)


def _history(journal: Journal) -> None:
    """Show the last decisions, and a button to undo."""
    decisions = journal.decisions
    if not decisions:
        return
    latest = journal.latest()
    back = next(
        (decision for decision in reversed(decisions) if decision.action != "restore" and latest[decision.span].number == decision.number),
        None,
    )
    with st.expander(f"{counted(len(decisions), 'decision')} in {journal.history.name}"):
        rows = [
            (decision.at.replace("T", " ")[:16], decision.by or "—", Path(decision.path).name, _what(decision))
            for decision in reversed(decisions[-30:])
        ]
        st.html(formatting.table(("when", "who", "segment", "decision"), rows))
        st.caption(f"The list as it was before the first decision: {journal.original.name}")
    if back is not None and st.button(f"Undo: {page_elements.plain(Path(back.path).name)}", icon=":material/undo:", shortcut="Z"):
        try:
            journal.undo(back, by=st.session_state.get("who", "").strip())
        except QuickstepError as error:
            st.session_state["message"] = (":material/error:", str(error))
        st.rerun()


def _what(decision: Decision) -> str:
    return str(decision).removesuffix(f" by {decision.by}")


# -- retraining --------------------------------------------------------------------------------------------------------------


def _retrain(journal: Journal) -> None:
    """Retrain on the corrected labels, and show what changed."""
    st.subheader("Retrain", anchor=False)
    st.caption("Fit the same kind of model to the corrected list. The features are cached, so it takes seconds.")
    if st.button("Retrain on the corrected labels", icon=":material/model_training:"):
        with session.locked_model() as model, page_elements.bar("Retraining") as progress:
            st.session_state["retrained"] = retrain(model, journal.manifest, cache=session.cache(), progress=progress)
    done: Retrained | None = st.session_state.get("retrained")
    if done is None:
        return
    if done.before is not None and done.after is not None:
        st.html(formatting.intervals([("before", done.before), ("after", done.after)]))
    better = done.change is not None and done.change.interval.low > 0
    tones = ["good" if better and "before" in sentence else "note" for sentence in done.sentences]
    st.html("".join(formatting.verdict(sentence, tone) for sentence, tone in zip(done.sentences, tones, strict=True)))  # type: ignore[arg-type]
    st.caption(f"Retrained in {done.seconds:.1f} s. The lines show 95 % intervals: where they overlap much, the difference may be chance.")
    with st.form("keep", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name", value=f"{session.chosen().rpartition('/')[2].removesuffix('-reviewed')}-reviewed", key="new name")
        if st.form_submit_button("Save and use", icon=":material/save:"):
            _save(done, name.strip())
        if st.form_submit_button("Use without saving"):
            session.use(done.model)
            del st.session_state["retrained"]
            st.rerun()


def _save(done: Retrained, name: str) -> None:
    if not name or Path(name).name != name or name.startswith("."):
        st.error("The name of a model is a plain word, such as dances-reviewed.")
        return
    folder = session.started().config.out / name
    if folder.exists():
        st.error(f"A model {page_elements.plain(name)} exists already; choose another name.")
        return
    check_target(folder)
    done.model.save(folder)
    write_card(done.model, folder)
    del st.session_state["retrained"]
    st.session_state["chosen"] = name
    st.session_state["message"] = (":material/save:", f"Saved as {name}; it is used now")
    st.rerun()
