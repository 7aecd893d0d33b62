"""Fuzzes lists of sources, labels and groups (CSV, JSON lines, Parquet), and the dataset cards beside them.

Each list must yield rows or raise ``InputError``.
"""

import csv
import json
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
from shards.sources.rows import LIST_SUFFIXES
from tests.fuzz.fuzz_harness import mutated, run_main

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
    b"\n---\n",
    b"- &a [*a]\n",
    b"!!binary ",
    b"{" * 300,
    b'"\\ud800"',
)
CARD = b"""---
license: mit
dataset_info:
- config_name: all
  features:
  - name: target
    dtype:
      class_label:
        names:
          '0': fake
          '1': real
---
# Pictures
"""


class ListTarget:
    """Mutates lists in three formats, and the dataset card beside them, which defines what numeric labels mean. Each
    list can be read as a list of sources, of labels or of groups."""

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
                "target": str(n % 2),
                "sha256": f"{n:064x}",
            }
            for n in range(6)
        ]
        (folder / "0.jpg").write_bytes(b"")
        with (folder / "base.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        self._bases = {".csv": [(folder / "base.csv").read_bytes()], ".jsonl": [lines], ".parquet": []}
        for compression in ("none", "snappy", "zstd"):
            pq.write_table(pa.Table.from_pylist(rows), folder / "b", compression=compression)
            self._bases[".parquet"].append((folder / "b").read_bytes())

    def run(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        suffix = LIST_SUFFIXES[int(rng.integers(3))]
        base = self._bases[suffix][int(rng.integers(len(self._bases[suffix])))]
        path = self._folder / f"list{suffix}"
        path.write_bytes(mutated(rng, base, WORDS))
        (self._folder / "README.md").write_bytes(mutated(rng, CARD, WORDS))
        for name, read in (("sources", read_sources), ("labels", read_key_list), ("groups", read_group_list)):
            if read is not read_sources and suffix == ".jsonl":
                continue
            try:
                read(path)
                counts[f"{name}{suffix}: taken"] += 1
            except InputError:
                counts[f"{name}{suffix}: refused"] += 1


if __name__ == "__main__":
    sys.exit(run_main(ListTarget, __doc__ or ""))
