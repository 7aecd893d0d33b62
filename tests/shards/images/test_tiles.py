"""Tiled TIFFs: this project and Pillow read the same pixels, windows are exact, damage is noticed."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shards.images.pixels import decode_rgb
from shards.images.tiled_tiff import TILE_SIZE, BadTiles, TiledImage, encode_tiled

PLENTY = 1 << 40
SIDE = TILE_SIZE
SIZES = [(1, 1), (1, 300), (300, 1), (16, 16), (SIDE - 1, SIDE + 1), (SIDE, SIDE), (SIDE + 1, 2 * SIDE), (500, 411)]


def scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Returns (height, width, 3) uint8 of gradients and noise."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(seed).integers(0, 9, (height, width, 3))
    return ((np.stack([x, y, x + y], -1) + noise) % 256).astype(np.uint8)


def read(data: bytes, windows: list[tuple[int, int, int, int]]) -> list[np.ndarray]:
    outs = [np.empty((height, width, 3), np.uint8) for _, _, height, width in windows]
    TiledImage(data).read(np.array(windows), outs)
    return outs


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("grey", [False, True])
def test_pixels_are_the_same_for_every_reader(size: tuple[int, int], grey: bool) -> None:
    pixels = scene(*size)
    if grey:
        pixels = np.repeat(pixels[..., :1], 3, axis=2)
    data = encode_tiled(pixels, PLENTY)
    assert np.array_equal(TiledImage(data).read_all(), pixels)
    assert np.array_equal(decode_rgb(data), pixels)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "TIFF"
        assert image.size == size[::-1]
        assert image.mode == ("L" if grey else "RGB")
        image.load()


@given(st.data())
@settings(max_examples=15)
def test_windows_equal_slices(data: st.DataObject) -> None:
    height, width = data.draw(st.sampled_from(SIZES))
    pixels = scene(height, width)
    file = encode_tiled(pixels, PLENTY)
    windows = []
    for _ in range(data.draw(st.integers(1, 4))):
        top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        windows.append((top, left, data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))))
    for (top, left, h, w), found in zip(windows, read(file, windows), strict=True):
        assert np.array_equal(found, pixels[top : top + h, left : left + w])


@pytest.mark.parametrize("side", [64, 192])
def test_tiles_of_another_side_are_read_too(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards that were built with smaller or larger tiles stay readable."""
    pixels = scene(500, 411)
    monkeypatch.setattr("shards.images.tiled_tiff.TILE_SIZE", side)
    file = encode_tiled(pixels, PLENTY)
    monkeypatch.undo()
    assert np.array_equal(TiledImage(file).read_all(), pixels)
    (found,) = read(file, [(100, 130, 224, 224)])
    assert np.array_equal(found, pixels[100:324, 130:354])


def test_a_larger_array_is_left_alone_beyond_the_window() -> None:
    pixels = scene(50, 60)
    out = np.full((224, 224, 3), 7, np.uint8)
    TiledImage(encode_tiled(pixels, PLENTY)).read(np.array([(0, 0, 50, 60)]), [out])
    assert np.array_equal(out[:50, :60], pixels)
    assert (out[50:] == 7).all()
    assert (out[:, 60:] == 7).all()


def test_only_the_tiles_touched_are_read() -> None:
    """A window reads only the tiles that it touches: it is still exact when the bytes of all others are overwritten."""
    pixels = scene(5 * TILE_SIZE, 5 * TILE_SIZE)
    file = bytearray(encode_tiled(pixels, PLENTY))
    offsets, lengths = tile_table(file)
    touched = {6, 7, 11, 12}
    for number, (offset, length) in enumerate(zip(offsets, lengths, strict=True)):
        if number not in touched:
            file[offset : offset + length] = bytes(length)
    top = left = 2 * TILE_SIZE - 100
    (found,) = read(bytes(file), [(top, left, 224, 224)])
    assert np.array_equal(found, pixels[top : top + 224, left : left + 224])


def test_other_settings_are_tried_where_the_file_is_too_large() -> None:
    """If the file is larger than wanted, settings without the predictor are tried, too. The predictor turns the two
    values of this image into three."""
    noise = np.random.default_rng(0).integers(0, 2, (140, 140, 1), np.uint8)
    bits = np.concatenate([noise * 255, noise * 128, noise * 7], -1)
    first = encode_tiled(bits, PLENTY)
    smallest = encode_tiled(bits, 0)
    assert len(smallest) < len(first)
    assert np.array_equal(TiledImage(smallest).read_all(), bits)
    assert np.array_equal(decode_rgb(smallest), bits)


