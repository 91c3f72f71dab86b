"""Engines: libraries that run a network."""
