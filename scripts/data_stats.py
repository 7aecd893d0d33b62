"""Shows what is in a data set: counts, sizes, formats, channel means and rejected images, per class and generator.

glass data-stats DATA [--output DIR]

Reads only the manifest, which takes seconds for a million samples. With --output, also writes data_stats.json.
"""

from itertools import pairwise
from pathlib import Path
from typing import NotRequired

from glass.config.dataset_digest import DatasetDigest, dataset_digest, require_same_data
from shards.cli.command import CommandParser, printable, run_command
from shards.cli.wording import counted, percent
from shards.errors import InputError
from shards.files.documents import typed_document, write_document
from shards.files.outputs import check_output, is_json_with
from shards.images.channel_stats import CHANNELS
from shards.manifest.dataset import ShardDataset
from shards.manifest.statistics import DataStatistics, GroupStatistics, data_statistics

from .arguments import script_parser


class DataStats(DataStatistics):
    """The document ``data_stats.json``."""

    format_version: int
    dataset: NotRequired[DatasetDigest]
    """Absent in documents of earlier versions."""


FILE_NAME = "data_stats.json"
_OURS = is_json_with(check=lambda document: typed_document(document, DataStats))
BAR_WIDTH = 30
WIDTH_WITHOUT_TERMINAL = 120


def main(argv: list[str] | None = None) -> int:
    """Prints the statistics, and writes them if --output is given. Returns exit code 0."""
    options = parser().parse_args(argv)
    remedy = "give another --output"
    path = None if options.output is None else options.output / FILE_NAME
    replaced = path is not None and check_output(path, _OURS, remedy, folder_is_made=True)
    dataset = ShardDataset.open(options.data)
    if path is not None and replaced:
        require_same_data(path, dataset.root, "the statistics", remedy)
    document: DataStats = {"format_version": 1, "dataset": dataset_digest(dataset.root), **data_statistics(dataset)}
    _print(document)
    if path is not None:
        _write(document, path, "rewrote" if replaced else "wrote")
    return 0


def parser() -> CommandParser:
    """The command-line parser."""
    parser = script_parser("data_stats", __doc__)
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of shards")
    parser.add_argument("--output", type=Path, metavar="DIR", help="also write data_stats.json")
    return parser


def _write(document: DataStats, path: Path, verb: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_document(path, document, DataStats)
    except OSError as error:
        raise InputError(f"cannot write into {path.parent}: {error.strerror or error}") from error
    print(printable(f"{verb} {path}"))


def _print(document: DataStats) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_WITHOUT_TERMINAL)
    splits = ", ".join(
        f"{name} {counts['real']} real + {counts['generated']} generated" for name, counts in document["splits"].items()
    )
    console.print(Text(f"{counted(document['samples'], 'sample')}: {splits}"))
    console.print(Text(f"rejected: {_reasons(document['rejected']) or 'none'}"))
    for name, reasons in document["rejected_by_group"].items():
        console.print(Text(printable(f"  {name}: {_reasons(reasons)}")))
    groups = document["groups"]
    sizes = Table("images of", "number", "mean width × height", "smallest", "largest", "formats", "modes")
    colours = Table("images of", *(f"{channel} mean ± sd" for channel in CHANNELS))
    for name, found in groups.items():
        width, height = found["width"], found["height"]
        cells = [
            printable(name),
            f"{found['images']:,}",
            f"{width['mean']:.0f} × {height['mean']:.0f}",
            f"{width['smallest']} × {height['smallest']}",
            f"{width['largest']} × {height['largest']}",
            ", ".join(f"{text} {n}" for text, n in found["format"].items()),
            ", ".join(f"{text} {n}" for text, n in found["mode"].items()),
        ]
        sizes.add_row(*(Text(cell) for cell in cells))
        channels = [found["channels"][channel] for channel in CHANNELS]
        colours.add_row(Text(printable(name)), *(f"{c['mean']:.2f} ± {c['sd']:.2f}" for c in channels))
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


def _reasons(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in counts.items())


def _bar(group: GroupStatistics | None, what: str, place: int) -> str:
    """Returns the fraction of a group's images in one histogram bin, as a text bar and a percentage. ``what`` names the
    histogram, and ``place`` is the bin's index. Returns "" if the bin is empty or ``group`` is None.
    """
    if group is None or not group["histograms"][what][place]:
        return ""
    share = group["histograms"][what][place] / group["images"]
    return f"{'█' * max(1, round(BAR_WIDTH * share))} {percent(share, 0)}"


if __name__ == "__main__":
    run_command(main)
