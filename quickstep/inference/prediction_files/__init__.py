"""Predictions as they are made, and files of them that go on where they stopped.

making   predict_some, predict_as_text, write_predictions
forms    csv and json lines: what is in a file, and what of it still holds
"""

from quickstep.inference.prediction_files.writer import Written, predict_as_text, predict_some, write_predictions

__all__ = ["Written", "predict_as_text", "predict_some", "write_predictions"]
