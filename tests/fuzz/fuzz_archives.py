"""Fuzzes zips, tars and gzipped tars of class folders as sources of images.

Reading each must yield images, reject damaged images one by one, or raise ``InputError``.
"""

import gzip
import io
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np

from shards.errors import InputError
from shards.images.rejection import RejectedImage
from shards.sources.archives.files import PackedFiles
from shards.sources.archives.find import FoundArchives
from tests.fuzz.fuzz_harness import mutated, run_main
from tests.fuzz.fuzz_tar import tar_of

__all__ = ["ArchiveTarget"]

WORDS = (
    b"PK\1\2",
    b"PK\3\4",
    b"PK\5\6",
    b"PK\6\6",
    b"PK\6\7",
    b"\xff" * 8,
    b"\xff\xff",
    b"\0" * 4,
    b"\1\0\x18\0",  # a long extra field
    b"\x63\0",  # AES
    b"../",
    b"\\",
    b"ustar\x0000",
)
FILES = [(f"{name}/{number}.jpg", bytes([number]) * 3000) for number in range(3) for name in ("real", "fake")]


def zip_of(files: list[tuple[str, bytes]], method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files:
            with archive.open(name, "w", force_zip64=name.endswith("2.jpg")) as member:
                member.write(data)
    return buffer.getvalue()


class ArchiveTarget:
    """Mutates one zip or tar at a time. A gzipped tar is mutated either before or after its compression."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._zips = [zip_of(FILES, method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]
        self._tar = tar_of(FILES)

    def run(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        kind = ("zip", "zip", "tar", "tar.gz", "gz")[int(rng.integers(5))]
        path = self._folder / f"a.{'tar.gz' if kind == 'gz' else kind}"
        if kind == "gz":
            path.write_bytes(mutated(rng, gzip.compress(self._tar, 1), WORDS))
        elif kind == "tar.gz":
            path.write_bytes(gzip.compress(mutated(rng, self._tar, WORDS), 1))
        else:
            path.write_bytes(mutated(rng, self._tar if kind == "tar" else self._zips[int(rng.integers(2))], WORDS))
        archives = FoundArchives(path)
        try:
            names = archives.take("")
            if names is None:
                counts["none"] += 1
                return
            files = archives.files.prepared(self._folder, lambda _: None)
        except InputError:
            counts[f"{kind}: refused"] += 1
            return
        for name in names:
            self._read(files, name, kind, counts)

    def _read(self, files: PackedFiles, name: str, kind: str, counts: Counter[str]) -> None:
        try:
            data = files.read(name)
        except RejectedImage as rejected:
            counts[f"{kind}: {rejected.reason}"] += 1
            return
        counts[f"{kind}: read"] += 1
        if kind == "zip":  # a tar has no checksums
            assert data in (b"", *(content for _, content in FILES))


if __name__ == "__main__":
    sys.exit(run_main(ArchiveTarget, __doc__ or ""))
