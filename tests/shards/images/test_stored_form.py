"""Which images are stored in another form, with the same pixels, and the switches that prevent this."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.build.split import parse_shares
from shards.images.pixels import decode_rgb
from shards.images.tiled_tiff import TiledImage
from shards.images.tiling import can_tile
from shards.jpeg.header_parser import read_header
from shards.manifest.dataset import ShardDataset
from shards.verify import verify_dataset


def scene(mode: str, side: int = 60) -> Image.Image:
    y, x = np.mgrid[:side, : side + 20]
    pixels = np.stack([x * 3, y * 3, x + y], -1).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray((x * 700 + y).astype(np.uint16))
    if mode == "RGBA":
        return Image.fromarray(np.dstack([pixels, (x % 256).astype(np.uint8)]))
    return Image.fromarray(pixels).convert(mode)


def encoded(kind: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    scene(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def rgb16_png() -> bytes:
    """Returns a PNG of 16-bit colour, which Pillow can read but not write."""
    values = np.random.default_rng(0).integers(0, 65536, (30, 40, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", 40, 30, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


TILED = {
    "rgb.png": encoded("PNG"),
    "grey.png": encoded("PNG", "L"),
    "alpha.png": encoded("PNG", "RGBA"),
    "grey_alpha.png": encoded("PNG", "LA"),
    "grey16.png": encoded("PNG", "I;16"),
    "rgb16.png": rgb16_png(),
    "plain.bmp": encoded("BMP"),
    "plain.tif": encoded("TIFF"),
    "lzw.tif": encoded("TIFF", compression="tiff_lzw"),
    "deflate.tif": encoded("TIFF", compression="tiff_adobe_deflate"),
    "cmyk.tif": encoded("TIFF", "CMYK"),
    "lossless.webp": encoded("WEBP", lossless=True),
    "lossless_alpha.webp": encoded("WEBP", "RGBA", lossless=True, exif=b"Exif\0\0II*\0"),
}
BASELINE = {
    "progressive.jpg": encoded("JPEG", progressive=True),
    "progressive_grey.jpg": encoded("JPEG", "L", progressive=True),
    "progressive_cmyk.jpg": encoded("JPEG", "CMYK", progressive=True),
}
KEPT = {
    "baseline.jpg": encoded("JPEG"),
    "palette.png": encoded("PNG", "P"),
    "bits.png": encoded("PNG", "1"),
    "palette.bmp": encoded("BMP", "P"),
    "lossy.webp": encoded("WEBP", quality=80),
    "lossy_alpha.webp": encoded("WEBP", "RGBA", quality=80),
    "moving.webp": encoded("WEBP", lossless=True, save_all=True, append_images=[scene("L")]),
    "moving.png": encoded("PNG", save_all=True, append_images=[scene("RGB").rotate(90)]),
    "pages.tif": encoded("TIFF", save_all=True, append_images=[scene("RGB")]),
    "jpeg.tif": encoded("TIFF", compression="jpeg"),
    "plain.gif": encoded("GIF", "P"),
}
ALL = {**TILED, **BASELINE, **KEPT}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    for folder in ("real", "generated/gan"):
        (root / folder).mkdir(parents=True)
    for name, data in ALL.items():
        (root / "real" / name).write_bytes(data)
    (root / "generated/gan/other.jpg").write_bytes(encoded("JPEG", quality=50))
    return root


def build(sources: Path, out: Path, **changes: object) -> ShardDataset:
    settings = BuildSettings(split_shares=parse_shares("1,0,0"), global_size=32, **changes)
    build_dataset(sources, out, settings, progress=False)
    return ShardDataset.open(out)


@pytest.fixture(scope="module")
def dataset(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> ShardDataset:
    """The data set of these images, built with the default forms."""
    return build(sources, tmp_path_factory.mktemp("stored"))


def stored(dataset: ShardDataset) -> dict[str, tuple[str, bytes]]:
    """Returns source file name → (stored_as, bytes of the image member)."""
    found = {}
    for row in dataset.table.to_pylist():
        data = dataset.shard_path(row["shard"]).read_bytes()
        member = data[row["image_offset"] :][: row["image_length"]]
        found[Path(row["source_path"]).name] = row["stored_as"], member
    return found


def test_each_kind_has_its_form(dataset: ShardDataset) -> None:
    found = stored(dataset)
    assert {name for name, (form, _) in found.items() if form == "tiled"} == set(TILED)
    assert {name for name, (form, _) in found.items() if form == "baseline"} == set(BASELINE)
    for name, source in ALL.items():
        form, member = found[name]
        assert (member == source) == (form == "source"), name
        assert np.array_equal(decode_rgb(member), decode_rgb(source)), name
        if form == "tiled":
            assert np.array_equal(TiledImage(member).read_all(), decode_rgb(source)), name
        if form == "baseline":
            assert read_header(member).baseline
    assert dataset.info.stored_as == {"baseline": len(BASELINE), "source": len(KEPT) + 1, "tiled": len(TILED)}
    assert verify_dataset(dataset, 1, lambda n: None) == []


def test_a_shard_holds_members_of_one_format(dataset: ShardDataset) -> None:
    opened = {name: Image.open(io.BytesIO(data)).format for name, (_, data) in stored(dataset).items()}
    for row in dataset.table.to_pylist():
        (shard,) = (s for s in dataset.info.shards if s.name == row["shard"])
        assert shard.format == opened[Path(row["source_path"]).name]


def test_the_manifest_tells_of_the_source(dataset: ShardDataset) -> None:
    rows = {Path(r["source_path"]).name: r for r in dataset.table.to_pylist()}
    assert (rows["rgb.png"]["format"], rows["rgb.png"]["mode"]) == ("PNG", "RGB")
    assert rows["progressive.jpg"]["progressive"]
    assert rows["progressive.jpg"]["not_indexable"] is None
    assert rows["progressive.jpg"]["mcu_length"] > 0
    assert rows["rgb16.png"]["bit_depth"] == 16


def test_both_can_be_switched_off(sources: Path, tmp_path: Path) -> None:
    found = stored(build(sources, tmp_path, lossless="keep", keep_progressive=True))
    for name, source in ALL.items():
        assert found[name] == ("source", source)


def test_a_damaged_progressive_file_stays_as_it_is(tmp_path: Path) -> None:
    """A progressive JPEG whose last scans are missing is stored as it is. Pillow smooths it, but would not smooth a
    baseline copy of it."""
    root = tmp_path / "images"
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", progressive=True, quality=30)
    whole = buffer.getvalue()
    scans = [at for at in range(len(whole)) if whole[at : at + 2] == b"\xff\xda"]
    cut = whole[: whole.rindex(b"\xff\xc4", 0, scans[3])] + b"\xff\xd9"
    for folder, data in (("real", cut), ("generated", encoded("JPEG"))):
        (root / folder).mkdir(parents=True)
        (root / folder / "image.jpg").write_bytes(data)
    dataset = build(root, tmp_path / "out")
    rows = {row["source_path"]: row for row in dataset.table.to_pylist()}
    row = rows["real/image.jpg"]
    assert (row["stored_as"], row["not_indexable"]) == ("source", "progressive")


@pytest.mark.parametrize("name", [*TILED, *KEPT])
def test_files_cut_off_anywhere_are_looked_at_safely(name: str) -> None:
    data = ALL[name]
    kind = {"png": "PNG", "bmp": "BMP", "tif": "TIFF", "webp": "WEBP"}.get(name.split(".")[-1], "")
    said = [can_tile(data[:length], kind) for length in (*range(0, 12, 3), *range(12, min(400, len(data)), 8))]
    assert not any(said[:4])  # nothing can be known from 9 bytes
    assert can_tile(data, kind) == (name in TILED)
