"""Augmentation: random changes of training windows, and the labels of mirrored segments."""
