"""Peak memory against the number of crops: plain and in chunks, with the fitted lines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shards.files.atomic import atomic_path

__all__ = ["plot_memory"]

COLOURS = {"plain": "#d62728", "chunked": "#1f77b4"}
GIB = 1 << 30


def plot_memory(rows: Sequence[Mapping[str, Any]], fits: Sequence[Mapping[str, Any]], output: Path) -> list[Path]:
    """Writes ``memory.png`` and ``memory.svg``, a panel per preset; returns the files."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    presets = list(dict.fromkeys(row["preset"] for row in rows))
    if not presets:
        return []
    figure, axes = pyplot.subplots(
        1, len(presets), figsize=(4.6 * len(presets), 4.0), squeeze=False, layout="constrained"
    )
    for place, preset in zip(axes[0], presets, strict=True):
        for method, colour in COLOURS.items():
            line = [row for row in rows if (row["preset"], row["method"]) == (preset, method)]
            x = [row["num_crops"] for row in line]
            place.plot(x, [row["peak_bytes"] / GIB for row in line], "o", color=colour, label=method)
            for found in fits:
                if (found["preset"], found["method"]) == (preset, method):
                    y = [found["intercept_bytes"] + found["slope_bytes_per_crop"] * n for n in x]
                    place.plot(x, [value / GIB for value in y], "-", color=colour, linewidth=1)
        place.set(title=preset, xlabel="crops per image", ylabel="peak of a step, GiB", ylim=(0, None))
        place.grid(True, alpha=0.3)
        place.legend(frameon=False)
    written = []
    for kind in ("png", "svg"):
        target = output / f"memory.{kind}"
        metadata = {"Date": None} if kind == "svg" else None
        with atomic_path(target) as temporary, matplotlib.rc_context({"svg.hashsalt": "bench"}):
            figure.savefig(temporary, format=kind, dpi=130, metadata=metadata)
        written.append(target)
    pyplot.close(figure)
    return written
