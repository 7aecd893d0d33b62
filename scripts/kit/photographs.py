"""Chooses the photographs for a GPU kit: ``python -m scripts.kit.photographs DIR OUT`` writes OUT/images.csv.

Labels alternate and are meaningless, because the kit only measures speed.
"""

import csv
import sys
from pathlib import Path

from bench.corpora.photographs import find_photographs
from shards.cli.command import run_command
from shards.errors import InputError

MOST = 64
MIN_MEGAPIXELS = 0.0
FEWEST = 8


def main(argv: list[str] | None = None) -> int:
    """Writes the list; returns exit code 0. Raises ``InputError`` if there are too few photographs."""
    words = sys.argv[1:] if argv is None else argv
    folder, out = map(Path, words)
    paths = find_photographs(folder, MIN_MEGAPIXELS).paths
    if len(paths) < FEWEST:
        raise InputError(f"{folder} has {len(paths)} JPEGs, but {FEWEST} are needed: give another --photos")
    largest = sorted(sorted(paths, key=lambda path: -path.stat().st_size)[:MOST])
    out.mkdir()
    with (out / "images.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "generator"])
        for number, path in enumerate(largest):
            generated = number % 2
            writer.writerow([path.resolve(), "generated" if generated else "real", "none" if generated else ""])
    print(f"{len(largest)} photographs")
    return 0


if __name__ == "__main__":
    run_command(main)
