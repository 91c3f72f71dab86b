"""The page Live: the browser's camera with the predicted label and the skeleton; late frames are dropped."""

from __future__ import annotations

import os
import threading
import time
from importlib.util import find_spec
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from quickstep.apps.web import formatting, page_elements, session
from quickstep.apps.web.formatting import counted, share, verdict_on
from quickstep.inference.live import Watcher
from quickstep.models.classifier import Prediction
from quickstep.models.ensemble import AnyModel
from quickstep.signals.poses import PoseEstimator, open_estimator
from quickstep.signals.poses.drawing import write_line
from quickstep.types.errors import QuickstepError

POSE_MODEL = "QUICKSTEP_POSE_MODEL"
_NO_SKELETON = f"To draw skeletons, install `quickstep[pose]` and start the app with `{POSE_MODEL}` set to the file of a pose model."


class Stage:
    """Process the frames of one camera; the connection's thread calls it with all frames that arrived."""

    def __init__(self, model: AnyModel, lock: threading.Lock, estimator: PoseEstimator | None) -> None:
        self.watcher = Watcher(model, estimator=estimator, lock=lock)
        self.dropped = 0
        self.took = 0.0  # seconds from the arrival of a frame until it is sent back

    async def recv_queued(self, frames: list[Any]) -> list[Any]:
        """Process the newest frame and drop the others."""
        self.dropped += len(frames) - 1
        return [self.recv(frames[-1])]

    def recv(self, frame: Any) -> Any:
        """Draw the label and the skeleton on a frame."""
        began = time.monotonic()
        picture: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
        self.watcher.add(picture)
        output = picture.copy()
        self.watcher.draw(output)
        _caption(output, self.watcher.state.prediction)
        self.took = time.monotonic() - began
        return type(frame).from_ndarray(output, format="rgb24")

    def on_ended(self) -> None:
        """Close the watcher in a thread of its own, so that the connection's thread does not wait for it."""
        threading.Thread(target=self.watcher.close, name="live-closing", daemon=True).start()


def page() -> None:
    """Show the page."""
    page_elements.header("Live", "Dance in front of the camera. The video is not saved.")
    if find_spec("streamlit_webrtc") is None:
        st.info("The camera needs `pip install 'quickstep[app]'` (streamlit-webrtc).", icon=":material/videocam_off:")
        return
    from streamlit_webrtc import WebRtcMode, webrtc_streamer

    stun = session.started().config.stun
    (opened, lock), estimator = session.open_chosen(), _estimator()
    left, right = st.columns([3, 2], gap="large")
    with left:
        context: Any = webrtc_streamer(
            key=f"live {session.chosen()}",
            mode=WebRtcMode.SENDRECV,
            rtc_configuration={"iceServers": [{"urls": [stun]}] if stun else []},
            media_stream_constraints={"video": {"width": {"ideal": 640}, "height": {"ideal": 480}}, "audio": False},
            video_processor_factory=lambda: Stage(opened, lock, estimator),
            async_processing=True,
            video_html_attrs={"autoPlay": True, "controls": False, "muted": True, "style": {"width": "100%", "borderRadius": "6px"}},
        )
        st.caption("Browsers allow the camera only for pages at localhost or with https.")
        if estimator is None:
            st.caption(_NO_SKELETON)
    with right:
        _show_prediction(context)


@st.fragment(run_every=0.5)
def _show_prediction(context: Any) -> None:
    """Show the current prediction and its latency."""
    stage: Stage | None = context.video_processor if context.state.playing else None
    if stage is None:
        st.html(formatting.message("…", "Press START and allow the browser to use the camera.", kicker="now"))
        return
    now = stage.watcher.state
    if now.problem:
        st.error(page_elements.plain(now.problem))
    if now.prediction is None:
        st.html(formatting.message("watching", f"The model needs {stage.watcher.window:.1f} s of video for a prediction.", kicker="now"))
        st.progress(now.filled)
        return
    st.html(formatting.answer(now.prediction, kicker="now"))
    st.html(formatting.bars(now.prediction.top(6), named=verdict_on(now.prediction).named))
    pose = f", skeleton {1000 * now.pose_seconds:.0f} ms" if now.pose_seconds else ""
    st.caption(
        f"latency: label {1000 * now.latency:.0f} ms, frame {1000 * stage.took:.0f} ms{pose} · "
        f"{counted(now.predictions, 'prediction')} of {counted(now.pictures, 'frame')}, {stage.dropped} late frames dropped"
    )


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


def _caption(picture: NDArray[np.uint8], prediction: Prediction | None) -> None:
    """Write the label and its score at the top of a frame."""
    if prediction is None:
        return
    judged = verdict_on(prediction)
    text = f"{prediction.label} {share(prediction.score)}" if judged.named else judged.short
    write_line(picture, text if judged.short != "not sure" else f"{text}?")
