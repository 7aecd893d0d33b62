"""Images per second against the number of crops, and against the size of the images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.corpora.image_sets import SYNTHETIC
from shards.files.atomic import atomic_path

__all__ = ["plot_rows"]

STYLES = {
    "recipe": ("#7f7f7f", "o"),
    "dali_full": ("#bcbd22", "s"),
    "dali_roi": ("#8c564b", "v"),
    "full": ("#9467bd", "D"),
    "window": ("#d62728", "o"),
    "window_dali": ("#ff7f0e", "^"),
    "auto": ("#e377c2", "x"),
    "precut": ("#2ca02c", "P"),
    "decode_only": ("#17becf", "*"),
}
FORMATS = ("png", "svg")

Rows = Sequence[Mapping[str, Any]]


def plot_rows(rows: Rows, output: Path) -> list[Path]:
    """Writes a figure (PNG and SVG) per number of threads for either axis that has two values or
    more; returns the files."""
    output.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for threads in sorted({row["threads"] for row in rows}):
        some = [row for row in rows if row["threads"] == threads]
        for axis, fixed in (("num_crops", "megapixels"), ("megapixels", "num_crops")):
            # Photographs of mixed sizes have no place on an axis of sizes.
            fit = [row for row in some if axis == "num_crops" or row["images"] == SYNTHETIC]
            panels = _panels(fit, axis, fixed)
            if panels:
                name = f"decode-{axis.replace('_', '-')}-{threads}-threads"
                written += _draw(panels, axis, fixed, threads, output / name)
    return written


def _panels(rows: Rows, axis: str, fixed: str) -> dict[Any, Rows]:
    """Value of ``fixed`` → its rows, where they have at least two values of ``axis``."""
    panels: dict[Any, Rows] = {}
    for value in sorted({row[fixed] for row in rows}):
        some = [row for row in rows if row[fixed] == value]
        if len({row[axis] for row in some}) > 1:
            panels[value] = some
    return panels


def _draw(panels: Mapping[Any, Rows], axis: str, fixed: str, threads: int, path: Path) -> list[Path]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(4.2 * len(panels) + 1.6, 4.4), sharey=True, squeeze=False, layout="constrained"
    )
    for place, (value, rows) in zip(axes[0], panels.items(), strict=True):
        _draw_panel(place, rows, axis)
        unit = "crops" if fixed == "num_crops" else "megapixels"
        place.set_title(f"{value:.3g} {unit}", fontsize=10)
    axes[0][0].set_ylabel(f"images/s, {threads} thread{'s' * (threads > 1)}, median and range")
    axes[0][-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    written = []
    for kind in FORMATS:
        target = path.with_name(f"{path.name}.{kind}")
        # Without a date and with fixed ids, an unchanged figure is an unchanged file.
        metadata = {"Date": None} if kind == "svg" else None
        with atomic_path(target) as temporary, matplotlib.rc_context({"svg.hashsalt": "bench"}):
            figure.savefig(temporary, format=kind, dpi=130, metadata=metadata)
        written.append(target)
    pyplot.close(figure)
    return written


def _draw_panel(place: Any, rows: Rows, axis: str) -> None:
    for method in dict.fromkeys(row["method"] for row in rows):
        line = sorted((row for row in rows if row["method"] == method), key=lambda row: row[axis])
        x, y = [row[axis] for row in line], [row["images_per_s"] for row in line]
        below = [row["images_per_s"] - row["spread"][0] for row in line]
        above = [row["spread"][1] - row["images_per_s"] for row in line]
        colour, marker = STYLES.get(method, (None, "."))
        place.errorbar(
            x, y, yerr=[below, above], label=method, color=colour, marker=marker, capsize=2, markersize=5, linewidth=1.3
        )
    place.set_xscale("log", base=2)
    place.set_yscale("log")
    ticks = sorted({row[axis] for row in rows})
    place.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    place.minorticks_off()
    place.set_xlabel("crops per image" if axis == "num_crops" else "megapixels per image")
    place.grid(True, which="major", alpha=0.3)
