"""Plots a search: its history, the importance of each setting, and its completed trials' settings."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glass.report.plots import GRID, INK, as_svg, end_at_one, panel, run_style
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
"""Maps the page's CSS variables to the colours that replace them in separate SVG files."""


def search_svgs(document: Tuning) -> dict[str, str]:
    """Plots ``document``, the contents of a ``tuning.json``. Returns a dict that maps plot names to inline SVGs.

    The plots are ``history``; ``importance``, if the importances are known; and ``parallel``, if at least one trial is
    complete.
    """
    complete = complete_trials(document["trials"])
    svgs = {"history": _history(document)}
    if document["importance"]:
        svgs["importance"] = _importance(document["importance"])
    if complete:
        svgs["parallel"] = _parallel(complete, document["metric"], document["settings"].get("space", ()))
    return svgs


def save_svg(svg: str, path: Path) -> None:
    """Writes an inline SVG as a separate file, on a white background."""
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
    axes.set(xlabel="trial", ylabel=_unit(document["metric"]), title="history")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if document["metric"] != "loss":
        end_at_one(axes, "y")
    if axes.lines:
        figure.legend(loc="outside lower center", ncols=3)  # inside, it would hide some trials
    return as_svg(figure, f"History of the search {document['study']}")


def _importance(importance: Mapping[str, float]) -> str:
    figure, axes = panel(5.4, 3.6)
    names = sorted(importance, key=lambda name: importance[name])
    axes.barh(names, [importance[name] for name in names], color=run_style(0)["color"])
    axes.set(xlabel="share of the metric's variance (fANOVA)", title="importance")
    return as_svg(figure, "Importance of the settings")


def _parallel(complete: Sequence[tuple[float, Trial]], metric: str, space: Sequence[Mapping[str, Any]]) -> str:
    """Plots each complete trial as a line across one axis per setting. Better trials are darker.

    Each axis covers the values searched: ranges on a logarithmic scale, options equally spaced.
    """
    names = list(complete[0][1]["params"])
    dimensions = {dimension["name"]: dimension for dimension in space}
    figure, axes = panel(11.0, 3.8)
    order = sorted(complete, key=lambda found: found[0], reverse=metric == "loss")
    scales = [_scale(dimensions.get(name, {}), [row["params"][name] for _, row in order]) for name in names]
    shown = {len(order) - 1: "best", len(order) // 2: "middle", 0: "worst"} if len(order) > 2 else {}
    for place, (value, row) in reversed([*enumerate(order)]):
        good = (place + 1) / len(order)
        axes.plot(
            range(len(names)),
            [scale.height(row["params"][name]) for name, scale in zip(names, scales, strict=True)],
            color=run_style(0)["color"],
            alpha=0.15 + 0.85 * good**2,
            linewidth=2.4 if good == 1 else 1.1,
            label=f"{shown[place]}: {value:.3g}" if place in shown else None,
        )
    for place, scale in enumerate(scales):
        axes.axvline(place, color=GRID, linewidth=1)
        for text, height in scale.marks:
            axes.annotate(text, (place, height), (4, 0), textcoords="offset points", va="center", fontsize=8, color=INK)
    labels = [f"{name}{UNITS.get(name, '')}{scale.kind}" for name, scale in zip(names, scales, strict=True)]
    axes.set_xticks(range(len(names)), labels)
    axes.set(yticks=[], ylim=(-0.06, 1.06), xlim=(-0.2, len(names) - 0.3), title=f"complete trials by {_unit(metric)}")
    if shown:
        figure.legend(loc="outside right upper", title=_unit(metric))
    return as_svg(figure, "Settings of the complete trials")


UNITS = {"batch": "\n(images)", "num_crops": "\n(per image)", "dropout": "\n(rate)"}
"""Maps settings to the units on their axis labels; only those that have a unit."""


def _unit(metric: str) -> str:
    return {"loss": "validation loss (nats)", "auroc": "validation AUROC"}.get(metric, f"validation {metric}")


@dataclass(frozen=True)
class _Scale:
    """One setting's vertical axis. ``height`` maps a value to its height on the axis, 0 … 1."""

    height: Callable[[Any], float]
    marks: list[tuple[str, float]]
    """(text, height) of each tick."""
    kind: str = ""


def _scale(dimension: Mapping[str, Any], values: Sequence[Any]) -> _Scale:
    """Returns the axis for a search-space ``dimension``. If ``dimension`` is empty, the axis spans only ``values``."""
    if "low" in dimension:
        low, high = math.log10(dimension["low"]), math.log10(dimension["high"])
        powers = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
        marks = [(f"1e{power}", (power - low) / (high - low)) for power in powers]
        ends = [(f"{dimension['low']:.3g}", 0.0), (f"{dimension['high']:.3g}", 1.0)]
        return _Scale(lambda value: (math.log10(value) - low) / (high - low), marks or ends, "\n(logarithmic)")
    options = dimension.get("options") or sorted(set(values), key=lambda value: (str(type(value)), value))
    heights = {option: k / (len(options) - 1) if len(options) > 1 else 0.5 for k, option in enumerate(options)}
    return _Scale(lambda value: heights[value], [(_short(option), height) for option, height in heights.items()])


def _short(option: Any) -> str:
    return f"{option:.3g}" if isinstance(option, float) else str(option)
