"""Every way of resizing gives the same bits as Pillow, for the whole image and for a part of it."""

import hashlib

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shards.images import resize
from shards.images.resampling import resampled
from shards.images.resize import columns_come_first, resized, resized_image, resized_part

SIDES = st.integers(1, 12) | st.integers(1, 260)


of_pillow_13 = pytest.mark.skipif(
    int(PIL.__version__.split(".")[0]) < 13, reason="earlier versions resize upright images to other pixels"
)


def by_pillow(pixels, width, height, cubic):
    kind = Image.Resampling.BICUBIC if cubic else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(pixels).resize((width, height), kind))


@settings(max_examples=30)
@given(SIDES, SIDES, SIDES, SIDES, st.booleans(), st.booleans(), st.randoms(use_true_random=False))
def test_kernels_equal_pillow(height, width, tall, wide, cubic, extreme, random):
    """The compiled kernels give Pillow's bits for a whole image and for a part. Images of only 0 and 255 are among the
    examples, because with them the cubic filter leaves the range of a byte."""
    pixels = np.random.default_rng(height * 997 + width).integers(0, 256, (height + 2, width + 1, 3), np.uint8)
    if extreme:
        pixels = np.where(pixels > 127, 255, 0).astype(np.uint8)
    pixels = pixels[2:, 1:]  # rows lie apart
    if columns_come_first((height, width), (tall, wide)):
        return
    expected = by_pillow(pixels, wide, tall, cubic)
    np.testing.assert_array_equal(resampled(pixels, (tall, wide), (0, 0, tall, wide), cubic), expected)
    top, left = random.randrange(tall), random.randrange(wide)
    part = (top, left, random.randint(1, tall - top), random.randint(1, wide - left))
    cut = expected[top : top + part[2], left : left + part[3]]
    np.testing.assert_array_equal(resampled(pixels, (tall, wide), part, cubic), cut)


@pytest.mark.parametrize("size", [pytest.param((400, 90), marks=of_pillow_13), (90, 400)])
def test_pillow_first_then_kernels(size, monkeypatch):
    """A process that resizes little uses Pillow and does not load Numba. Tall images are always resized by Pillow."""
    asked = []
    monkeypatch.setattr(resize, "_by_pillow", 0)
    monkeypatch.setattr(resize, "_PILLOWS_SHARE", 2 * 400 * 90)
    monkeypatch.setattr("shards.images.resampling.resampled", lambda *given: asked.append(given) or resampled(*given))
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = by_pillow(pixels, 64, 64, False)
    for _ in range(4):
        np.testing.assert_array_equal(resized(pixels, 64, 64), expected)
        np.testing.assert_array_equal(resized_part(pixels, 64, 64, 3, 5, 20, 30), expected[3:23, 5:35])
    assert len(asked) == (0 if columns_come_first(size, (64, 64)) else 6)


@of_pillow_13
@settings(max_examples=60)
@given(SIDES, SIDES, SIDES, SIDES, st.booleans(), st.none() | st.tuples(*[st.floats(0, 1)] * 4))
def test_images_equal_those_of_pillow_13(height, width, tall, wide, cubic, share):
    image = Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8))
    kind = Image.Resampling.BICUBIC if cubic else Image.Resampling.BILINEAR
    box = None
    if share is not None:
        (left, right), (top, bottom) = sorted(share[:2]), sorted(share[2:])
        box = (left * width, top * height, right * width, bottom * height)
        if right - left < 0.01 or bottom - top < 0.01:
            return
    expected = image.resize((wide, tall), kind, box)
    np.testing.assert_array_equal(resized_image(image, (wide, tall), kind, box), expected)


def test_pixels_do_not_depend_on_the_version_of_pillow():
    """Upright images, for which Pillow 12 gives other pixels than 13: digests that both versions gave."""
    y, x = np.mgrid[:300, :100]
    pixels = np.stack([(x * 37 + y * y) % 256, (x * y) % 256, (x * x * 7 + y * 91) % 256], axis=-1).astype(np.uint8)
    found = hashlib.sha256()
    for kind in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC):
        for size, box in (((64, 64), None), ((50, 31), (3.25, 10.5, 90.0, 280.75)), ((120, 40), None)):
            assert columns_come_first((300, 100), size[::-1])
            found.update(np.asarray(resized_image(Image.fromarray(pixels), size, kind, box)).tobytes())
    assert found.hexdigest()[:16] == "360da1007171dcc8"
