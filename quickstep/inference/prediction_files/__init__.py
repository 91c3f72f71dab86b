"""Write predictions to csv and JSON-lines files that can be resumed."""

from quickstep.inference.prediction_files.writer import WrittenPredictions, predict_as_text, predict_batches, write_predictions

__all__ = ["WrittenPredictions", "predict_as_text", "predict_batches", "write_predictions"]
