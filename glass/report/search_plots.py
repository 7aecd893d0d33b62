"""Plots of a search: its history, what mattered, and which settings did well together."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glass.report.plots import GRID, INK, add_legend, as_svg, panel, run_style
from glass.studies.search_records import Trial, Tuning, complete_trials
from shards.files.atomic import write_text_atomic

__all__ = ["save_svg", "search_svgs"]

PAPER_COLOURS = {
    "ink": "#1d2126",
    "grid": "#d4d6d8",
    "run-0": "#1f5fae",
    "run-1": "#c0560a",
    "run-2": "#0d7a6b",
    "run-3": "#7a3fc0",
    "run-4": "#a3264f",
    "run-5": "#5d6b12",
}
"""What the page's variables are in an SVG file of its own."""


def search_svgs(document: Tuning) -> dict[str, str]:
    """Name → inline SVG, of a ``tuning.json``: ``history``, ``importance`` where it is known, and
    ``parallel`` where a trial is complete."""
    complete = complete_trials(document["trials"])
    svgs = {"history": _history(document)}
    if document["importance"]:
        svgs["importance"] = _importance(document["importance"])
    if complete:
        svgs["parallel"] = _parallel(complete, document["metric"])
    return svgs


def save_svg(svg: str, path: Path) -> None:
    """Writes an inline SVG as a file that needs no page around it, on white."""
    text = re.sub(r"var\(--([\w-]+)\)", lambda found: PAPER_COLOURS[found[1]], svg)
    write_text_atomic(path, text.replace("<svg ", '<svg style="background: white" ', 1))


def _history(document: Tuning) -> str:
    from matplotlib.ticker import MaxNLocator

    figure, axes = panel(5.4, 3.6)
    for number, (state, marker) in enumerate((("complete", "o"), ("pruned", "x"))):
        found = [(r["number"], r["value"]) for r in document["trials"] if r["state"] == state]
        rows = [(number, value) for number, value in found if value is not None]
        style = {"color": run_style(number)["color"], "marker": marker, "linestyle": "none"}
        numbers, values = [number for number, _ in rows], [value for _, value in rows]
        if rows:
            axes.plot(numbers, values, markersize=5, label=f"{state}: {len(rows)}", **style)
        if rows and state == "complete":
            best = np.minimum if document["metric"] == "loss" else np.maximum
            axes.step(numbers, best.accumulate(values), where="post", color=INK, linewidth=1, label="best so far")
    axes.set(xlabel="trial", ylabel=f"validation {document['metric']}", title="history")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    add_legend(axes, "best")
    return as_svg(figure, f"History of the search {document['study']}")


def _importance(importance: Mapping[str, float]) -> str:
    figure, axes = panel(5.4, 3.6)
    names = sorted(importance, key=lambda name: importance[name])
    axes.barh(names, [importance[name] for name in names], color=run_style(0)["color"])
    axes.set(xlabel="share of the variance explained (fANOVA)", title="importance")
    return as_svg(figure, "Importance of the settings")


def _parallel(complete: Sequence[tuple[float, Trial]], metric: str) -> str:
    """One line per complete trial over all settings, dark where the metric is good."""
    names = list(complete[0][1]["params"])
    figure, axes = panel(11.0, 3.6)
    order = [row for _, row in sorted(complete, key=lambda found: found[0], reverse=metric == "loss")]
    heights = {name: _heights([row["params"][name] for row in order]) for name in names}
    for place, _ in enumerate(order):
        good = (place + 1) / len(order)
        axes.plot(
            range(len(names)),
            [heights[name][0][place] for name in names],
            color=run_style(0)["color"],
            alpha=0.15 + 0.85 * good**2,
            linewidth=2.4 if good == 1 else 1.1,
        )
    for place, name in enumerate(names):
        axes.axvline(place, color=GRID, linewidth=1)
        low, high = heights[name][1]
        for height, text, above in ((0, low, False), (1, high, True)):
            axes.annotate(
                text,
                (place, height),
                (0, 6 if above else -6),
                textcoords="offset points",
                ha="center",
                va="bottom" if above else "top",
                fontsize=8,
                color=INK,
            )
    axes.set_xticks(range(len(names)), names)
    axes.set(yticks=[], ylim=(-0.18, 1.18), title=f"complete trials, dark: best {metric}")
    return as_svg(figure, "Settings of the complete trials")


def _heights(values: Sequence[Any]) -> tuple[list[float], tuple[str, str]]:
    """Values as heights of 0 … 1, logarithmic where they span a factor of 20, and the end texts."""
    if not all(isinstance(value, int | float) for value in values):
        places = sorted(set(map(str, values)))
        return ([places.index(str(value)) / max(len(places) - 1, 1) for value in values], (places[0], places[-1]))
    low, high = min(values), max(values)
    if high == low:
        return [0.5] * len(values), ("", f"{high:.3g}")
    if low > 0 and high / low > 20:
        span = math.log(high / low)
        heights = [math.log(value / low) / span for value in values]
    else:
        heights = [(value - low) / (high - low) for value in values]
    return heights, (f"{low:.3g}", f"{high:.3g}")
