"""What a Cog container runs: one model, one video in, its moves named; no training, no store that outlives the container.

The model is the folder `model/` beside cog.yaml, or what QUICKSTEP_MODEL names (a folder, or owner/name on a hub).
"""

from __future__ import annotations

import os

from cog import BaseModel, BaseRunner, Input, Path

from quickstep.models.model import Model
from quickstep.types.errors import QuickstepError
from quickstep.types.segment import Segment


class Named(BaseModel):
    """What is said of a video."""

    label: str
    score: float
    reading: str  # "sure", "not sure", or that it is not known how sure
    labels: list[str]  # the likeliest first
    scores: list[float]  # beside them


class Predictor(BaseRunner):
    """Names the move in a video."""

    def setup(self) -> None:
        """Opens the model once."""
        self.model = Model.load(os.environ.get("QUICKSTEP_MODEL", "model"))

    def run(
        self,
        video: Path = Input(description="A video: mp4, mov, avi, mkv or webm"),
        start: float = Input(description="Seconds from which on it is looked at", default=0.0, ge=0.0),
        end: float = Input(description="Seconds until which it is looked at; 0 for its end", default=0.0, ge=0.0),
        top: int = Input(description="How many labels to return; 0 for all", default=5, ge=0),
    ) -> Named:
        """Names the move in one video."""
        segment = Segment(video, start=start, end=end or None)
        named = self.model.predict([segment])
        if named.failures:
            # Cog shows an error's text to whoever sent the video: the sentence, without the file's name in the container.
            raise ValueError(_told(named.failures[0].error))
        answer = named.predictions[0]
        ranked = answer.top(top or len(answer.labels))
        return Named(
            label=answer.label,
            score=answer.score,
            reading=answer.reading,
            labels=[label for label, _ in ranked],
            scores=[score for _, score in ranked],
        )


def _told(error: QuickstepError) -> str:
    return f"the video {str(error).partition(': ')[2] or error}"
