"""Fuzzes images of all formats but JPEG through building: each must raise ``RejectedImage`` or become a whole sample.

The pixels of a whole sample must equal those that prediction decodes, and its row must fit the manifest's schema.
"""

import io
import sys
import zlib
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
from PIL import Image

from loaders.decode.dali_files import not_for_dali, not_for_nvjpeg
from loaders.decode.encoded_image import decode_file
from loaders.decode.jobs import WholeJob
from shards.build.make_sample import build_sample
from shards.build.packing import PackedSource
from shards.images import formats as image_formats
from shards.images.formats import known_format
from shards.images.pixels import pixel_sha256
from shards.images.rejection import RejectedImage
from shards.images.tiled_tiff import encode_tiled
from shards.images.tiling import can_tile
from shards.manifest.schema import MEMBERS, SAMPLE_SCHEMA
from tests.fuzz.fuzz_harness import mutated, run_main
from tests.images.image_files import png, tiff

__all__ = ["FormatTarget"]

MOST_PIXELS = 4_000_000  # a size that a mutation makes up must not cost minutes
PLACES = [f"{member}_{what}" for member in MEMBERS for what in ("offset", "length")]
WORDS = (
    b"acTL",
    b"fcTL",
    b"fdAT",
    b"IDAT",
    b"IEND",
    b"tRNS",
    b"PLTE",
    b"iCCP",
    b"zTXt",
    b"eXIf",
    b"VP8 ",
    b"VP8L",
    b"VP8X",
    b"ANIM",
    b"ANMF",
    b"ALPH",
    b"EXIF",
    b"irot",
    b"imir",
    b"clap",
    b"ispe",
    b"ipma",
    b"iloc",
    b"infe",
    b"grid",
    b"av1C",
    b"hvcC",
    b"jp2c",
    b"pclr",
    b"cdef",
    b"colr",
    b"!\xf9",
    b"\x2c",
    b"II*\0",
    b"MM\0*",
    b"\0",
    b"\xff" * 4,
    b"\0\0\0\1",
    b"\1\0\0\0",
    b"\0\0\x10\0",
    b"\xff\x52",
    b"\xff\x90",
    b"\xff\x93",
)


def _encoded(kind: str, image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _sources() -> dict[str, list[bytes]]:
    """Returns format → small files, in as many variants as the installed encoders can write."""
    rng = np.random.default_rng(1)
    pixels = np.cumsum(rng.integers(0, 4, (40, 56, 3)), 1).astype(np.uint8)
    rgb, wide = Image.fromarray(pixels), pixels.astype(np.uint16) * 257
    frames = {"save_all": True, "append_images": [Image.fromarray(255 - pixels)] * 2}
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "x" * 40
    sources = {
        "PNG": [
            _encoded("PNG", rgb, exif=exif),
            _encoded("PNG", rgb.quantize(13), bits=4),
            _encoded("PNG", rgb.convert("LA")),
            _encoded("PNG", rgb.convert("1")),
            png(wide, 2),
            _encoded("PNG", rgb, **frames),
            _encoded("PNG", rgb, default_image=True, **frames),
        ],
        "WEBP": [
            _encoded("WEBP", rgb, exif=exif),
            _encoded("WEBP", rgb, lossless=True),
            _encoded("WEBP", rgb, **frames),
            _encoded("WEBP", rgb.convert("RGBA"), quality=50),
        ],
        "TIFF": [
            *(
                _encoded("TIFF", rgb, compression=c, exif=exif)
                for c in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd")
            ),
            _encoded("TIFF", rgb, **frames),
            _encoded("TIFF", rgb.convert("CMYK")),
            _encoded("TIFF", rgb.convert("1"), compression="group4"),
            _encoded("TIFF", rgb.quantize(13)),
            tiff(wide),
            tiff(wide, ">", compressed=True),
            tiff(wide[..., :1], photometric=0),
            tiff(pixels, planar=2),
            encode_tiled(pixels, 1),
        ],
        "GIF": [_encoded("GIF", rgb), _encoded("GIF", rgb, **frames)],
        "BMP": [
            _encoded("BMP", rgb),
            _encoded("BMP", rgb.quantize(13)),
            _encoded("BMP", rgb.convert("1")),
            _encoded("BMP", rgb.convert("RGBA")),
        ],
        "AVIF": [_encoded("AVIF", rgb, exif=exif, speed=10), _encoded("AVIF", rgb, speed=10, **frames)],
        "JPEG2000": [_encoded("JPEG2000", rgb), _encoded("JPEG2000", rgb.convert("LA"), no_jp2=True)],
    }
    for kind, plugin in (("HEIF", "pillow_heif"), ("JXL", "pillow_jxl")):
        try:
            module = __import__(plugin)
        except ImportError:
            continue
        if kind == "HEIF":
            module.register_heif_opener()
        sources[kind] = [_encoded(kind, rgb, exif=exif.tobytes()), _encoded(kind, rgb.convert("L"))]
    return sources


def _resealed(data: bytes) -> bytes:
    """Returns the PNG ``data`` with each chunk's checksum recomputed, so that a reader does not stop at a wrong
    checksum."""
    result, at = bytearray(data), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        result[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(result)


class FormatTarget:
    """Mutates one file at a time, mostly near its beginning, which determines how the file is read."""

    def __init__(self, folder: Path) -> None:
        self._sources = _sources()

    def run(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        kinds = list(self._sources)
        kind = kinds[int(rng.integers(len(kinds)))]
        files = self._sources[kind]
        data = files[int(rng.integers(len(files)))]
        if rng.random() < 0.6:
            head = int(40 * 15 ** rng.random())
            data = mutated(rng, data[:head], WORDS) + data[head:]
        else:
            data = mutated(rng, data, WORDS)
        if kind == "PNG" and rng.random() < 0.7:
            data = _resealed(data)
        with (
            patch.object(image_formats, "MAX_PIXELS", MOST_PIXELS),
            patch.object(Image, "MAX_IMAGE_PIXELS", MOST_PIXELS),
        ):
            counts[f"{kind}: {self._taken(data)}"] += 1

    def _taken(self, data: bytes) -> str:
        """Builds a sample from a file and checks it. Returns the name of the outcome."""
        try:
            kind = known_format(data)
            source = PackedSource("a", b"", kind, 1, "gan", "", "train", can_tile(data, kind))
            row = build_sample(data, source, "000000000000", "train-000000.tar", 16).row
        except RejectedImage as rejected:
            return "refused" if rejected.reason != "unsupported_format" else "named"
        (fitting,) = pa.Table.from_pylist([{**dict.fromkeys(PLACES, 0), **row}], schema=SAMPLE_SCHEMA).to_pylist()
        assert fitting["width"] * fitting["height"] <= MOST_PIXELS
        pixels = decode_file(data)
        assert pixels.shape == (row["height"], row["width"], 3), (pixels.shape, row)
        assert pixel_sha256(pixels) == row["pixel_sha256"]
        job = WholeJob(
            np.frombuffer(data, np.uint8),
            row["height"],
            row["width"],
            np.zeros((0, 4), np.int32),
            np.zeros(0, np.int64),
            0,
            kind,
            row["mode"],
        )
        not_for_dali(job, on_gpu=False)
        not_for_nvjpeg(job)
        return "taken"


if __name__ == "__main__":
    sys.exit(run_main(FormatTarget, __doc__ or ""))
