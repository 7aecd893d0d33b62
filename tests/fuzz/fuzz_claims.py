"""Fuzzes files that make claims about themselves: reading must return claims of printable text, or none."""

import os
import sys
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np

from glass.claims.claim import Claim
from glass.claims.read import read_claims
from shards.optional import optional
from tests.fuzz.fuzz_harness import mutated, run_main
from tests.images.claiming_files import COMFY, TRAINED, WEB_UI, packet, with_chunk, with_exif, with_marker, with_xmp

__all__ = ["ClaimTarget"]

WORDS = (
    b"<!DOCTYPE x [<!ENTITY e 'e'>]>",
    b"&e;",
    b"<r:li>",
    b"]]>",
    b"DigitalSourceType",
    b"UNICODE\0",
    b"zTXt",
    b"iTXt",
    b"eXIf",
    b"caBX",
    b"C2PA",
    b"jumbc2pa",
    b"8BIM\x04\x04",
    b"\x1c\x02\x6e",
    b"\x86\x92\x07\x00",
    b"\x69\x87\x04\x00",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\0",
    b"\xff\xe1",
    b"\xff\xeb",
)


class ClaimTarget:
    """Mutates files with every kind of claim, and the signed files in the folder ``GLASS_FUZZ_SIGNED`` if it is set."""

    def __init__(self, folder: Path) -> None:
        xmp = packet(f">{TRAINED}")
        comment = b"UNICODE\0" + WEB_UI.encode("utf-16-be")
        self._files = [with_xmp(kind, xmp) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")]
        self._files += [with_exif(kind, {305: "Adobe Firefly"}, comment) for kind in ("JPEG", "WEBP", "TIFF")]
        self._files += [with_chunk(b"tEXt", b"prompt\0" + COMFY.encode(), late) for late in (False, True)]
        self._files.append(with_marker())
        if signed := os.environ.get("GLASS_FUZZ_SIGNED"):
            self._files += [path.read_bytes() for path in sorted(Path(signed).iterdir())]
        optional("c2pa")

    def run(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        data = mutated(rng, self._files[int(rng.integers(len(self._files)))], WORDS)
        claims = read_claims(data)
        counts["none"] += not claims
        for claim in claims:
            # As typed, and of text that a terminal and a page may show.
            assert msgspec.json.decode(msgspec.json.encode(claim), type=Claim) == claim
            assert claim.says.isprintable()
            counts[f"{claim.source}: {claim.status}"] += 1


if __name__ == "__main__":
    sys.exit(run_main(ClaimTarget, __doc__ or ""))
