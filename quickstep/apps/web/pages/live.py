"""Live: the camera in the browser, with the move and the skeleton over the picture; pictures that are late are dropped."""

from __future__ import annotations

import os
import threading
import time
from importlib.util import find_spec
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from quickstep.apps.web import html_fragments, model_choice, page_elements, session
from quickstep.apps.web.confidence_words import read, share, some
from quickstep.inference.live import Watcher
from quickstep.models.ensemble import AnyModel
from quickstep.models.predictions import Prediction
from quickstep.signals.poses import PoseEstimator, open_estimator
from quickstep.signals.poses.drawing import write_line
from quickstep.types.errors import QuickstepError

POSE_MODEL = "QUICKSTEP_POSE_MODEL"
_NO_SKELETON = (
    f"No skeleton is drawn: that needs `pip install 'quickstep[pose]'` and the file of a pose model, named by `{POSE_MODEL}` when the app "
    "is started."
)


class Stage:
    """What happens to each picture of one camera; called by the thread of the connection, once for whatever has come."""

    def __init__(self, model: AnyModel, lock: threading.Lock, estimator: PoseEstimator | None) -> None:
        self.watcher = Watcher(model, estimator=estimator, lock=lock)
        self.dropped = 0
        self.took = 0.0  # seconds from a picture's arrival here until it is on its way back

    async def recv_queued(self, frames: list[Any]) -> list[Any]:
        """Only the newest picture counts."""
        self.dropped += len(frames) - 1
        return [self.recv(frames[-1])]

    def recv(self, frame: Any) -> Any:
        """The picture with what is known drawn on it."""
        began = time.monotonic()
        picture: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
        self.watcher.add(picture)
        shown = picture.copy()
        self.watcher.draw(shown)
        _caption(shown, self.watcher.state.prediction)
        self.took = time.monotonic() - began
        return type(frame).from_ndarray(shown, format="rgb24")

    def on_ended(self) -> None:
        """The camera is off; the connection's thread, which serves everybody, does not wait for a look to end."""
        threading.Thread(target=self.watcher.close, name="live-closing", daemon=True).start()


def page() -> None:
    """The page."""
    page_elements.header("Live", "Dance in front of the camera. The picture stays on this connection and is not kept.")
    if find_spec("streamlit_webrtc") is None:
        st.info("The camera needs `pip install 'quickstep[app]'` (streamlit-webrtc).", icon=":material/videocam_off:")
        return
    from streamlit_webrtc import WebRtcMode, webrtc_streamer

    stun = session.started().config.stun
    (opened, lock), estimator = model_choice.opened(), _estimator()
    left, right = st.columns([3, 2], gap="large")
    with left:
        context: Any = webrtc_streamer(
            key=f"live {model_choice.chosen()}",
            mode=WebRtcMode.SENDRECV,
            rtc_configuration={"iceServers": [{"urls": [stun]}] if stun else []},
            media_stream_constraints={"video": {"width": {"ideal": 640}, "height": {"ideal": 480}}, "audio": False},
            video_processor_factory=lambda: Stage(opened, lock, estimator),
            async_processing=True,
            video_html_attrs={"autoPlay": True, "controls": False, "muted": True, "style": {"width": "100%", "borderRadius": "6px"}},
        )
        st.caption("A browser gives its camera only to pages at localhost or behind https.")
        if estimator is None:
            st.caption(_NO_SKELETON)
    with right:
        _told(context)


@st.fragment(run_every=0.5)
def _told(context: Any) -> None:
    """What is danced now, and how far behind that is."""
    stage: Stage | None = context.video_processor if context.state.playing else None
    if stage is None:
        st.html(html_fragments.message("…", "Press START and let the browser use the camera.", kicker="now"))
        return
    now = stage.watcher.state
    if now.problem:
        st.error(now.problem)
    if now.prediction is None:
        st.html(html_fragments.message("watching", f"The model looks at {stage.watcher.window:.1f} s together.", kicker="now"))
        st.progress(now.filled)
        return
    st.html(html_fragments.answer(now.prediction, kicker="now"))
    st.html(html_fragments.bars(now.prediction.top(6), named=read(now.prediction).named))
    bodies = f", skeleton {1000 * now.pose_seconds:.0f} ms" if now.pose_seconds else ""
    st.caption(
        f"latency: label {1000 * now.latency:.0f} ms, picture {1000 * stage.took:.0f} ms{bodies} · "
        f"{some(now.predictions, 'prediction')} at {some(now.pictures, 'picture')}, {stage.dropped} late ones dropped"
    )


def _estimator() -> PoseEstimator | None:
    """What finds skeletons, where it and its model are at hand; nothing is downloaded for it."""
    if find_spec("mediapipe") is None or not os.environ.get(POSE_MODEL):
        return None
    try:
        estimator = open_estimator("mediapipe", people=1, cache=session.cache())
        _ = estimator.identity  # reads the model's file, or says what is wrong with it
    except QuickstepError as error:
        st.warning(str(error), icon=":material/accessibility_new:")
        return None
    return estimator


def _caption(picture: NDArray[np.uint8], prediction: Prediction | None) -> None:
    """The label and its score at the top of the picture."""
    if prediction is None:
        return
    reading = read(prediction)
    text = f"{prediction.label} {share(prediction.score)}" if reading.named else reading.short
    write_line(picture, text if reading.short != "not sure" else f"{text}?")
