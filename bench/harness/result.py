"""Builds the rows and ratios of a bench's JSON document, and defines target values for the ratios."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.harness.harness import Measurement, Ratio, ratio

__all__ = [
    "GOALS",
    "Goal",
    "check_rates",
    "method_ratios",
    "ratio_fields",
    "reference_crops",
    "row_of",
    "thread_ratios",
]

PREFERRED_CROPS = 4


@dataclass(frozen=True)
class Goal:
    """A limit for a ratio: its minimum if ``at_least``, otherwise its maximum."""

    limit: float
    at_least: bool = True

    def met(self, value: float) -> bool:
        """Whether ``value`` is within the limit."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"


GOALS: Mapping[str, Goal] = {
    "window_over_recipe": Goal(200),
    "window_over_dali_full": Goal(25),
    "window_over_precut": Goal(0.65),
    "window_dali_over_precut": Goal(0.5),
    "window_48mp_over_3mp": Goal(0.8),
    "speedup_2_threads": Goal(1.7),
    "entry_points_share_median": Goal(0.03, at_least=False),
    "build_sample_time_over_pillow_decode": Goal(3, at_least=False),
    "slope_chunked_over_plain": Goal(0.05, at_least=False),
    "step_time_chunked_over_plain": Goal(1.35, at_least=False),
}
"""Maps each ratio to its target, for photographs of at least 6 megapixels with 4 crops, on one core unless the name
says otherwise. The two targets for ``…_chunked_over_plain`` apply to the worst of the measured presets."""

PAIRS = (
    ("window", "recipe"),
    ("window", "dali_full"),
    ("window", "dali_roi"),
    ("window", "precut"),
    ("window", "decode_only"),
    ("window", "full"),
    ("window_dali", "precut"),
    ("window_dali", "window"),
    ("auto", "recipe"),
    ("auto", "precut"),
    ("auto", "window"),
    ("auto", "full"),
)


def reference_crops(crop_counts: Sequence[int]) -> int:
    """Returns the number of crops at which ratios are computed: 4 if ``crop_counts`` contains it, otherwise its first
    element."""
    return PREFERRED_CROPS if PREFERRED_CROPS in crop_counts else crop_counts[0]


def method_ratios(measured: Iterable[Measurement], peers: Iterable[str] = ()) -> dict[str, Ratio]:
    """Returns the ratio of images per second for each method pair in :data:`PAIRS`, such as ``window_over_recipe``, and
    for ``window`` over each of ``peers``. Leaves out pairs with a method that is not in ``measured``. All measurements
    must have the same images, crop count and thread count."""
    by_method = {measurement.task.method: measurement for measurement in measured}
    pairs = [*PAIRS, *(("window", peer) for peer in peers)]
    return {
        f"{above}_over_{below}": ratio(by_method[above], by_method[below])
        for above, below in pairs
        if above in by_method and below in by_method
    }


def thread_ratios(measured: Iterable[Measurement], method: str) -> dict[str, Ratio]:
    """Returns the speedups of ``method``, keyed ``speedup_2_threads`` and so on: its images per second with so many
    threads ÷ its images per second with one thread. Empty if there is no measurement with one thread."""
    by_threads = {m.task.threads: m for m in measured if m.task.method == method}
    if 1 not in by_threads:
        return {}
    return {
        f"speedup_{threads}_threads": ratio(measurement, by_threads[1])
        for threads, measurement in sorted(by_threads.items())
        if threads > 1
    }


def row_of(bench: str, measurement: Measurement, megapixels: float, **more: Any) -> dict[str, Any]:
    """Returns the row for a measurement, with the additional fields ``more`` and those that the method itself
    reports."""
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
    """The ratios as the fields ``ratios`` (medians) and ``ratio_ranges`` of the document."""
    return {
        "ratios": {name: _rounded(value.median) for name, value in ratios.items()},
        "ratio_ranges": {name: [_rounded(value.low), _rounded(value.high)] for name, value in ratios.items()},
    }


def check_rates(where: str, row: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` if a figure is negative or the median lies outside its spread. ``where`` identifies the row
    in the message."""
    for name, value in row.items():
        if isinstance(value, int | float) and value < 0:
            raise ValueError(f"{where}.{name} = {value!r} is not a number of at least 0")
    spread = row["spread"]
    if len(spread) != 2 or not spread[0] <= row["images_per_s"] <= spread[1]:
        raise ValueError(f"{where}.spread = {spread!r} does not enclose the median")


def _rounded(value: float) -> float:
    """``value`` rounded to four significant digits, because further digits would be noise."""
    return float(f"{value:.4g}")
