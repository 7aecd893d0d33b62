"""Fuzzes tars through listing, examining and label rules: each must yield a listing or raise ``InputError``."""

import io
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from glass.predict.tar_sources import images_of_tar
from shards.adopt.examine import examine_tar, guess_rules
from shards.adopt.listing import list_tar
from shards.adopt.settings import IndexSettings
from shards.adopt.tar_names import name_tars
from shards.errors import InputError
from tests.fuzz.fuzz_harness import mutated, run_main

__all__ = ["TarTarget", "tar_of"]

WORDS = (
    b"../../etc/passwd\0",
    b"/absolute\0",
    b"\x80" + b"\0" * 11,
    b"\xff" * 12,
    b"77777777777\0",
    b"-0000000001\0",
    b"30 size=99999999999\n",
    b"18 size=-5555555\n",
    b"ustar\x0000",
    b"ustar  \0",
    b"GNU.sparse.major=1",
    b"GNU.sparse.realsize=-1",
    b"L",
    b"K",
    b"x",
    b"g",
    b"S",
    b"2",
    b"1",
    b"9" * 300,
)


def tar_of(members: list[tuple[str, bytes]], tar_format: int = tarfile.GNU_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


class TarTarget:
    """Mutates tars in the three formats (USTAR, GNU, PAX), with long names and PAX records."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "a.tar"
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), (9, 99, 200)).save(buffer, "JPEG")
        members = []
        for number in range(3):
            key = f"real/{number}" + "n" * (120 * (number == 2))
            members += [
                (f"{key}.jpg", buffer.getvalue()),
                (f"{key}.cls", b"1"),
                (f"{key}.json", b'{"label": "real", "generator": "gan"}'),
            ]
        formats = (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
        self._tars = [tar_of(members, tar_format) for tar_format in formats]
        self._tars.append(tar_of([(n[-90:], c) for n, c in members], tarfile.USTAR_FORMAT))

    def run(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        data = bytearray(mutated(rng, self._tars[int(rng.integers(3))], WORDS))
        if rng.random() < 0.8:  # without it, nearly all are refused for their headers' checksums
            for at in range(0, len(data) - 511, 512):
                if data[at + 257 : at + 262] == b"ustar":
                    _reseal(data, at)
        self._path.write_bytes(data)
        try:
            listing = list_tar(self._path)
        except InputError:
            counts["refused"] += 1
            return
        counts["listed"] += 1
        counts["bad members"] += len(listing.bad)
        for sample in listing.samples:
            for member in sample.members.values():
                assert 0 <= member.offset <= member.offset + member.length <= len(data)
                assert ".." not in member.name.split("/")
                assert not member.name.startswith("/")
        counts["sources"] += len(images_of_tar(self._path).sources)
        try:
            (tar,) = name_tars([self._path], self._path.parent)
            rules = guess_rules([tar], IndexSettings())
            found = examine_tar(tar, rules, IndexSettings())
            counts["images"] += len(found.images)
        except InputError:
            counts["labels refused"] += 1


def _reseal(data: bytearray, at: int) -> None:
    """Recomputes the checksum of the tar header at offset ``at``, in place."""
    data[at + 148 : at + 156] = b" " * 8
    data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])


if __name__ == "__main__":
    sys.exit(run_main(TarTarget, __doc__ or ""))
