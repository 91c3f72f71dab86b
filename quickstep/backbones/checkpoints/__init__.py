"""Weights from files and hubs, loaded strictly."""
