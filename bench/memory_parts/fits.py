"""Straight lines through peak memory against the number of crops, and the quotients of slopes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.harness.harness import Ratio

__all__ = ["fit", "memory_ratios"]

Rows = Sequence[Mapping[str, Any]]


def fit(rows: Rows) -> list[dict[str, Any]]:
    """Per preset and method with two numbers of crops or more: intercept and slope of the peak in
    bytes, R² (1 where all points are equal), and the numbers of crops."""
    fits = []
    for preset, method in dict.fromkeys((row["preset"], row["method"]) for row in rows):
        line = [row for row in rows if (row["preset"], row["method"]) == (preset, method)]
        crops = np.array([row["num_crops"] for row in line], float)
        peaks = np.array([row["peak_bytes"] for row in line], float)
        if len(set(crops)) < 2:
            continue
        slope, intercept = np.polyfit(crops, peaks, 1)
        spread = float(((peaks - peaks.mean()) ** 2).sum())
        residual = float(((peaks - intercept - slope * crops) ** 2).sum())
        fits.append(
            {
                "preset": preset,
                "method": method,
                "intercept_bytes": float(intercept),
                "slope_bytes_per_crop": float(slope),
                "r_squared": 1.0 - residual / spread if spread else 1.0,
                "crops": [int(number) for number in crops],
            }
        )
    return fits


def memory_ratios(
    rows: Rows, fits: Sequence[Mapping[str, Any]], step_times: Mapping[str, Ratio]
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """(ratios, their ranges over the rounds). The names without a preset are the worst of all
    presets; ``step_times`` are chunked over plain, by ``preset@Ncrops``."""
    ratios: dict[str, float] = {}
    ranges: dict[str, list[float]] = {}
    slopes = {(line["preset"], line["method"]): line["slope_bytes_per_crop"] for line in fits}
    quotients = {
        preset: slope / slopes[preset, "plain"]
        for (preset, method), slope in slopes.items()
        if method == "chunked" and (preset, "plain") in slopes
    }
    if quotients:
        ratios["slope_chunked_over_plain"] = max(quotients.values())
    if step_times:
        worst = max(step_times.values(), key=lambda one: one.median)
        ratios["step_time_chunked_over_plain"] = worst.median
        ranges["step_time_chunked_over_plain"] = [worst.low, worst.high]
    for preset, value in quotients.items():
        ratios[f"slope_chunked_over_plain@{preset}"] = value
    for cell, time in step_times.items():
        ratios[f"step_time_chunked_over_plain@{cell}"] = time.median
        ranges[f"step_time_chunked_over_plain@{cell}"] = [time.low, time.high]
    counts = {
        "kept_by_autograd_over_live_storages": [
            row["kept_by_autograd_bytes"] / row["activations_after_forward_bytes"] for row in rows
        ],
        "process_peak_over_live_storages": [
            row["process_peak_bytes"] / row["peak_bytes"] for row in rows if row["process_peak_bytes"] is not None
        ],
    }
    for name, values in counts.items():
        if values:  # the row that agrees least stands for all
            ratios[name] = max(values, key=lambda value: abs(value - 1))
            ranges[name] = [min(values), max(values)]
    return ratios, ranges
