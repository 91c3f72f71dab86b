"""Heads whose weights are written by text."""
