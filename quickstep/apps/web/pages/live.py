"""The page Live: the browser's camera with the predicted label and the skeleton; late frames are dropped."""

from __future__ import annotations

import os
import threading
from importlib.util import find_spec
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from quickstep.apps.web import formatting, page_elements, session
from quickstep.apps.web.formatting import share, verdict_on
from quickstep.inference.live import Watcher
from quickstep.models.classifier import Prediction
from quickstep.models.ensemble import AnyModel
from quickstep.signals.poses import PoseEstimator, open_estimator
from quickstep.signals.poses.drawing import write_line
from quickstep.types.errors import QuickstepError

POSE_MODEL = "QUICKSTEP_POSE_MODEL"
# A portrait picture keeps its shape, and STOP stays on the screen below it.
_VIDEO = {"width": "100%", "maxHeight": "52vh", "objectFit": "contain", "background": "#000", "borderRadius": "6px"}


class Stage:
    """Process the frames of one camera; the connection's thread calls it with all frames that arrived."""

    def __init__(self, model: AnyModel, lock: threading.Lock, estimator: PoseEstimator | None, min_confidence: float | None) -> None:
        self.min_confidence = min_confidence
        self.watcher = Watcher(model, estimator=estimator, lock=lock)

    async def recv_queued(self, frames: list[Any]) -> list[Any]:
        """Process the newest frame and drop the others."""
        return [self.recv(frames[-1])]

    def recv(self, frame: Any) -> Any:
        """Draw the label and the skeleton on a frame."""
        picture: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
        self.watcher.add(picture)
        output = picture.copy()
        self.watcher.draw(output)
        _caption(output, self.watcher.state.prediction, self.min_confidence)
        return type(frame).from_ndarray(output, format="rgb24")

    def on_ended(self) -> None:
        """Close the watcher in a thread of its own, so that the connection's thread does not wait for it."""
        threading.Thread(target=self.watcher.close, name="live-closing", daemon=True).start()


def page() -> None:
    """Show the page."""
    page_elements.header("Live", "Dance in front of the camera. The video is not saved.")
    page_elements.model_facts()
    opened, lock = session.open_chosen()
    show_camera(opened, lock, key=f"live {session.chosen()}", estimator=_estimator())


def show_camera(opened: AnyModel, lock: threading.Lock, *, key: str, estimator: PoseEstimator | None = None) -> None:
    """Show the camera beside what the model sees in it; on a phone the label is above the camera."""
    if find_spec("streamlit_webrtc") is None:
        st.info("The camera needs `pip install 'quickstep[app]'` (streamlit-webrtc).", icon=":material/videocam_off:")
        return
    from streamlit_webrtc import WebRtcMode, webrtc_streamer

    config = session.started().config
    left, right = st.columns([2, 3], gap="large")
    with right:
        context: Any = webrtc_streamer(
            key=key,
            mode=WebRtcMode.SENDRECV,
            rtc_configuration={"iceServers": [{"urls": [config.stun]}] if config.stun else []},
            media_stream_constraints={"video": {"width": {"ideal": 640}, "height": {"ideal": 480}}, "audio": False},
            video_processor_factory=lambda: Stage(opened, lock, estimator, config.min_confidence),
            async_processing=True,
            video_html_attrs={"autoPlay": True, "controls": False, "muted": True, "playsInline": True, "style": _VIDEO},
        )
        st.caption("Browsers allow the camera only for pages at localhost or with https.")
    with left:
        _show_prediction(context)


@st.fragment(run_every=0.5)
def _show_prediction(context: Any) -> None:
    """Show the current prediction."""
    stage: Stage | None = context.video_processor if context.state.playing else None
    if stage is None:
        st.html(formatting.message("…", "Press START and allow the browser to use the camera.", kicker="now"))
        return
    now = stage.watcher.state
    if now.problem:
        st.error(page_elements.plain(now.problem))
    if now.prediction is None:
        st.html(formatting.message("watching", f"The model needs {stage.watcher.window:.1f} s of video for a prediction.", kicker="now"))
        st.progress(now.filled, text="watched so far")
        return
    st.html(formatting.answer(now.prediction, kicker="now", min_confidence=stage.min_confidence))
    st.html(formatting.bars(now.prediction.top(6), named=verdict_on(now.prediction, stage.min_confidence).named))


def _estimator() -> PoseEstimator | None:
    """Open the pose estimator, if it and its model are on this machine; nothing is downloaded."""
    if find_spec("mediapipe") is None or not os.environ.get(POSE_MODEL):
        return None
    try:
        estimator = open_estimator("mediapipe", people=1, cache=session.cache())
        _ = estimator.identity  # reads the model's file, or raises
    except QuickstepError as error:
        st.warning(page_elements.plain(str(error)), icon=":material/accessibility_new:")
        return None
    return estimator


def _caption(picture: NDArray[np.uint8], prediction: Prediction | None, min_confidence: float | None) -> None:
    """Write the label and its score at the top of a frame."""
    if prediction is None:
        return
    judged = verdict_on(prediction, min_confidence)
    text = f"{prediction.label} {share(prediction.score)}"
    write_line(picture, text if judged.named else f"{judged.short}: {text}?")
