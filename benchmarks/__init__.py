"""Tables of speed and accuracy, as ratios within one run; no tests, and nothing here is part of the package."""
