"""Tables for people, before the JSON document."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench.harness.ratios import GOALS

__all__ = [
    "print_about",
    "print_image_sets",
    "print_ratios",
    "print_rows",
    "print_skipped",
    "print_spanning",
    "print_stages",
    "print_step_times",
    "spanned",
    "spanning_table",
]

WIDTH = 120
WIDE = 130
"""For tables of many figures, each with its range below it."""


def _console() -> Console:
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(width=WIDTH, highlight=False, markup=False)


def print_image_sets(image_sets: Sequence[Mapping[str, Any]]) -> None:
    """What was measured on, and what was left out."""
    for images in image_sets:
        print(
            f"{images['images']}: {images['number']} images, mean {images['megapixels']} "
            f"megapixels, {images['bits_per_pixel']} bits per pixel"
        )
        for reason, number in images["skipped"].items():
            print(f"  left out {number}: {reason}")


def print_rows(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """One line per row, a rule between cells."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("images", no_wrap=True)
    for name in ("crops", "threads"):
        table.add_column(name, justify="right")
    table.add_column("method", no_wrap=True)
    for name in ("images/s", "min – max", "kB/image", "CPU ms/image", "peak MiB"):
        table.add_column(name, justify="right", no_wrap=True)
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


def print_stages(rows: Sequence[Mapping[str, Any]]) -> None:
    """Where the loader's time goes, for rows that say so."""
    stages = sorted({name for row in rows for name in row if name.endswith("_ms")})
    table = Table(title="ms per image, summed over threads", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("method")
    for name in ("crops", "threads", "windowed", *(stage[: -len("_ms")] for stage in stages)):
        table.add_column(name, justify="right")
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
    """One line per ratio, with its goal where there is one."""
    if not ratios:
        return
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("ratio")
    for name in ("median", "min – max", "goal", ""):
        table.add_column(name, justify="right")
    for name, value in ratios.items():
        spread = " – ".join(map(_short, ranges[name])) if name in ranges else ""
        goal = GOALS.get(name)
        verdict = "" if goal is None else "met" if goal.met(value) else "missed"
        table.add_row(name, _short(value), spread, str(goal or ""), verdict)
    _console().print(table)


def print_step_times(rows: Sequence[Mapping[str, Any]], parts: Sequence[str]) -> None:
    """A training step and its parts, with the rate beside the loader's."""
    title = "times in ms, their share of a step; medians, below them smallest–largest"
    table = spanning_table(title)
    names = [part.removesuffix("_s").replace("_", " ") for part in parts]
    head = ("preset", "batch", "crops", "step", *names, "images/s", "of the\nloader", "share")
    for name in head:
        table.add_column(name, justify="left" if name == "preset" else "right", no_wrap=True)
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


def print_about(methods: Mapping[str, str]) -> None:
    """What each method does."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column("method")
    table.add_column("about")
    for name, about in methods.items():
        table.add_row(name, about)
    _console().print(table)


def print_skipped(skipped: Mapping[str, str], failed: Mapping[str, str]) -> None:
    """Methods without a row, and why."""
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}")
    for name, reason in failed.items():
        print(f"FAILED {name}: {reason}")


def spanning_table(title: str) -> Table:
    """A table for cells of :func:`spanned`, with little air between its many columns."""
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)


def print_spanning(table: Table) -> None:
    """Prints it as wide as it needs, up to :data:`WIDE`."""
    Console(width=WIDE, highlight=False, markup=False).print(table)


def spanned(value: float, span: Sequence[float], scale: float = 1.0) -> str:
    """A cell of two lines: the median, and below it the smallest and the largest."""
    return f"{_short(scale * value)}\n{'–'.join(_short(scale * v) for v in span)}"


def _short(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.3g}" if value >= 0.01 else f"{value:.2g}"
