"""Draws plots as inline SVGs in the page's colours, which adapt to light and dark mode.

matplotlib does not support CSS variables. Text, grid lines and the runs' curves are therefore drawn in placeholder
colours, used nowhere else, which are replaced with ``var(--…)`` in the finished SVG. Text is stored as text, not as
outlines.
"""

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from glass.measure.weighted_metrics import NUM_ECE_BINS
from glass.report.sentences import score_word

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from glass.report.run_data import RunData

__all__ = [
    "GRID",
    "INK",
    "NUM_RUN_COLOURS",
    "add_legend",
    "as_svg",
    "end_at_one",
    "panel",
    "reliability_svg",
    "roc_svg",
    "run_style",
    "training_svg",
]

NUM_RUN_COLOURS = 6
INK, GRID = "#010101", "#020202"
RUN_COLOURS = [f"#0300{number:02x}" for number in range(NUM_RUN_COLOURS)]
DASHES: list[Any] = ["-", (0, (6, 2)), (0, (2, 2)), (0, (6, 2, 2, 2))]


def roc_svg(runs: "Sequence[RunData]") -> list[str]:
    """Returns two ROC plots (detection rate against false-alarm rate): one up to 10 % false alarms and one in full."""
    panels = []
    for title, limit in (("up to 10 % false alarms", 0.1), ("all thresholds", 1.0)):
        figure, axes = panel()
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1)
        for number, run in enumerate(runs):
            curve = run.evaluation["roc"]
            if curve is not None:
                axes.plot(curve["fpr"], curve["tpr"], **run_style(number), label=run.name)
        axes.set(
            xlabel="false alarms (share of real images)",
            ylabel="detected (share of generated)",
            xlim=(-0.02 * limit, 1.02 * limit),
            ylim=(-0.02, 1.02),
            title=title,
        )
        # Good curves run along the top, curves near guessing along the bottom of the left panel.
        add_legend(axes, "lower right" if limit == 1.0 else "center right")
        panels.append(as_svg(figure, f"ROC curves, {title}"))
    return panels


def reliability_svg(runs: "Sequence[RunData]") -> list[str]:
    """Returns two plots: the reliability diagram and the score distribution.

    The reliability diagram plots the fraction of generated images against the score; a dot's area is proportional to
    how many images it stands for.
    """
    words = sorted({score_word(run.evaluation.get("calibration")) for run in runs})
    given_as = f"{' or '.join(words)} given"
    (left, curve), (right, spread) = panel(), panel()
    curve.plot([0, 1], [0, 1], color=GRID, linewidth=1)
    for number, run in enumerate(runs):
        bins = run.evaluation["reliability"]
        given = [b["mean_probability"] for b in bins]
        share = [b["share_generated"] for b in bins]
        images = np.array([b["count"] for b in bins])
        style = run_style(number)
        curve.plot(given, share, **style, label=run.name)
        curve.scatter(given, share, s=15 + 300 * images / images.sum(), color=style["color"])
        by_low = {round(b["low"] * NUM_ECE_BINS): b["count"] / images.sum() for b in bins}
        heights = [by_low.get(place, 0) for place in range(NUM_ECE_BINS)]
        edges = np.linspace(0, 1, NUM_ECE_BINS + 1)
        spread.stairs(heights, edges, **style, label=run.name)
    curve.set(
        xlabel=given_as, ylabel="share of generated images", title="reliability", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03)
    )
    spread.set(xlabel=given_as, ylabel="share of images", title="spread of the scores", ylim=(0, None))
    for axes in (curve, spread):
        add_legend(axes, "best")
    return [as_svg(left, "Reliability diagram"), as_svg(right, "Spread of the scores")]


