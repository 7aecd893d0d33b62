"""The loader decodes single windows or the whole image, whichever is estimated to cost less."""

import numpy as np

from loaders.decode.window_or_whole import decode_us, windows_are_cheaper


def choose(height: int, width: int, num_crops: int, bits_per_pixel: float = 2.0) -> bool:
    windows = np.tile(np.array([0, 0, min(224, height), min(224, width)], np.int32), (num_crops, 1))
    num_bytes = np.array([int(height * width * bits_per_pixel / 8)])
    return bool(windows_are_cheaper(np.array([height]), np.array([width]), num_bytes, windows[None])[0])


def test_large_images_are_spliced_and_small_ones_decoded_whole():
    assert choose(3000, 4000, 4)
    assert choose(3000, 4000, 16)
    assert not choose(270, 360, 4)  # the windows cover the image several times
    assert not choose(100, 100, 1)  # smaller than a crop: nothing to save


def test_more_crops_tip_the_choice_once():
    """Up to some number of crops decoding windows is cheaper; for every larger number, decoding the whole image is."""
    chosen = [choose(800, 1000, count) for count in range(1, 40)]
    assert chosen[0]
    assert not chosen[-1]
    assert chosen == sorted(chosen, reverse=True)


def test_each_image_of_a_batch_is_judged_alone():
    height, width = np.array([3000, 200, 900]), np.array([4000, 300, 1200])
    num_bytes = height * width // 4
    windows = np.tile(np.array([0, 0, 200, 200], np.int32), (3, 4, 1))
    together = windows_are_cheaper(height, width, num_bytes, windows)
    for k in range(3):
        alone = windows_are_cheaper(height[k : k + 1], width[k : k + 1], num_bytes[k : k + 1], windows[k : k + 1])
        assert alone[0] == together[k]


def test_cost_grows_with_pixels_and_bytes():
    pixels, num_bytes = np.meshgrid([1e4, 1e6, 1e8], [1e3, 1e5, 1e7])
    cost = decode_us(pixels, num_bytes)
    assert (np.diff(cost, axis=0) > 0).all()
    assert (np.diff(cost, axis=1) > 0).all()
