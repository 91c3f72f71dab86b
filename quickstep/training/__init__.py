"""Make a model."""
