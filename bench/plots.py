"""Plots of the benches ``decode``, ``memory`` and ``soak``, as PNG and SVG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.corpora.image_sets import SYNTHETIC
from shards.cli.wording import counted
from shards.files.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_formats", "plot_memory", "plot_rows", "plot_soak"]

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
    "kept": ("#e377c2", "x"),
    "tiles": ("#d62728", "o"),
    "baseline": ("#ff7f0e", "^"),
    "pillow": ("#7f7f7f", "o"),
    "opencv": ("#bcbd22", "s"),
    "torchvision": ("#9467bd", "D"),
}
MEMORY_COLOURS = {"plain": "#d62728", "chunked": "#1f77b4"}
GIB = 1 << 30

Rows = Sequence[Mapping[str, Any]]


def plot_rows(rows: Rows, words: Mapping[str, str], output: Path) -> list[Path]:
    """Plots images per second in ``bench decode`` against the number of crops and against megapixels. ``words`` maps
    each method to its label in the legend.

    Writes one figure per thread count and axis, leaving out axes with fewer than two values. Returns the files.
    """
    output.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for threads in sorted({row["threads"] for row in rows}):
        some = [row for row in rows if row["threads"] == threads]
        for axis, fixed in (("num_crops", "megapixels"), ("megapixels", "num_crops")):
            # Photographs of mixed sizes cannot be placed on a size axis.
            fit = [row for row in some if axis == "num_crops" or row["images"] == SYNTHETIC]
            panels = _panels(fit, axis, fixed)
            if panels:
                figure = _draw_rates(panels, axis, fixed, threads, words)
                written += _save(figure, output / f"decode-{axis.replace('_', '-')}-{threads}-threads")
    return written


def _panels(rows: Rows, axis: str, fixed: str) -> dict[Any, Rows]:
    """Groups the rows into panels by their value of ``fixed``. Leaves out panels with fewer than two values of
    ``axis``."""
    panels: dict[Any, Rows] = {}
    for value in sorted({row[fixed] for row in rows}):
        some = [row for row in rows if row[fixed] == value]
        if len({row[axis] for row in some}) > 1:
            panels[value] = some
    return panels


def _draw_rates(panels: Mapping[Any, Rows], axis: str, fixed: str, threads: int, words: Mapping[str, str]) -> "Figure":
    figure = _figure(4.2 * len(panels) + 2.6, 4.4)
    places = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for place, (value, rows) in zip(places, panels.items(), strict=True):
        _draw_panel(place, rows, axis, words)
        of = counted(value, "crop") if fixed == "num_crops" else f"{value:.3g} megapixels"
        place.set_title(of, fontsize=10)
    places[0].set_ylabel(f"images/s, {threads} thread{'s' * (threads > 1)}, median and range")
    handles, labels = places[-1].get_legend_handles_labels()
    ends = [handle.lines[0].get_ydata()[-1] for handle in handles]
    order = sorted(range(len(ends)), key=ends.__getitem__, reverse=True)  # as the lines end beside the legend
    places[-1].legend(
        [handles[at] for at in order],
        [labels[at] for at in order],
        fontsize=8,
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        frameon=False,
    )
    return figure


def plot_formats(rows: Rows, methods: Mapping[str, str], formats: Mapping[str, str], output: Path) -> list[Path]:
    """Plots images per second in ``bench decode --formats`` against megapixels, with a panel per format. ``methods``
    and ``formats`` map the names in the rows to labels.

    Writes ``decode-formats.png`` and ``.svg``. Returns the files.
    """
    names = [name for name in formats if any(row["images"] == name for row in rows)]
    if not names:
        return []
    across = min(3, len(names))
    down = -(-len(names) // across)
    figure = _figure(3.2 * across + 2.2, 2.6 * down + 0.6)
    places = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for place, name in zip(places.flat, names, strict=False):
        _draw_panel(place, [row for row in rows if row["images"] == name], "megapixels", methods)
        place.set_title(formats[name], fontsize=10)
        place.set_xlabel("")
    for number, place in enumerate(places.flat):
        place.tick_params(labelbottom=number + across >= len(names))
        place.set_visible(number < len(names))
    crops, threads = rows[0]["num_crops"], rows[0]["threads"]
    figure.supxlabel("megapixels per image", fontsize=10)
    # On two lines, since one line would be longer than the height of a single row of panels.
    figure.supylabel(f"images/s, {crops} crops, {threads} thread{'s' * (threads > 1)},\nmedian and range", fontsize=10)
    drawn = {
        label: handle for place in places.flat for handle, label in zip(*place.get_legend_handles_labels(), strict=True)
    }
    words = [word for word in methods.values() if word in drawn]
    figure.legend([drawn[word] for word in words], words, fontsize=8, loc="outside right center", frameon=False)
    return _save(figure, output / "decode-formats")


def _draw_panel(place: "Axes", rows: Rows, axis: str, words: Mapping[str, str]) -> None:
    """Draws one line per method. ``words`` maps each method to its label in the legend."""
    for method in dict.fromkeys(row["method"] for row in rows):
        line = sorted((row for row in rows if row["method"] == method), key=lambda row: row[axis])
        x, y = [row[axis] for row in line], [row["images_per_s"] for row in line]
        below = [row["images_per_s"] - row["spread"][0] for row in line]
        above = [row["spread"][1] - row["images_per_s"] for row in line]
        colour, marker = STYLES.get(method, (None, "."))
        place.errorbar(
            x,
            y,
            yerr=[below, above],
            label=words.get(method, method),
            color=colour,
            marker=marker,
            capsize=2,
            markersize=5,
            linewidth=1.3,
        )
    place.set_xscale("log", base=2)
    place.set_yscale("log")
    place.yaxis.set_major_formatter("{x:,.10g}")
    ticks = sorted({row[axis] for row in rows})
    place.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    place.minorticks_off()
    place.set_xlabel("crops per image" if axis == "num_crops" else "megapixels per image")
    place.grid(True, which="major", alpha=0.3)


def plot_memory(rows: Rows, fits: Rows, output: Path) -> list[Path]:
    """Plots the peak memory of a training step against the number of crops, with the fitted lines.

    Writes ``memory.png`` and ``memory.svg`` with a panel per preset. Returns the files.
    """
    presets = list(dict.fromkeys(row["preset"] for row in rows))
    if not presets:
        return []
    figure = _figure(4.6 * len(presets), 4.0)
    for place, preset in zip(figure.subplots(1, len(presets), squeeze=False)[0], presets, strict=True):
        for method, colour in MEMORY_COLOURS.items():
            line = [row for row in rows if (row["preset"], row["method"]) == (preset, method)]
            x = [row["num_crops"] for row in line]
            place.plot(x, [row["peak_bytes"] / GIB for row in line], "o", color=colour, label=method)
            for fit in fits:
                if (fit["preset"], fit["method"]) == (preset, method):
                    y = [(fit["intercept_bytes"] + fit["slope_bytes_per_crop"] * crops) / GIB for crops in x]
                    place.plot(x, y, "-", color=colour, linewidth=1)
        place.set(title=preset, xlabel="crops per image", ylabel="peak of a step, GiB", ylim=(0, None))
        place.grid(True, alpha=0.3)
        place.legend(frameon=False)
    return _save(figure, output / "memory")


def plot_soak(series: Mapping[str, Sequence[float]], output: Path) -> list[Path]:
    """Plots memory, file handles, threads and images per second in ``bench soak`` over time. Writes ``soak.png`` and
    ``soak.svg``, and returns the files."""
    seconds, images = series["time_s"], series["images"]
    spans = zip(seconds, seconds[1:], images, images[1:], strict=False)
    panels: dict[str, Sequence[float]] = {
        "resident memory (MiB)": [value / 2**20 for value in series["rss_bytes"]],
        "file handles": series["handles"],
        "threads": series["threads"],
        "images per second": [(after - before) / max(later - now, 1e-6) for now, later, before, after in spans],
    }
    figure = _figure(10, 6)
    minutes = [second / 60 for second in seconds]
    for place, (title, values) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        place.plot(minutes[-len(values) :], values, linewidth=1)
        place.set(title=title, xlabel="minutes", ylim=(0, 1.1 * max(values, default=1)))
    return _save(figure, output / "soak")


def _figure(width: float, height: float) -> "Figure":
    """An empty figure of the given width and height in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: "Figure", path: Path) -> list[Path]:
    """Writes ``path`` with the suffixes .png and .svg, and returns the files. They contain no date and have fixed ids,
    so drawing an unchanged figure again gives identical files."""
    import matplotlib

    written = []
    for kind in ("png", "svg"):
        target = path.with_name(f"{path.name}.{kind}")
        metadata = {"Date": None} if kind == "svg" else None
        with atomic_path(target) as temporary, matplotlib.rc_context({"svg.hashsalt": "bench"}):
            figure.savefig(temporary, format=kind, dpi=130, metadata=metadata)
        written.append(target)
    return written
