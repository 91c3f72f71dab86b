"""The runner of a Cog container: it loads one model and classifies one video for each request.

The model is the folder `model/` beside cog.yaml, or the one that QUICKSTEP_MODEL names (a folder, or owner/name on a hub).
"""

from __future__ import annotations

import os

from cog import BaseModel, BaseRunner, Input, Path

from quickstep.models.model import Model
from quickstep.types.errors import QuickstepError
from quickstep.types.segment import Segment


class Answer(BaseModel):
    """The prediction for a video."""

    label: str
    score: float
    confidence: str  # "sure", "not sure" or "uncalibrated"
    labels: list[str]  # the most probable first
    scores: list[float]  # of these labels


class Predictor(BaseRunner):
    """Classifies the move in a video."""

    def setup(self) -> None:
        """Load the model once."""
        self.model = Model.load(os.environ.get("QUICKSTEP_MODEL", "model"))

    def run(
        self,
        video: Path = Input(description="A video: mp4, mov, avi, mkv or webm"),
        start: float = Input(description="Start of the part to classify, in seconds", default=0.0, ge=0.0),
        end: float = Input(description="End of the part to classify, in seconds; 0 for the end of the video", default=0.0, ge=0.0),
        top: int = Input(description="How many labels to return; 0 for all", default=5, ge=0),
    ) -> Answer:
        """Classify the move in one video."""
        predictions = self.model.predict([Segment(video, start=start, end=end or None)])
        if predictions.failures:
            # Cog shows the text of an error to the client: the sentence, without the path in the container.
            raise ValueError(_without_path(predictions.failures[0].error))
        prediction = predictions.predictions[0]
        ranked = prediction.top(top or len(prediction.labels))
        return Answer(
            label=prediction.label,
            score=prediction.score,
            confidence=prediction.confidence,
            labels=[label for label, _ in ranked],
            scores=[score for _, score in ranked],
        )


def _without_path(error: QuickstepError) -> str:
    return f"the video: {str(error).partition(': ')[2] or error}"
