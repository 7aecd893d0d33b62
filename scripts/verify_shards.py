"""Checks a data set byte by byte: ``glass verify OUT``.

Exit code 0: the data set is unchanged since it was built. 1: it is not; each finding names a file, a sample and a
check. 2: OUT cannot be opened as a data set at all.
"""

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from shards.build.plan import current_versions
from shards.cli.command import CommandParser, printable, run_command
from shards.cli.progress import progress_bar
from shards.cli.wording import counted
from shards.manifest.dataset import ShardDataset
from shards.verify import CHECKS, Finding, verify_dataset

from .arguments import script_parser, thread_count

__all__ = ["main"]

EXIT_FINDINGS = 1


def parser() -> CommandParser:
    """The command-line parser."""
    parser = script_parser(
        "verify_shards",
        description="Checks hashes, members, counts, pixels and entry points of a data set. "
        "Exit code 0: clean, 1: findings, 2: no data set.",
    )
    parser.add_argument("data", metavar="OUT", type=Path, help="folder of the data set")
    parser.add_argument(
        "--threads",
        type=thread_count,
        default="auto",
        metavar="N",
        help="number of threads (default: one per usable core)",
    )
    parser.add_argument(
        "--show", type=int, default=20, metavar="N", help="number of findings to list (default %(default)s)"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns the exit code. Raises ``InputError`` if OUT cannot be opened."""
    arguments = parser().parse_args(argv)
    dataset = ShardDataset.open(arguments.data)
    dataset.require_local()  # before a bar begins
    with progress_bar(len(dataset), "verifying") as bar:
        findings = verify_dataset(dataset, arguments.threads, bar.update)
    _print_table(dataset, findings)
    _print_findings(findings, arguments.show)
    return EXIT_FINDINGS if findings else 0


def _print_table(dataset: ShardDataset, findings: list[Finding]) -> None:
    number = Counter(finding.check for finding in findings)
    table = Table(
        title=f"{printable(str(dataset.root))}: {counted(len(dataset), 'sample')}, "
        f"{counted(len(dataset.info.shards), 'shard')}"
    )
    table.add_column("check")
    table.add_column("findings", justify="right")
    table.add_column("property checked")
    for check, meaning in CHECKS.items():
        table.add_row(check, f"{number[check]:,}" if number[check] else "none", meaning)
    Console().print(table)


def _print_findings(findings: list[Finding], show: int) -> None:
    for finding in findings[:show]:
        line = f"{finding.check}: {finding.where}: {finding.detail}"
        Console().print(Text(printable(line)))
    if len(findings) > show:
        print(f"… and {len(findings) - show:,} more (--show {len(findings)} lists all)")
    if findings and any(finding.check in ("pixels", "global_view") for finding in findings):
        versions = ", ".join(f"{name} {number}" for name, number in current_versions().items())
        print(f"pixels were compared with those of {versions}")


if __name__ == "__main__":
    run_command(main)
