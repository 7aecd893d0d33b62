"""Decides between splicing a sample's windows and decoding it whole, by a cost model fitted to measurements.

Decoding costs a fixed amount per call, an amount per pixel and an amount per byte of entropy-coded data; splicing adds
an amount per window. Only the cost ratio of the two ways matters, and it varies between machines far less than the
costs themselves.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["decode_us", "windows_are_cheaper"]

# Microseconds on one core of an AMD EPYC (Zen 4), libjpeg-turbo 3; fitted to `glass bench decode` on
# photographs (1.5 bits a pixel) and synthetic images (3.1) of 0.1 to 48 megapixels, in docs/LOG.md.
# They reproduce the decode times there to 3 %.
CALL_US = 20.0
PIXEL_US = 0.0021
BYTE_US = 0.0052
SPLICE_US = 50.0

MARGIN = 20
"""Average number of pixels added to a window's height and to its width when it is extended to whole MCUs plus a
margin."""


def decode_us(pixels: npt.ArrayLike, num_bytes: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Estimates, elementwise, the time in microseconds to decode JPEGs with the given pixel counts and byte sizes."""
    return CALL_US + PIXEL_US * np.asarray(pixels, float) + BYTE_US * np.asarray(num_bytes, float)


def windows_are_cheaper(
    height: npt.NDArray[np.integer],
    width: npt.NDArray[np.integer],
    num_bytes: npt.NDArray[np.integer],
    windows: npt.NDArray[np.int32],
) -> npt.NDArray[np.bool_]:
    """Returns (B,) bool: whether splicing the windows of each image costs less than one full decode.

    ``height`` and ``width`` (pixels) and ``num_bytes`` are (B,); ``windows`` is (B, N, 4), zeros where there is no
    window. Assumes that an image's bytes are spread evenly over its area.
    """
    pixels = height.astype(float) * width
    wide = np.minimum(windows[..., 3] + MARGIN, width[:, None]).astype(float)
    high = np.minimum(windows[..., 2] + MARGIN, height[:, None])
    share = wide * high / pixels[:, None]
    spliced = SPLICE_US + decode_us(wide * high, share * num_bytes[:, None])
    return (spliced * (windows[..., 2] > 0)).sum(axis=1) < decode_us(pixels, num_bytes)
