"""Draws the robustness table as an image, with one row per perturbation and one column per generator.

It shows two metrics per model. As a file, it is a PNG; in a page, it is an inline SVG whose text follows the page's
colour scheme.
"""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from glass.measure.robustness_schema import ContenderResults, Robustness, RobustnessRow
from glass.report.plots import INK, as_svg
from glass.report.tables import interval_text
from shards.cli.command import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["heat_map_png", "heat_map_svg"]

METRICS = (("auroc", "AUROC", 0.5), ("tpr_at_fpr_1", "detected at ≤ 1 % false alarms", 0.0))
"""For each metric shown: (metric, display name, value at which the colour scale begins)."""

ALL = "all"
MAX_GENERATORS = 12
"""Maximum number of generator columns. If there are more generators, those with the lowest AUROC in any row are
shown."""

BLACK_FROM = 0.475
"""Position on the cividis colour map above which black text is more legible than white. At this position, both have a
contrast ratio of 4.5."""
CELL_WIDTH, CELL_HEIGHT = 1.0, 0.4  # inches
LABEL_WIDTH = 2.2
PIXELS_PER_INCH = 110


def heat_map_png(document: Robustness) -> bytes:
    """Returns the robustness table as PNG bytes, with a value and its 95 % interval in every cell."""
    buffer = io.BytesIO()
    _figure(document).savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def heat_map_svg(document: Robustness) -> str:
    """Returns the robustness table as inline SVG, wide enough for legible text; see
    :func:`glass.report.plots.as_svg`.
    """
    figure = _figure(document, INK)
    width = round(figure.get_figwidth() * PIXELS_PER_INCH)
    title = "AUROC and detection at ≤ 1 % false alarms, for each change and generator"
    return as_svg(figure, title, finish=False).replace("<svg ", f'<svg style="width: {width}px; max-width: none" ', 1)


def _figure(document: Robustness, ink: str = "black") -> "Figure":
    from matplotlib.figure import Figure

    columns = [ALL, *_generators(document)]
    panels = [(model, *metric) for model in document["models"] for metric in METRICS]
    rows = document["rows"]
    size = (LABEL_WIDTH + len(panels) * (len(columns) * CELL_WIDTH + 0.3), 1.9 + len(rows) * CELL_HEIGHT)
    figure = Figure(figsize=size, dpi=PIXELS_PER_INCH, layout="constrained")
    for number, (axes, panel) in enumerate(zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True)):
        _panel(axes, rows, columns, *panel, labelled=number == 0, ink=ink)
    samples = rows[0]["models"][next(iter(document["models"]))]["samples"]
    figure.suptitle(
        printable(
            f"{document['dataset']['name']}, {document['split']}: {samples['real']} real, "
            f"{samples['generated']} generated images"
        ),
        parse_math=False,
        color=ink,
    )
    return figure


def _generators(document: Robustness) -> list[str]:
    lowest: dict[str, float] = {}
    for row in document["rows"]:
        for result in row["models"].values():
            for name, values in result["per_generator"]["generators"].items():
                auroc = 1.0 if values["auroc"] is None else values["auroc"]
                lowest[name] = min(lowest.get(name, 1.0), auroc)
    return sorted(sorted(lowest, key=lambda name: lowest[name])[:MAX_GENERATORS])


def _panel(
    axes: "Axes",
    rows: Sequence[RobustnessRow],
    columns: Sequence[str],
    model: str,
    metric: str,
    title: str,
    low: float,
    *,
    labelled: bool,
    ink: str,
) -> None:
    import numpy as np

    cells = [[_cell(row["models"][model], column, metric) for column in columns] for row in rows]
    values = np.array([[np.nan if v is None else v for v, _ in line] for line in cells], float)
    edges = [np.arange(size + 1) - 0.5 for size in reversed(values.shape)]
    axes.pcolormesh(*edges, values, vmin=low, vmax=1.0, cmap="cividis")
    axes.invert_yaxis()
    for y, line in enumerate(cells):
        for x, (value, interval) in enumerate(line):
            if value is None:
                continue
            inner = "black" if (value - low) / (1 - low) > BLACK_FROM else "white"
            axes.text(x, y - 0.12, f"{value:.2f}", ha="center", va="center", color=inner, fontsize=8)
            text = interval_text(value, interval, "{:.2f}".format)
            axes.text(x, y + 0.26, text, ha="center", va="center", color=inner, fontsize=6.5)
    names = [printable(column.replace("_", " ")) for column in columns]
    axes.set_xticks(range(len(columns)), names, rotation=35, ha="left", fontsize=8)
    axes.xaxis.tick_top()
    for label in axes.get_xticklabels():
        label.set_parse_math(False)
    axes.set_yticks(range(len(rows)), [row["title"] for row in rows] if labelled else [])
    axes.tick_params(length=0, labelsize=8, labelcolor=ink)
    axes.set_xlabel(printable(f"{model}: {title}"), fontsize=9, parse_math=False, color=ink)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _cell(result: ContenderResults, column: str, metric: str) -> tuple[float | None, Sequence[float] | None]:
    if column == ALL:
        return result["metrics"][metric], result["intervals"][metric]
    row = result["per_generator"]["generators"].get(column)
    return (None, None) if row is None else (row[metric], row["intervals"].get(metric))
