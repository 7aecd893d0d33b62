"""Prints human-readable tables, which precede the JSON document."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench.harness.result import GOALS

__all__ = [
    "new_table",
    "print_about",
    "print_formats",
    "print_image_sets",
    "print_memory",
    "print_ratios",
    "print_rows",
    "print_skipped",
    "print_spanning",
    "print_stages",
    "print_step_times",
    "spanned",
]

WIDTH = 120
WIDE = 130
"""Maximum table width in characters. Tables with many columns need this width, because each cell also shows the range
of its figure."""
WIDEST = 160
MIB = 1 << 20
TEXTS = ("format", "images", "method", "preset", "ratio")
"""Columns that hold text and are therefore left-aligned."""
MEMORY_PARTS = ("weights", "gradients", "optimiser", "activations", "input")


def _console() -> Console:
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(width=WIDTH, highlight=False, markup=False)


def new_table(title: str, *columns: str, padding: int | tuple[int, int] = (0, 1)) -> Table:
    """An empty table. Columns in :data:`TEXTS` are left-aligned, all others right-aligned."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=padding)
    for name in columns:
        table.add_column(name, justify="left" if name in TEXTS else "right", no_wrap=name != "ratio")
    return table


def print_image_sets(image_sets: Sequence[Mapping[str, Any]]) -> None:
    """Prints the image sets that were measured, and how many images were left out and why."""
    for images in image_sets:
        print(
            f"{images['images']}: {images['number']} images, mean {images['megapixels']} "
            f"megapixels, {images['bits_per_pixel']} bits per pixel"
        )
        for reason, number in images["skipped"].items():
            print(f"  left out {number}: {reason}")


