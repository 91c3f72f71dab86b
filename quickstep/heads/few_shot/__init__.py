"""Heads for a few labels a class."""
