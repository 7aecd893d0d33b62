"""Spliced windows equal the full decode bit for bit, and bad input results in a status, never in a crash.

This command tests 10,000 windows of every variant, and the photographs in a folder:

    GLASS_SPLICE_WINDOWS=10000 GLASS_PHOTOS=DIR pytest -m slow tests/loaders/test_splice.py
"""

import io
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from shards.images.baseline import to_baseline
from shards.jpeg.entry_points import HEADER, build_entry_points
from shards.jpeg.header_parser import read_header
from shards.jpeg.splice.splicer import STATUS_REASONS, TAIL_BYTES, Spliced, Splicer
from tests.images.jpeg_variants import NEED_CJPEG, VARIANTS, have_cjpeg, photograph

# The first call compiles for half a minute of one core, and much longer on a busy machine.
pytestmark = pytest.mark.timeout(900)

Decoder = Callable[[bytes], np.ndarray]

SIZES, OTHER_SIZES = [(1, 1), (5, 19), (61, 83), (33, 4)], [(3, 2), (16, 16), (17, 260), (130, 97)]
SPACINGS = [100, 1536]  # bits; with the first even small images have many entry points
TURBO_NAMES = {"CMYK": "CMYK", "YCCK": "CMYK"}


def as_bytes(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def pillow_decode(jpeg: bytes) -> np.ndarray:
    """Returns (height, width[, channels]) uint8."""
    return np.asarray(Image.open(io.BytesIO(jpeg)))


def draw_windows(rng: np.random.Generator, height: int, width: int, count: int) -> np.ndarray:
    """Draws windows, (count, 4) int32. The first is the whole image; the others have sizes from one pixel to the whole
    side, evenly on a logarithmic scale, and many touch a border."""
    windows = np.zeros((count, 4), np.int32)
    windows[0] = 0, 0, height, width
    for i in range(1, count):
        tall = min(int(2 ** rng.uniform(0, np.log2(height + 1))), height)
        wide = min(int(2 ** rng.uniform(0, np.log2(width + 1))), width)
        top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
        top = (top, 0, height - tall)[rng.choice(3, p=(0.6, 0.2, 0.2))]
        left = (left, 0, width - wide)[rng.choice(3, p=(0.6, 0.2, 0.2))]
        windows[i] = top, left, tall, wide
    return windows


def crop(image: np.ndarray, window: np.ndarray) -> np.ndarray:
    top, left, height, width = window
    return image[top : top + height, left : left + width]


def assert_exact(spliced: Spliced, windows: np.ndarray, full: np.ndarray, decode: Decoder) -> None:
    """Asserts that the pixels of every spliced window equal those of the full decode."""
    assert [STATUS_REASONS[s] for s in spliced.status] == ["ok"] * len(windows)
    for i, window in enumerate(windows):
        small = decode(bytes(spliced.jpeg(i)))
        assert small.shape[:2] == tuple(spliced.size[i]), window
        inside = (*spliced.origin[i], *window[2:])
        np.testing.assert_array_equal(crop(small, inside), crop(full, window), err_msg=str(window))


def make(name: str, height: int, width: int, seed: int = 0) -> bytes:
    if name in NEED_CJPEG and not have_cjpeg():
        pytest.skip("cjpeg is not installed (Debian: libjpeg-turbo-progs)")
    return VARIANTS[name](photograph(height, width, seed))


@pytest.mark.parametrize("sizes", [SIZES, pytest.param(OTHER_SIZES, marks=pytest.mark.slow)], ids=["some", "others"])
@pytest.mark.parametrize("name", VARIANTS)
def test_windows_equal_the_full_decode_by_pillow(name: str, sizes: list[tuple[int, int]]) -> None:
    rng = np.random.default_rng(len(name))
    for height, width in sizes:
        jpeg = make(name, height, width)
        full = pillow_decode(jpeg)
        windows = draw_windows(rng, height, width, 5)
        for spacing, restarts in zip(SPACINGS, (True, False), strict=True):
            mcu = build_entry_points(jpeg, spacing)
            spliced = Splicer(restarts).splice(as_bytes(jpeg), as_bytes(mcu), windows)
            assert_exact(spliced, windows, full, pillow_decode)


@pytest.mark.parametrize("name", ["grey", "4:4:4", "4:2:2", "4:2:0", "4:4:0", "4:1:1", "CMYK"])
def test_windows_equal_the_full_decode_by_libjpeg_turbo(name: str) -> None:
    """Spliced windows equal the full decode, even if the decoder is also given the bytes that follow the spliced JPEG
    in the buffer."""
    space = {"grey": "GRAY", "CMYK": "CMYK"}.get(name, "RGB")
    jpeg = make(name, 211, 305)
    full = simplejpeg.decode_jpeg(jpeg, space)
    windows = draw_windows(np.random.default_rng(1), 211, 305, 40)
    mcu = build_entry_points(jpeg, 400)
    spliced = Splicer().splice(as_bytes(jpeg), as_bytes(mcu), windows)
    assert_exact(spliced, windows, full, lambda data: simplejpeg.decode_jpeg(data, space))
    for i, window in enumerate(windows):
        small = simplejpeg.decode_jpeg(spliced.jpeg(i, TAIL_BYTES), space)
        inside = (*spliced.origin[i], *window[2:])
        np.testing.assert_array_equal(crop(small, inside), crop(full, window))


class DaliDecoder:
    """DALI's decoder on the CPU, with libjpeg's default upsampling and transform. It builds one pipeline and reuses
    it."""

    def __init__(self, max_batch_size: int) -> None:
        from nvidia.dali import fn, pipeline_def, types

        @pipeline_def(batch_size=max_batch_size, num_threads=1, device_id=None)
        def decode():  # type: ignore[no-untyped-def]
            encoded = fn.external_source(name="encoded", device="cpu")
            return fn.decoders.image(
                encoded,
                output_type=types.RGB,
                jpeg_fancy_upsampling=True,
                use_fast_idct=False,
                adjust_orientation=False,
            )

        self._pipeline = decode(prefetch_queue_depth=1)
        self._pipeline.build()

    def __call__(self, jpegs: list[bytes]) -> list[np.ndarray]:
        self._pipeline.feed_input("encoded", [as_bytes(jpeg) for jpeg in jpegs])
        (images,) = self._pipeline.run()
        return [np.asarray(images[i]) for i in range(len(jpegs))]


def pillow_decode_all(jpegs: list[bytes]) -> list[np.ndarray]:
    return [pillow_decode(jpeg) for jpeg in jpegs]


def assert_exact_by(
    decode_all: Callable[[list[bytes]], list[np.ndarray]], jpeg: bytes, spliced: Spliced, windows: np.ndarray
) -> None:
    """Does the same as :func:`assert_exact`, for a decoder that takes a batch."""
    assert [STATUS_REASONS[s] for s in spliced.status] == ["ok"] * len(windows)
    smalls = [bytes(spliced.jpeg(i)) for i in range(len(windows))]
    full, *decoded = decode_all([jpeg, *smalls])
    for i, (small, window) in enumerate(zip(decoded, windows, strict=True)):
        inside = (*spliced.origin[i], *window[2:])
        np.testing.assert_array_equal(crop(small, inside), crop(full, window), err_msg=str(window))


def test_windows_equal_the_full_decode_by_dali() -> None:
    rng = np.random.default_rng(2)
    names = ["grey", "4:4:4", "4:2:2", "4:2:0", "4:4:0", "4:1:1", "optimised", "many segments"]
    names += ["restart every 3 MCUs", "RGB", "fill bytes"]
    expected: list[tuple[int, np.ndarray, np.ndarray]] = []
    encoded: list[bytes] = []
    for number, name in enumerate(names):
        jpeg = make(name, 150, 203)
        encoded.append(jpeg)
        windows = draw_windows(rng, 150, 203, 6)
        mcu = as_bytes(build_entry_points(jpeg, 300))
        spliced = Splicer().splice(as_bytes(jpeg), mcu, windows)
        for i, window in enumerate(windows):
            expected.append((number, window, np.array([*spliced.origin[i], *window[2:]])))
            encoded.append(bytes(spliced.jpeg(i)))
    pixels = iter(DaliDecoder(len(encoded))(encoded))
    fulls: list[np.ndarray] = []
    for number, window, inside in expected:
        if number == len(fulls):
            fulls.append(next(pixels))
        np.testing.assert_array_equal(crop(next(pixels), inside), crop(fulls[number], window))


def test_output_is_closed_and_small() -> None:
    """A spliced JPEG ends with an EOI marker, decodes without a warning, and is not much larger than the window's share
    of the image's bytes."""
    jpeg = make("4:2:0", 600, 800)
    mcu = build_entry_points(jpeg)
    window = np.array([[200, 300, 128, 128]])
    for restarts in (False, True):
        spliced = Splicer(restarts).splice(as_bytes(jpeg), as_bytes(mcu), window)
        data = bytes(spliced.jpeg(0))
        assert data.endswith(b"\xff\xd9")
        assert (b"\xff\xd0" in data) == restarts
        assert read_header(data).restart_interval == (9 if restarts else 0)
        share = 160 * 160 / (600 * 800)
        assert len(data) < 1500 + 1.5 * share * len(jpeg)
        # A decoder that read past the last MCU would warn, which simplejpeg takes as an error.
        simplejpeg.decode_jpeg(data, strict=True)


def test_batch_of_images_and_failures() -> None:
    """Each failure has a reason and affects only its own window. All other windows are exact."""
    names = ["4:2:0", "grey", "RGB", "optimised"]
    jpegs = [make(name, 120, 90, seed) for seed, name in enumerate(names)]
    mcus = [build_entry_points(jpeg, 300) for jpeg in jpegs]
    fulls = [pillow_decode(jpeg) for jpeg in jpegs]
    jpegs.append(jpegs[0])
    mcus.append(b"")
    image_of = np.array([0, 0, 4, 1, 2, 1, 3])
    windows = np.array([[5, 6, 70, 50]] * 7, np.int32)
    windows[1] = 60, 60, 61, 30
    spliced = Splicer().splice_batch([as_bytes(j) for j in jpegs], [as_bytes(m) for m in mcus], windows, image_of)
    reasons = [STATUS_REASONS[status] for status in spliced.status]
    assert reasons[1:3] == ["window outside the image", "no entry points"]
    assert spliced.offsets[1] == spliced.offsets[2] == spliced.offsets[3]
    for i in (0, 3, 4, 5, 6):
        assert reasons[i] == "ok"
        small = pillow_decode(bytes(spliced.jpeg(i)))
        inside = (*spliced.origin[i], *windows[i, 2:])
        np.testing.assert_array_equal(crop(small, inside), crop(fulls[image_of[i]], windows[i]))


def test_no_windows() -> None:
    spliced = Splicer().splice_batch([], [], np.zeros((0, 4), np.int32), np.zeros(0, np.int64))
    assert spliced.offsets.tolist() == [0]


@pytest.mark.parametrize(
    "window", [(-1, 0, 5, 5), (0, -1, 5, 5), (0, 0, 0, 5), (0, 0, 5, -5), (40, 0, 2, 1), (2**31 - 1, 0, 9, 9)]
)
def test_window_outside_the_image(window: tuple[int, ...]) -> None:
    jpeg = make("grey", 41, 30)
    mcu = build_entry_points(jpeg)
    spliced = Splicer().splice(as_bytes(jpeg), as_bytes(mcu), np.array([window]))
    assert STATUS_REASONS[spliced.status[0]] == "window outside the image"


def resealed(mcu: bytes) -> bytes:
    """Returns ``mcu`` with the checksum of its header recomputed."""
    references = mcu[HEADER.size : HEADER.size + 4 * mcu[6]]
    check = zlib.crc32(references, zlib.crc32(mcu[: HEADER.size - 4]))
    return mcu[: HEADER.size - 4] + check.to_bytes(4, "little") + mcu[HEADER.size :]


def foreign_indexes() -> Iterator[tuple[str, bytes, bytes, str]]:
    """Yields (description, JPEG, entry points that do not belong to it or are damaged, expected reason)."""
    jpeg = make("4:2:0", 90, 100)
    mcu = build_entry_points(jpeg, 300)
    same_size = make("4:2:0", 90, 100, seed=1)
    yield "another photograph's", same_size, mcu, "entry points of another file"
    longer = jpeg + b"\0"
    yield "a longer file", longer, mcu, "entry points of another file"
    tables = bytearray(jpeg)
    tables[tables.index(b"\xff\xdb") + 10] ^= 1
    yield "another quantisation", bytes(tables), mcu, "entry points of another file"
    scan = bytearray(jpeg)
    scan[read_header(jpeg).scan_start + 20] ^= 0x10
    yield "a scan that begins otherwise", bytes(scan), mcu, "entry points of another file"
    for length in (1, 20, HEADER.size, HEADER.size + 5, len(mcu) - 1):
        yield f"cut to {length}", jpeg, mcu[:length], "damaged entry points"
    yield "too long", jpeg, mcu + b"\0", "damaged entry points"
    yield "other magic", jpeg, b"X" + mcu[1:], "damaged entry points"
    yield "other version", jpeg, resealed(mcu[:4] + b"\x02" + mcu[5:]), "damaged entry points"
    flipped = mcu[:30] + bytes([mcu[30] ^ 1]) + mcu[31:]
    yield "flipped bit", jpeg, flipped, "damaged entry points"


def test_index_of_another_file_is_found_out() -> None:
    window = np.array([[10, 20, 30, 40]])
    for what, jpeg, mcu, reason in foreign_indexes():
        spliced = Splicer().splice(as_bytes(jpeg), as_bytes(mcu), window)
        assert STATUS_REASONS[spliced.status[0]] == reason, what
        assert spliced.offsets.tolist() == [0, 0], what


def test_threads_share_a_splicer() -> None:
    """If threads call one splicer at the same time, for files with different tables, all windows are exact."""
    rng = np.random.default_rng(3)
    jpegs = [make("optimised", 150, 170, seed) for seed in range(6)]
    mcus = [build_entry_points(jpeg, 300) for jpeg in jpegs]
    fulls = [pillow_decode(jpeg) for jpeg in jpegs]
    splicer = Splicer()
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for number in np.random.default_rng(seed).permutation(6):
                jpeg, mcu = as_bytes(jpegs[number]), as_bytes(mcus[number])
                assert_exact(splicer.splice(jpeg, mcu, windows), windows, fulls[number], pillow_decode)
        except BaseException as error:
            errors.append(error)

    windows = draw_windows(rng, 150, 170, 6)
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_bytes_read_follow_the_window_not_the_image() -> None:
    """A window still decodes exactly after the rest of the file is overwritten: only the header, the entry points and
    the bits of the window's rows are read."""
    jpeg = make("4:2:0", 700, 400)
    mcu = build_entry_points(jpeg, 500)
    window = np.array([[320, 100, 64, 64]])
    expected = bytes(Splicer().splice(as_bytes(jpeg), as_bytes(mcu), window).jpeg(0))
    start = read_header(jpeg).scan_start
    damaged = bytearray(jpeg)
    middle = len(jpeg) // 2
    for low, high in ((start + 300, middle - 12_000), (middle + 12_000, len(jpeg))):
        assert low < high
        damaged[low:high] = bytes(high - low)
    spliced = Splicer().splice(as_bytes(bytes(damaged)), as_bytes(mcu), window)
    assert STATUS_REASONS[spliced.status[0]] == "ok"
    assert bytes(spliced.jpeg(0)) == expected


@pytest.fixture(scope="module")
def batch_decoders() -> dict[str, Callable[[list[bytes]], list[np.ndarray]]]:
    return {"pillow": pillow_decode_all, "dali": DaliDecoder(101)}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", VARIANTS)
def test_many_windows_of_every_variant(name: str, batch_decoders) -> None:  # type: ignore[no-untyped-def]
    """Checks ``GLASS_SPLICE_WINDOWS`` windows (600 by default) in images of up to 3,000 pixels a side."""
    count = int(os.environ.get("GLASS_SPLICE_WINDOWS", "600"))
    rng = np.random.default_rng(4)
    per_image = 100
    splicers = [Splicer(False), Splicer(True)]
    for number in range(-(-count // per_image)):
        limit = 3000 if number % 10 == 0 else 400
        height, width = (int(2 ** rng.uniform(0, np.log2(limit))) for _ in range(2))
        jpeg = make(name, height, width, number)
        mcu = build_entry_points(jpeg, int(rng.choice([64, 300, 1536, 8192])))
        windows = draw_windows(rng, height, width, per_image)
        windows[1:, 2:] = np.minimum(windows[1:, 2:], 300)
        spliced = splicers[number % 2].splice(as_bytes(jpeg), as_bytes(mcu), windows)
        for decode_all in batch_decoders.values():
            assert_exact_by(decode_all, jpeg, spliced, windows)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_photographs(batch_decoders) -> None:  # type: ignore[no-untyped-def]
    """Checks 100 windows of every JPEG under ``GLASS_PHOTOS``. Progressive JPEGs are first converted as a build
    converts them."""
    folder = os.environ.get("GLASS_PHOTOS")
    if not folder:
        pytest.skip("GLASS_PHOTOS names no folder of photographs")
    paths = sorted({p.resolve() for p in Path(folder).rglob("*.jp*g")})
    rng = np.random.default_rng(5)
    for path in paths:
        jpeg = path.read_bytes()
        if read_header(jpeg).progressive:
            jpeg = to_baseline(jpeg)
        mcu = build_entry_points(jpeg)
        header = read_header(jpeg)
        windows = draw_windows(rng, header.height, header.width, 100)
        windows[1:, 2:] = np.minimum(windows[1:, 2:], 300)
        spliced = Splicer().splice(as_bytes(jpeg), as_bytes(mcu), windows)
        for decode_all in batch_decoders.values():
            assert_exact_by(decode_all, jpeg, spliced, windows)
    assert paths, f"no JPEG under {folder}"