def print_rows(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Prints one line per row, and a horizontal rule wherever the images, crop count or thread count changes."""
    figures = ("images/s", "min – max", "kB/image", "CPU ms/image", "peak MiB")
    table = new_table(title, "images", "crops", "threads", "method", *figures)
    before = None
    for row in rows:
        cell = (row.get("images", ""), row["megapixels"], row["num_crops"], row["threads"])
        if before not in (None, cell):
            table.add_section()
        before = cell
        table.add_row(
            f"{row.get('images', '')} {row['megapixels']:.1f} MP".strip(),
            str(row["num_crops"]),
            str(row["threads"]),
            row["method"],
            _short(row["images_per_s"]),
            " – ".join(map(_short, row["spread"])),
            f"{row['bytes_read_per_image'] / 1e3:,.0f}",
            f"{row['cpu_s_per_image'] * 1e3:,.2f}",
            f"{row['peak_rss_mib']:,.0f}",
        )
    _console().print(table)


def print_formats(
    rows: Sequence[Mapping[str, Any]],
    methods: Mapping[str, str],
    formats: Mapping[str, str],
    photographs: Mapping[tuple[str, float], int],
) -> None:
    """Prints images per second, with one line for each combination of format and size, and one column per method.

    ``methods`` and ``formats`` map names to labels; ``photographs`` maps (format, megapixels) to the number of
    photographs.
    """
    names = [name for name in methods if any(row["method"] == name for row in rows)]
    titles = [methods[name].replace(", ", ",\n").replace(": ", ":\n") for name in names]
    table = new_table("images/s, medians over alternated rounds", "format", "MP", "files", *titles)
    cells: dict[tuple[str, float], dict[str, str]] = {}
    for row in rows:
        cells.setdefault((row["images"], row["megapixels"]), {})[row["method"]] = _short(row["images_per_s"])
    for (name, megapixels), found in sorted(
        cells.items(), key=lambda cell: (list(formats).index(cell[0][0]), cell[0][1])
    ):
        number = str(photographs[name, megapixels])
        table.add_row(formats[name], f"{megapixels:g}", number, *(found.get(method, "–") for method in names))
    print_spanning(table)


def print_stages(rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints milliseconds per stage of the loader, for rows that have them."""
    stages = sorted({name for row in rows for name in row if name.endswith("_ms")})
    names = [stage.removesuffix("_ms") for stage in stages]
    table = new_table("CPU ms per image, summed over threads", "method", "crops", "threads", "windowed", *names)
    for row in rows:
        table.add_row(
            row["method"],
            str(row["num_crops"]),
            str(row["threads"]),
            f"{row.get('windowed_share', 0):.0%}",
            *(f"{row.get(s, 0):.3f}" for s in stages),
        )
    _console().print(table)


def print_ratios(ratios: Mapping[str, float], ranges: Mapping[str, Sequence[float]], title: str) -> None:
    """Prints one line per ratio, with its target if there is one."""
    if not ratios:
        return
    table = new_table(title, "ratio", "median", "min – max", "goal", "")
    for name, value in ratios.items():
        spread = " – ".join(map(_short, ranges[name])) if name in ranges else ""
        goal = GOALS.get(name)
        verdict = "" if goal is None else "met" if goal.met(value) else "missed"
        table.add_row(name, _short(value), spread, str(goal or ""), verdict)
    _console().print(table)


def print_step_times(rows: Sequence[Mapping[str, Any]], parts: Sequence[str]) -> None:
    """Prints the time taken by a training step and by its parts, and the images per second in training and from the
    loader."""
    title = "times in ms and as a share of a step: medians, below them smallest–largest"
    names = [part.removesuffix("_s").replace("_", " ") for part in parts]
    rates = ("images/s", "of the\nloader", "share")
    table = new_table(title, "preset", "batch", "crops", "step", *names, *rates, padding=0)
    for row in rows:
        shares = ["", *(f"{row[name] / row['step_s']:.0%}" for name in parts)]
        table.add_row(
            row["preset"],
            str(row["batch_size"]),
            str(row["num_crops"]),
            *(
                spanned(row[name], row["ranges"][name], scale=1e3) + f"\n{share}"
                for name, share in zip(("step_s", *parts), shares, strict=True)
            ),
            *(
                spanned(row[name], row["ranges"][name])
                for name in ("images_per_s", "loader_images_per_s", "share_of_loader")
            ),
        )
    print_spanning(table)


def print_memory(rows: Sequence[Mapping[str, Any]], fits: Sequence[Mapping[str, Any]]) -> None:
    """Prints the memory use of training steps, broken down by purpose, and the lines fitted to memory as a function of
    the number of crops."""
    console = Console(width=WIDEST, highlight=False, markup=False)
    title = "peak memory of one training step in MiB (activations include all temporaries)"
    sizes = ("peak", *MEMORY_PARTS, "kept", "process")
    table = new_table(title, "preset", "batch", "crops", "chunk", "precision", *sizes, "s")
    for row in rows:
        counts = [row[f"{name}_bytes"] for name in ("peak", *MEMORY_PARTS, "kept_by_autograd", "process_peak")]
        table.add_row(
            row["preset"],
            str(row["batch_size"]),
            str(row["num_crops"]),
            str(row["crop_chunk"] or "–"),
            row["precision"],
            *("" if size is None else f"{size / MIB:,.0f}" for size in counts),
            "" if row["step_time_s"] is None else f"{row['step_time_s']:.3g}",
        )
    console.print(table)
    for counted in dict.fromkeys(row["counted_by"] for row in rows):
        print(f"counted: {counted}")
    if not fits:
        return
    title = "peak = intercept + slope · crops"
    table = new_table(title, "preset", "method", "intercept MiB", "slope MiB/crop", "R²")
    for fit in fits:
        intercept, slope = fit["intercept_bytes"] / MIB, fit["slope_bytes_per_crop"] / MIB
        table.add_row(fit["preset"], fit["method"], f"{intercept:,.0f}", f"{slope:,.2f}", f"{fit['r_squared']:.4f}")
    console.print(table)


def print_about(methods: Mapping[str, str]) -> None:
    """Prints one line about each method."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column("method")
    table.add_column("about")
    for name, about in methods.items():
        table.add_row(name, about)
    _console().print(table)


def print_skipped(skipped: Mapping[str, str], failed: Mapping[str, str]) -> None:
    """Prints the methods that have no row, and the reason for each."""
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}")
    for name, reason in failed.items():
        print(f"FAILED {name}: {reason}")


def print_spanning(table: Table) -> None:
    """Prints ``table`` as wide as it needs to be, up to :data:`WIDE`."""
    Console(width=WIDE, highlight=False, markup=False).print(table)


def spanned(value: float, span: Sequence[float], scale: float = 1.0) -> str:
    """Formats a two-line table cell: the median, and below it the smallest and the largest value, all multiplied by
    ``scale``."""
    return f"{_short(scale * value)}\n{'–'.join(_short(scale * v) for v in span)}"


def _short(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.3g}" if value >= 0.01 else f"{value:.2g}"
