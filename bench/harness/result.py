"""A measurement as a row of the document that a bench prints, and what its rates must satisfy."""

from collections.abc import Mapping
from typing import Any

from bench.harness.harness import Measurement, Ratio

__all__ = ["check_rates", "ratio_fields", "row_of"]


def row_of(bench: str, measurement: Measurement, megapixels: float, **more: Any) -> dict[str, Any]:
    """A measurement as a row; ``more`` are further fields, as is what the method itself reports."""
    task, report = measurement.task, dict(measurement.report)
    row = {
        "bench": bench,
        "method": task.method,
        "num_crops": task.num_crops,
        "megapixels": round(megapixels, 2),
        "threads": task.threads,
        "images_per_s": _rounded(measurement.median),
        "spread": [_rounded(f(measurement.images_per_s)) for f in (min, max)],
        "bytes_read_per_image": round(report.pop("bytes_read_per_image")),
        "cpu_s_per_image": _rounded(measurement.cpu_s / measurement.images),
        "peak_rss_mib": round(measurement.peak_rss_mib, 1),
        "rounds": len(measurement.images_per_s),
        "seconds_per_round": task.seconds_per_round,
    }
    return {**row, **more, **{name: _rounded(value) for name, value in report.items()}}


def ratio_fields(ratios: Mapping[str, Ratio]) -> dict[str, dict[str, Any]]:
    """``ratios`` and ``ratio_ranges`` of the document."""
    return {
        "ratios": {name: _rounded(value.median) for name, value in ratios.items()},
        "ratio_ranges": {name: [_rounded(value.low), _rounded(value.high)] for name, value in ratios.items()},
    }


def check_rates(where: str, row: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` where a figure is below 0, or the median is not within its spread."""
    for name, value in row.items():
        if isinstance(value, int | float) and value < 0:
            raise ValueError(f"{where}.{name} = {value!r} is not a number of at least 0")
    spread = row["spread"]
    if len(spread) != 2 or not spread[0] <= row["images_per_s"] <= spread[1]:
        raise ValueError(f"{where}.spread = {spread!r} does not enclose the median")


def _rounded(value: float) -> float:
    """Four significant digits: more is noise."""
    return float(f"{value:.4g}")
