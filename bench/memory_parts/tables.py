"""The tables of ``bench memory`` for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench.harness.table import print_ratios, print_skipped

__all__ = ["print_memory"]

PARTS = ("weights", "gradients", "optimiser", "activations", "input")
MIB = 1 << 20
WIDTH = 160


def print_memory(document: Mapping[str, Any]) -> None:
    """Rows, fits and ratios of the document."""
    console = Console(width=WIDTH, highlight=False, markup=False)
    console.print(_rows(document["rows"]))
    for counted in dict.fromkeys(row["counted_by"] for row in document["rows"]):
        print(f"counted: {counted}")
    if document["fits"]:
        console.print(_fits(document["fits"]))
    print_ratios(document["ratios"], document["ratio_ranges"], "\nratios")
    print_skipped({}, document["failed"])


def _rows(rows: Sequence[Mapping[str, Any]]) -> Table:
    title = "one training step, MiB at its peak (activations with all temporaries)"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("preset", no_wrap=True)
    for name in ("batch", "crops", "chunk", "precision", "peak", *PARTS, "kept", "process", "s"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        sizes = [row["peak_bytes"], *(row[f"{part}_bytes"] for part in PARTS)]
        sizes += [row["kept_by_autograd_bytes"], row["process_peak_bytes"]]
        time = row["step_time_s"]
        table.add_row(
            row["preset"],
            str(row["batch_size"]),
            str(row["num_crops"]),
            str(row["crop_chunk"] or "–"),
            row["precision"],
            *("" if size is None else f"{size / MIB:,.0f}" for size in sizes),
            "" if time is None else f"{time:.3g}",
        )
    return table


def _fits(fits: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="peak = intercept + slope · crops", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("preset", "method"):
        table.add_column(name, no_wrap=True)
    for name in ("intercept MiB", "slope MiB/crop", "R²"):
        table.add_column(name, justify="right")
    for line in fits:
        table.add_row(
            line["preset"],
            line["method"],
            f"{line['intercept_bytes'] / MIB:,.0f}",
            f"{line['slope_bytes_per_crop'] / MIB:,.2f}",
            f"{line['r_squared']:.4f}",
        )
    return table
