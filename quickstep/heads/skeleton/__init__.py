"""Heads over joints."""
