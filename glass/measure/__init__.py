"""From scores to results: metrics with intervals, calibration, robustness."""