def training_svg(runs: "Sequence[RunData]") -> list[str]:
    """Returns two plots over epochs: loss (training solid, validation dotted), and validation AUROC."""
    from matplotlib.ticker import MaxNLocator

    (left, loss), (right, auroc) = panel(), panel()
    lowest = 1.0
    for number, run in enumerate(runs):
        colour = run_style(number)["color"]
        epochs = [entry["epoch"] for entry in run.epochs]
        for name, dash in (("train_loss", "-"), ("valid_loss", ":")):
            label = f"{run.name}, {'training' if name == 'train_loss' else 'validation'}"
            loss.plot(epochs, _column(run, name), dash, color=colour, marker="o", markersize=2.5, label=label)
        scores = _column(run, "valid_auroc")
        lowest = min([lowest, *(score for score in scores if not np.isnan(score))])
        auroc.plot(epochs, scores, color=colour, marker="o", markersize=3, label=run.name)
        kept = (run.evaluation["model"]["chosen"] or {}).get("epoch")
        if kept is not None and kept in epochs:
            ring = {"color": colour, "marker": "o", "markersize": 11, "fillstyle": "none"}
            auroc.plot(kept, scores[epochs.index(kept)], **ring)
    loss.set(xlabel="epoch", ylabel="loss (nats)", title="loss")
    auroc.set(xlabel="epoch", ylabel="AUROC", title="validation AUROC", ylim=(max(lowest - 0.04, 0), 1))
    end_at_one(auroc, "y")
    for axes in (loss, auroc):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        add_legend(axes, "best")
    return [as_svg(left, "Loss by epoch"), as_svg(right, "Validation AUROC by epoch")]


def _column(run: "RunData", name: str) -> list[float]:
    """Returns a metric's values, one per epoch. Missing values are NaN, which leaves gaps in the plotted line."""
    values = [cast(float | None, entry.get(name)) for entry in run.epochs]
    return [np.nan if value is None else value for value in values]


def run_style(number: int) -> dict[str, Any]:
    """Returns the colour and dash pattern for the run at index ``number``. The dashes tell the runs apart for
    colour-blind readers.
    """
    return {"color": RUN_COLOURS[number % NUM_RUN_COLOURS], "linestyle": DASHES[number % len(DASHES)], "linewidth": 1.8}


def panel(width: float = 4.6, height: float = 3.8) -> "tuple[Figure, Axes]":
    """Returns an empty figure of ``width`` × ``height`` inches, and its axes."""
    # A bare Figure instead of pyplot's: needs no display and no global state.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def end_at_one(axes: "Axes", axis: Literal["x", "y"]) -> None:
    """Makes an axis of a proportion end at 1 if it went beyond. Markers there are drawn whole.

    Must be called after everything has been plotted; nothing may lie beyond the ends of an axis.
    """
    limits = axes.set_xlim if axis == "x" else axes.set_ylim
    low, high = axes.get_xlim() if axis == "x" else axes.get_ylim()
    limits(low, min(high, 1.0))
    for line in axes.lines:
        line.set_clip_on(False)


def add_legend(axes: "Axes", place: str) -> None:
    """Adds a legend at ``place``, unless no curve was drawn, for example because the split has only one class."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc=place)


def _finish(axes: "Axes") -> None:
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9, length=3)
    for part in (axes.xaxis.label, axes.yaxis.label, axes.title):
        part.set_color(INK)
        part.set_fontsize(10)
    for name, spine in axes.spines.items():
        spine.set_color(INK)
        spine.set_visible(name in ("left", "bottom"))
    legend = axes.get_legend()
    if legend is not None:
        _finish_legend(legend)


def _finish_legend(legend: Any) -> None:
    legend.set_frame_on(False)
    for text in (*legend.get_texts(), legend.get_title()):
        text.set_color(INK)
        text.set_fontsize(9)


def as_svg(figure: "Figure", title: str, *, finish: bool = True) -> str:
    """Returns the figure as inline SVG in the page's colours. Screen readers announce ``title``.

    ``finish`` applies the plots' common style for axes, grids and legends.
    """
    import matplotlib

    if finish:
        for axes in figure.axes:
            _finish(axes)
        for legend in figure.legends:
            _finish_legend(legend)
    buffer = io.StringIO()
    # The salt makes ids of clip paths differ between figures, and repeat between runs.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = text.replace("<svg", f'<svg role="img" aria-label="{title}" class="plot"', 1)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 system-ui, sans-serif", text)
    text = text.replace(INK, "var(--ink)").replace(GRID, "var(--grid)")
    for number, colour in enumerate(RUN_COLOURS):
        text = text.replace(colour, f"var(--run-{number})")
    return text