def tile_table(file: bytes | bytearray) -> tuple[list[int], list[int]]:
    """Returns (offsets, lengths) of the tiles, from the last two entries of the directory. The file must have several
    tiles."""
    (_, _, count, at), (_, _, _, lengths_at) = (
        struct.unpack_from("<HHII", file, 10 + 12 * entry) for entry in (10, 11)
    )
    return (list(struct.unpack_from(f"<{count}I", file, at)), list(struct.unpack_from(f"<{count}I", file, lengths_at)))


def with_value(file: bytes, tag: int, value: int) -> bytes:
    """Returns the file with ``value`` in the directory entry of ``tag``."""
    changed = bytearray(file)
    for entry in range(12):
        at = 10 + 12 * entry
        found, kind = struct.unpack_from("<HH", file, at)
        if found == tag:
            struct.pack_into("<H" if kind == 3 else "<I", changed, at + 8, value)
            return bytes(changed)
    raise AssertionError(f"no tag {tag}")


LARGE = encode_tiled(scene(400, 500), PLENTY)


def refused(data: bytes) -> bool:
    try:
        read(data, [(0, 0, 400, 500)])
    except BadTiles:
        return True
    return False


IMPOSSIBLE = [
    (256, 0),
    (256, 577),
    (256, 2**32 - 1),
    (257, 0),
    (257, 10**6),
    (259, 8),
    (277, 2),
    (277, 0),
    (284, 2),
    (317, 3),
    (322, 0),
    (322, 15),
    (322, 2**31),
    (323, 100),
    (323, 0),
    (324, 2**32 - 1),
    (324, len(LARGE) - 4),
    (325, 2**32 - 1),
]
"""(TIFF tag, value) pairs that make the directory of a tiled TIFF impossible."""


def test_an_impossible_directory_is_refused() -> None:
    window = [(0, 0, 400, 500)]
    assert read(LARGE, window)
    assert [change for change in IMPOSSIBLE if not refused(with_value(LARGE, *change))] == []


@pytest.mark.parametrize("what", ["offset", "length", "longer", "content"])
def test_a_damaged_tile_is_refused_and_costs_no_other(what: str) -> None:
    file = bytearray(LARGE)
    offsets, lengths = tile_table(file)
    table = struct.unpack_from("<I", file, 10 + 12 * (10 if what == "offset" else 11) + 8)[0]
    if what == "offset":
        struct.pack_into("<I", file, table, len(file) - 3)
    elif what == "content":
        file[offsets[0] + 9 : offsets[0] + lengths[0]] = bytes(lengths[0] - 9)
    else:
        struct.pack_into("<I", file, table, 3 if what == "length" else lengths[0] + 50)
    with pytest.raises(BadTiles, match="tile 0"):
        read(bytes(file), [(0, 0, 10, 10)])
    (found,) = read(bytes(file), [(200, 200, 10, 10)])
    assert np.array_equal(found, scene(400, 500)[200:210, 200:210])


def test_a_file_cut_off_is_refused() -> None:
    assert [cut for cut in (0, 1, 7, 8, 100, 150, 157, 158, 170, 200, 1000) if not refused(LARGE[:cut])] == []


def test_other_files_are_refused() -> None:
    buffer = io.BytesIO()
    Image.fromarray(scene(40, 40)).save(buffer, "TIFF", compression="zstd")
    for data in (buffer.getvalue(), b"\x89PNG\r\n\x1a\n" + bytes(500), bytes(500)):
        with pytest.raises(BadTiles):
            TiledImage(data)


@pytest.mark.parametrize(
    "window",
    [(-1, 0, 5, 5), (0, -1, 5, 5), (399, 0, 2, 1), (0, 499, 1, 2), (0, 0, 0, 5), (0, 0, 401, 500), (2**31, 0, 1, 1)],
)
def test_windows_outside_are_refused(window: tuple[int, int, int, int]) -> None:
    out = np.zeros((500, 500, 3), np.uint8)
    with pytest.raises(BadTiles, match="window"):
        TiledImage(LARGE).read(np.array([window]), [out])
    assert not out.any()


def test_an_array_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="array"):
        TiledImage(LARGE).read(np.array([(0, 0, 20, 20)]), [np.zeros((20, 19, 3), np.uint8)])


def test_damaged_files_are_refused_or_read() -> None:
    """Of 800 files with bytes changed anywhere, each gives pixels or ``BadTiles``, and never another exception."""
    random = np.random.default_rng(3)
    small = encode_tiled(scene(60, 250), PLENTY)
    refused = 0
    for _ in range(800):
        file = bytearray(small)
        end = len(file) if random.random() < 0.3 else 200
        for at in random.integers(0, end, random.integers(1, 4)):
            file[at] = random.integers(256)
        try:
            image = TiledImage(bytes(file))
            if image.width * image.height < 10**6:
                image.read_all()
        except BadTiles:
            refused += 1
    assert 80 < refused < 800
