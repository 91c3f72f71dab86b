"""Heads for few labelled segments a class."""
