"""Quotients between methods, round by round, and the goals that they are held against."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.harness.harness import Measurement, Ratio, ratio

__all__ = ["GOALS", "Goal", "method_ratios", "reference_crops", "thread_ratios"]

PREFERRED_CROPS = 4


@dataclass(frozen=True)
class Goal:
    """What a ratio must reach."""

    limit: float
    at_least: bool = True

    def met(self, value: float) -> bool:
        """Whether ``value`` is good enough."""
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
"""For photographs of 6 megapixels and more, 4 crops, one core unless the name says more; those of
chunks for the worst preset measured."""

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
    """The number of crops that ratios are computed at: 4, or the first where 4 is not measured."""
    return PREFERRED_CROPS if PREFERRED_CROPS in crop_counts else crop_counts[0]


def method_ratios(measured: Iterable[Measurement], peers: Iterable[str] = ()) -> dict[str, Ratio]:
    """``window_over_recipe`` and so on, as far as both were measured, all in one cell."""
    by_method = {measurement.task.method: measurement for measurement in measured}
    pairs = [*PAIRS, *(("window", peer) for peer in peers)]
    return {
        f"{above}_over_{below}": ratio(by_method[above], by_method[below])
        for above, below in pairs
        if above in by_method and below in by_method
    }


def thread_ratios(measured: Iterable[Measurement], method: str) -> dict[str, Ratio]:
    """``speedup_2_threads`` and so on: ``method`` with that many threads over one."""
    by_threads = {m.task.threads: m for m in measured if m.task.method == method}
    if 1 not in by_threads:
        return {}
    return {
        f"speedup_{threads}_threads": ratio(measurement, by_threads[1])
        for threads, measurement in sorted(by_threads.items())
        if threads > 1
    }
