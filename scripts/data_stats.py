"""What is in a data set: counts, sizes, formats, channel means, rejects, per class and generator.

python -m scripts.data_stats DATA [--output DIR]

From the manifest alone, in seconds for a million samples. With --output also data_stats.json.
"""

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

from shards.channel_stats import CHANNELS
from shards.command import CommandParser, InputError, printable, run_command
from shards.dataset import ShardDataset

BAR_WIDTH = 30
WIDTH_WITHOUT_TERMINAL = 120


def main(argv: list[str] | None = None) -> int:
    """Parses, counts, prints."""
    options = _parse(argv)
    dataset = ShardDataset.open(options.data)
    from shards.statistics import data_statistics

    document = {"format_version": 1, **data_statistics(dataset)}
    _print(document)
    if options.output is not None:
        _write(document, options.output)
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = CommandParser(
        prog="python -m scripts.data_stats", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of shards")
    parser.add_argument("--output", type=Path, metavar="DIR", help="also write data_stats.json")
    return parser.parse_args(argv)


def _write(document: dict[str, Any], output: Path) -> None:
    from glass.documents import Map, Maybe, check_document, write_document

    group = {"images": int}
    schema = {
        "format_version": int, "samples": int, "splits": Map(Map(int)), "edges": Map([float]),
        "rejected": Map(int), "rejected_by_class": Map(int), "groups": Map(group),
    }  # fmt: skip
    filled = {
        **group, "width": Map(float), "height": Map(float), "pixels": float, "format": Map(int),
        "mode": Map(int), "jpeg_quality_median": Maybe(float), "channels": Map(Map(float)),
        "histograms": Map([int]),
    }  # fmt: skip
    for name, values in document["groups"].items():
        if values["images"]:
            check_document(values, filled, f"groups.{name}")
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_document(output / "data_stats.json", document, schema)
    except OSError as error:
        raise InputError(f"cannot write into {output}: {error.strerror or error}") from error
    print(printable(f"wrote {output / 'data_stats.json'}"))


def _print(document: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_WITHOUT_TERMINAL)
    splits = ", ".join(
        f"{name} {counts['real']} real + {counts['generated']} generated"
        for name, counts in document["splits"].items()
    )
    console.print(Text(f"{document['samples']:,} samples: {splits}"))
    rejected = ", ".join(f"{n} {reason}" for reason, n in document["rejected"].items())
    console.print(Text(f"rejected: {rejected or 'none'}"))
    groups = {name: found for name, found in document["groups"].items() if found["images"]}
    sizes = Table("images of", "number", "mean width × height", "smallest", "largest", "formats",
                  "modes")  # fmt: skip
    colours = Table("images of", *(f"{channel} mean ± sd" for channel in CHANNELS))
    for name, found in groups.items():
        width, height = found["width"], found["height"]
        cells = [
            printable(name), f"{found['images']:,}", f"{width['mean']:.0f} × {height['mean']:.0f}",
            f"{width['smallest']} × {height['smallest']}",
            f"{width['largest']} × {height['largest']}",
            ", ".join(f"{text} {n}" for text, n in found["format"].items()),
            ", ".join(f"{text} {n}" for text, n in found["mode"].items()),
        ]  # fmt: skip
        sizes.add_row(*(Text(cell) for cell in cells))
        channels = [found["channels"][channel] for channel in CHANNELS]
        colours.add_row(
            Text(printable(name)), *(f"{c['mean']:.2f} ± {c['sd']:.2f}" for c in channels)
        )
    console.print(sizes)
    console.print(colours)
    for what, edges in document["edges"].items():
        table = Table(what.replace("_", " "), "real", "generated")
        for place, (low, high) in enumerate(pairwise(edges)):
            bars = [_bar(groups.get(name), what, place) for name in ("real", "generated")]
            if any(bars):
                end = "…" if high >= 1e9 else f"{high:g}"
                table.add_row(f"{low:g} – {end}", *bars)
        console.print(table)


def _bar(group: dict[str, Any] | None, what: str, place: int) -> str:
    """The share of a group in a bin, as a bar; empty where there is none."""
    if group is None or not group["histograms"][what][place]:
        return ""
    share = group["histograms"][what][place] / group["images"]
    return f"{'█' * max(1, round(BAR_WIDTH * share))} {share:.0%}"


if __name__ == "__main__":
    run_command(main)
