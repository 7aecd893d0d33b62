"""Mutated lists of sources, labels and groups, CSV and Parquet, through reading: rows or one sentence."""

import csv
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shards.adopt.key_list import read_key_list
from shards.errors import InputError
from shards.manifest.group_list import read_group_list
from shards.sources.read import read_sources
from tests.fuzz_harness import mutated, run_main

__all__ = ["ListTarget"]

WORDS = (
    b'"',
    b",",
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    b"real",
    b"path",
    b"../",
    b"/etc/passwd",
    b"a" * 3000,
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x80\x80\x80\x80\x10",
    b"\xef\xbb\xbf",
)


class ListTarget:
    """Lists that are of all three kinds, in the two formats."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        rows = [
            {
                "path": f"{n}.jpg",
                "key": f"k{n}",
                "label": "real" if n % 2 else "generated",
                "generator": "" if n % 2 else "gan",
                "group": "g",
                "split": "train",
                "sha256": f"{n:064x}",
            }
            for n in range(6)
        ]
        (folder / "0.jpg").write_bytes(b"")
        with (folder / "base.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        self._bases = {".csv": [(folder / "base.csv").read_bytes()], ".parquet": []}
        for compression in ("none", "snappy", "zstd"):
            pq.write_table(pa.Table.from_pylist(rows), folder / "b", compression=compression)
            self._bases[".parquet"].append((folder / "b").read_bytes())

    def run(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        suffix = (".csv", ".parquet")[int(rng.integers(2))]
        base = self._bases[suffix][int(rng.integers(len(self._bases[suffix])))]
        path = self._folder / f"list{suffix}"
        path.write_bytes(mutated(rng, base, WORDS))
        for name, read in (("sources", read_sources), ("labels", read_key_list), ("groups", read_group_list)):
            try:
                read(path)
                counts[f"{name}{suffix}: taken"] += 1
            except InputError:
                counts[f"{name}{suffix}: refused"] += 1


if __name__ == "__main__":
    sys.exit(run_main(ListTarget, __doc__ or ""))
