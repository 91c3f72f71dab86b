"""Heads whose weights come from class descriptions."""
