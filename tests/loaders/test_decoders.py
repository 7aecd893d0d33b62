"""For every window, including those at an image's edges, four decoders give the same pixels as the oracle (Pillow's
full decode)."""

import io
import struct
import zlib
from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torchvision.io import decode_webp

from loaders.batch import BufferPool
from loaders.decode import webp
from loaders.decode.dali import DaliDecoder, define_spliced_pipeline, define_whole_pipeline
from loaders.decode.dali_files import not_for_dali, not_for_nvjpeg
from loaders.decode.jobs import WholeJob, WindowJob
from loaders.decode.reference import ReferenceDecoder
from loaders.decode.torchvision_jpeg import TorchvisionDecoder
from loaders.decode.turbo import TurboDecoder
from loaders.stats import LoaderStats
from shards.jpeg.header_parser import read_header
from tests.images.image_files import chunk

CROP, NUM_CROPS = 48, 3


def picture(height, width, mode="RGB"):
    """Returns an image whose red and green channels encode the position, and whose blue channel is noise, so that no
    two crops look alike."""
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(height * 7919 + width).integers(0, 256, (height, width))
    pixels = np.stack([columns * 255 // width, rows * 255 // height, noise], -1).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encode(image, file_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def job(data, image, file_format, sample, windows=None):
    """Returns a job that decodes the whole image for windows in two corners and in the middle, or for ``windows``."""
    width, height = image.size
    high, wide = min(CROP, height), min(CROP, width)
    if windows is None:
        windows = [
            (0, 0, high, wide),
            (height - high, width - wide, high, wide),
            ((height - high) // 2, (width - wide) // 2, high, wide),
        ]
    first = sample * NUM_CROPS
    return WholeJob(
        data,
        height,
        width,
        np.array(windows, np.int32),
        np.arange(first, first + len(windows)),
        sample,
        file_format,
        image.mode,
    )


def variants():
    """Returns (format, image, options) of JPEGs of every subsampling and mode, PNGs of every mode, WebPs and a TIFF,
    larger and smaller than a crop."""
    cases = []
    for height, width in [(100, 130), (48, 48), (20, 90), (61, 1), (1, 1)]:
        for mode in ("RGB", "L", "CMYK"):
            image = picture(height, width, mode)
            for subsampling in (0, 1, 2):
                options = {"subsampling": subsampling} if mode == "RGB" else {}
                cases.append(("JPEG", image, {"quality": 88, **options}))
        cases.append(("JPEG", picture(height, width), {"progressive": True}))
        for mode in ("RGB", "RGBA", "L", "LA", "P", "1"):
            cases.append(("PNG", picture(height, width, mode), {}))
        for mode in ("RGB", "RGBA", "L"):
            cases.append(("WEBP", picture(height, width, mode), {"quality": 70}))
    animation = {"save_all": True, "append_images": [picture(90, 80, "L").convert("RGB")]}
    cases += [("WEBP", picture(90, 80), options) for options in ({"lossless": True}, animation)]
    cases.append(("TIFF", picture(90, 80), {}))
    return cases


@cache
def encoded_variants():
    """Returns (format, job, Pillow's mode, Pillow's pixels) of each of ``variants``."""
    found = []
    for number, (file_format, image, options) in enumerate(variants()):
        data = encode(image, file_format, **options)
        stored = Image.open(io.BytesIO(data.tobytes()))
        mode = stored.mode
        if "A" in mode or mode == "P":
            stored = stored.convert("RGBA")  # the colours under the alpha, which is then dropped
        found.append((file_format, job(data, image, file_format, number), mode, np.asarray(stored.convert("RGB"))))
    return found


def make_decoder(name):
    if name == "dali":
        return DaliDecoder("cpu", num_crops=NUM_CROPS, crop_size=CROP, batch_size=128, num_threads=2)
    if name == "nvjpeg":
        return TorchvisionDecoder("cpu")
    return {"turbo": TurboDecoder, "reference": ReferenceDecoder}[name]()


def decode(name, jobs):
    """Decodes ``jobs`` with the decoder called ``name``. Returns all crops and the failures. The buffer is filled with
    77 beforehand, to reveal crops that were not written."""
    crops = torch.full((len(jobs) * NUM_CROPS, CROP, CROP, 3), 77, dtype=torch.uint8)
    decoder = make_decoder(name)
    failures = decoder.decode(jobs, crops)
    decoder.close()
    return crops.numpy(), failures


@pytest.mark.parametrize("name", ["reference", "turbo", "dali", "nvjpeg"])
def test_crops_equal_the_oracle_for_every_format(name):
    """Every decoder gives exactly the pixels of Pillow's own decode, cut and padded by hand."""
    cases = encoded_variants()
    crops, failures = decode(name, [one for _, one, *_ in cases])
    assert failures == []
    for file_format, one, mode, pixels in cases:
        for (top, left, height, width), slot in zip(one.windows, one.slots, strict=True):
            expected = np.zeros((CROP, CROP, 3), np.uint8)
            expected[:height, :width] = pixels[top : top + height, left : left + width]
            assert (crops[slot] == expected).all(), (name, file_format, mode, pixels.shape)


@pytest.mark.parametrize("name", ["reference", "turbo", "dali", "nvjpeg"])
def test_one_broken_file_costs_no_other(name):
    """A cut-off file, noise, and a file of the wrong size fail without affecting other files: their crops are zero, and
    all others are right."""
    image = picture(100, 130)
    good = encode(image, "JPEG")
    noise = np.random.default_rng(0).integers(0, 256, 3000).astype(np.uint8)
    jobs = [
        job(good, image, "JPEG", 0),
        job(good[: good.size // 2], image, "JPEG", 1),
        job(noise, image, "JPEG", 2),
        job(encode(picture(90, 130), "JPEG"), image, "JPEG", 3),
        job(good, image, "JPEG", 4),
    ]
    crops, failures = decode(name, jobs)
    assert sorted({failure.sample for failure in failures}) == [1, 2, 3]
    assert (crops[NUM_CROPS : 4 * NUM_CROPS] == 0).all()
    alone, _ = decode("reference", jobs[:1])
    assert (crops[:NUM_CROPS] == alone).all()
    assert (crops[4 * NUM_CROPS :] == alone).all()


def webp_jobs():
    """Returns jobs for an intact WebP, for the first half of it, and for a WebP whose size differs from that in the
    job."""
    image = picture(100, 130)
    good = encode(image, "WEBP")
    return [
        job(good, image, "WEBP", 0),
        job(good[: good.size // 2], image, "WEBP", 1),
        job(encode(picture(90, 130), "WEBP"), image, "WEBP", 2),
    ]


def test_webp_is_decoded_without_pillow(monkeypatch):
    """Pillow is called only for damaged files, to determine the reason why they cannot be decoded."""
    asked = []
    by_oracle = ReferenceDecoder.decode
    monkeypatch.setattr(
        ReferenceDecoder, "decode", lambda self, jobs, crops: asked.extend(jobs) or by_oracle(self, jobs, crops)
    )
    _, failures = decode("turbo", webp_jobs())
    assert [one.sample for one in asked] == [1, 2]
    assert [(failure.sample, failure.reason) for failure in failures] == [
        (1, "undecodable"),
        (2, "size differs from manifest"),
    ]


def without_libwebp(data, mode):
    raise RuntimeError("decode_webp: torchvision not compiled with libwebp support")


@pytest.mark.parametrize("fault", ["missing", "built without", "other pixels"])
def test_webp_is_left_to_pillow_where_torchvision_cannot_be_trusted(fault, monkeypatch, caplog):
    webp._decoder.cache_clear()
    if fault == "missing":
        monkeypatch.setattr(webp, "optional", lambda name: None)
    elif fault == "built without":
        monkeypatch.setattr(torchvision.io, "decode_webp", without_libwebp)
    else:
        monkeypatch.setattr(torchvision.io, "decode_webp", lambda data, mode: decode_webp(data, mode).bitwise_not())
    crops, _ = decode("turbo", webp_jobs())
    webp._decoder.cache_clear()
    expected, _ = decode("reference", webp_jobs())
    assert (crops == expected).all()
    assert "so Pillow decodes it" in caplog.text


@pytest.mark.parametrize("name", ["dali", "nvjpeg"])
def test_spliced_jobs_and_whole_ones_are_decoded_in_one_batch(name):
    """A whole image and a spliced JPEG, made for one window, are decoded in the same call and have the right pixels. In
    DALI, the spliced one goes through the fused decoder."""
    image = picture(100, 130)
    data = encode(image, "JPEG")
    spliced = WindowJob(data, data.size, 100, 130, (5, 9, CROP, 40), 3, 1, "RGB")
    here, failures = decode(name, [job(data, image, "JPEG", 0), spliced])
    by_pillow, _ = decode("reference", [job(data, image, "JPEG", 0), spliced])
    assert failures == []
    assert (here[:4] == by_pillow[:4]).all()


def test_gpu_graphs_are_constructed_without_a_gpu():
    """The definitions of DALI's pipelines accept a GPU as the device. Building these pipelines requires a machine with
    a GPU."""
    size = {"crop_size": 224, "batch_size": 8, "num_threads": 2}
    assert define_whole_pipeline("cuda", num_crops=4, **size) is not None
    assert define_spliced_pipeline("cuda", **size) is not None


def test_buffers_are_lent_again_only_when_nobody_looks_at_them():
    """A buffer is not reused while a view of it exists, and is reused once the last view has been dropped."""
    pool = BufferPool(keep=2, pinned=False)
    first = pool.borrow((4, 5))
    address, view = first.data_ptr(), first.permute(1, 0)[2:]
    del first
    second = pool.borrow((4, 5))
    assert second.data_ptr() != address
    del view
    assert pool.borrow((4, 5)).data_ptr() == address


def animated_png(pixels, others):
    """Returns an APNG whose default image is not one of its frames. Pillow shows the default image, DALI the first
    frame."""
    data = encode(Image.fromarray(pixels), "PNG").tobytes()
    height, width = pixels.shape[:2]
    frames = b""
    for number, other in enumerate(others):
        control = struct.pack(">5I2H2B", 2 * number, width, height, 0, 0, 1, 10, 0, 0)
        lines = np.hstack([np.zeros((height, 1), np.uint8), other.reshape(height, -1)])
        body = struct.pack(">I", 2 * number + 1) + zlib.compress(lines.tobytes())
        frames += chunk(b"fcTL", control) + chunk(b"fdAT", body)
    animation = chunk(b"acTL", struct.pack(">II", len(others), 0))
    whole = data[:33] + animation + data[33:-12] + frames + data[-12:]
    return np.frombuffer(whole, np.uint8)


def without_marker(data, header_field):
    """Returns the JPEG ``data`` without its JFIF or Adobe segment. ``header_field`` is the attribute of the parsed
    header that holds the segment's offset."""
    at = getattr(read_header(data), header_field)
    length = int.from_bytes(data[at - 2 : at].tobytes(), "big")
    return np.concatenate([data[: at - 4], data[at - 2 + length :]])


def test_a_gpu_gets_no_spliced_jpeg_of_unusual_colours():
    """Spliced JPEGs of unusual colour spaces are not sent to a GPU: whether nvJPEG obeys an Adobe marker, as
    libjpeg-turbo does, has never been verified."""
    image = picture(100, 130)
    rgb = without_marker(encode(image, "JPEG", keep_rgb=True), "adobe_offset")
    files = [
        (encode(image, "JPEG"), None),
        (without_marker(encode(image, "JPEG"), "jfif_offset"), None),
        (encode(image, "JPEG", keep_rgb=True), "JPEG without colour transform"),
        (rgb, "JPEG of unknown colour space"),
        (rgb[:2], "unusual header"),
    ]
    for data, reason in files:
        spliced = WindowJob(data, data.size, 100, 130, (5, 9, CROP, 40), 0, 0, "RGB")
        assert not_for_nvjpeg(spliced) == not_for_dali(spliced, on_gpu=True) == reason
        assert not_for_dali(spliced, on_gpu=False) is None


def test_dali_gets_only_what_it_must_show_as_the_oracle_does():
    """Files that DALI might show differently are left to Pillow and counted by reason. All pixels equal Pillow's."""
    image = picture(100, 130)
    pixels = np.asarray(image)
    two = encode(image, "MPO", save_all=True, append_images=[picture(90, 80)], quality=90)
    rgb = without_marker(encode(image, "JPEG", keep_rgb=True), "adobe_offset")
    plain, whole = encode(image, "JPEG"), encode(image, "JPEG", progressive=True)
    last_table, missing = whole.tobytes().rindex(b"\xff\xc4"), "JPEG without all of its scans"
    files = [
        ("PNG", animated_png(pixels, [255 - pixels, pixels[::-1].copy()]), "several pictures"),
        ("PNG", encode(image, "PNG"), None),
        ("JPEG", two, None),  # the first picture, by all decoders
        ("JPEG", plain, None),
        ("JPEG", without_marker(plain, "jfif_offset"), None),
        ("JPEG", rgb, "JPEG of unknown colour space"),
        ("JPEG", encode(image, "JPEG", keep_rgb=True), "JPEG without colour transform"),
        ("WEBP", encode(image, "WEBP", lossless=True), "format WEBP"),
        ("JPEG", whole, None),
        ("JPEG", np.append(whole[:last_table], [0xFF, 0xD9]).astype(np.uint8), missing),
    ]
    jobs = [job(data, image, kind, k) for k, (kind, data, _) in enumerate(files)]
    stats = LoaderStats()
    decoder = DaliDecoder("cpu", num_crops=NUM_CROPS, crop_size=CROP, batch_size=16, num_threads=2, stats=stats)
    crops = torch.zeros((len(jobs) * NUM_CROPS, CROP, CROP, 3), dtype=torch.uint8)
    assert decoder.decode(jobs, crops) == []
    decoder.close()
    assert stats.snapshot()["on_host"] == Counter(reason for *_, reason in files if reason)
    expected, failures = decode("reference", jobs)
    assert failures == []
    assert (crops.numpy() == expected).all()
