"""Histograms of optical flow."""
