"""Fuzzes Parquet and Arrow tables with images inside, through reading and unpacking.

Each table must yield images or raise ``InputError``.
"""

import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from shards.errors import InputError
from shards.images.rejection import RejectedImage
from shards.sources.files import SCRATCH_NAME
from shards.sources.read import read_sources
from tests.fuzz.fuzz_harness import mutated, run_main
from tests.images.image_tables import Row, write_tables

__all__ = ["FORMS", "TableTarget"]

FORMS = ("datasets", "one group", "one page", "bytes", "arrow")
WORDS = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x80\x80\x80\x80\x10",
    b"image",
    b"label",
    b"\xff\xfe",
    b"PAR1",
    b"https://",
)
_END_BYTES = 1200
"""Number of bytes at each end of a table that contain metadata and no images."""


class TableTarget:
    """Mutates one table at a time, either anywhere or in the bytes that describe it."""

    def __init__(self, folder: Path) -> None:
        self._out = folder / "out"
        self._out.mkdir()
        chance = np.random.default_rng(0)
        rows = [Row(f"{n}.jpg", chance.bytes(300 + 20 * n), n % 2, "gan" if n % 2 else "") for n in range(12)]
        self._sources = {form: write_tables(folder / form.replace(" ", "-"), rows, form, parts=1) for form in FORMS}
        self._tables = {form: min(root.rglob("*-of-*")) for form, root in self._sources.items()}
        self._bases = {form: path.read_bytes() for form, path in self._tables.items()}

    def run(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        form = FORMS[int(rng.integers(len(FORMS)))]
        base = self._bases[form]
        start, stop = [(0, len(base)), (0, _END_BYTES), (len(base) - _END_BYTES, len(base))][int(rng.integers(3))]
        self._tables[form].write_bytes(base[:start] + mutated(rng, base[start:stop], WORDS) + base[stop:])
        shutil.rmtree(self._out / SCRATCH_NAME, ignore_errors=True)
        try:
            sources = read_sources(self._sources[form])
            files = sources.files.prepared(self._out, lambda _: None)
            for name in sources.table.column("path").to_pylist():
                try:
                    files.read(name)
                except RejectedImage:
                    counts["rejected"] += 1
            counts[f"{form}: read"] += 1
        except InputError:
            counts[f"{form}: refused"] += 1


if __name__ == "__main__":
    sys.exit(run_main(TableTarget, __doc__ or ""))
