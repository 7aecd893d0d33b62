"""Scores to metrics: intervals, calibration, robustness."""
