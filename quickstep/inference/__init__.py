"""Use a model."""
