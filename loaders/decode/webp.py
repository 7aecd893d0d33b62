"""WebP decoding with torchvision, which copies less memory than Pillow does.

torchvision and Pillow each bundle their own copy of libwebp and call different functions in it. So before the first
file is decoded, both decode a test image to check that they give the same pixels.
"""

import io
import logging
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from loaders.decode.jobs import WholeJob
from shards.optional import optional

__all__ = ["decode_webp"]

logger = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]


def decode_webp(job: WholeJob) -> Pixels | None:
    """Returns the pixels of a WebP, (height, width, 3) uint8, or ``None`` if the reference decoder must be used
    instead.

    The reference decoder is used for other formats, for WebPs with alpha or animation, and if torchvision cannot be
    used. It is also used for damaged files, so that the recorded error message is the reference decoder's.
    """
    if job.image_format != "WEBP" or job.mode != "RGB" or (decode := _decoder()) is None:
        return None
    try:
        pixels = decode(job.data)
    except RuntimeError:
        return None
    return pixels if pixels.shape[:2] == (job.height, job.width) else None


@cache
def _decoder() -> Callable[[Pixels], Pixels] | None:
    """Returns a function that decodes the bytes of a WebP, or ``None`` if torchvision is missing, cannot read WebP, or
    gives pixels that differ from Pillow's."""
    library = optional("torchvision.io")
    read = getattr(library, "decode_webp", None)
    if read is None:
        logger.warning("this torchvision cannot read WebP, so Pillow decodes it: it is slower")
        return None

    def decode(data: Pixels) -> Pixels:
        pixels: torch.Tensor = read(torch.from_numpy(data.copy()), "RGB")  # torch needs writable memory
        return pixels.permute(1, 2, 0).numpy()

    try:
        exact = _is_exact(decode)
    except (RuntimeError, AttributeError) as error:  # it was built without libwebp or without image decoders
        logger.warning("this torchvision cannot read WebP (%s), so Pillow decodes it: it is slower", error)
        return None
    if not exact:
        logger.warning("torchvision's pixels of WebP differ from Pillow's, so Pillow decodes it: it is slower")
        return None
    return decode


def _is_exact(decode: Callable[[Pixels], Pixels]) -> bool:
    """Checks whether ``decode`` decodes a lossy WebP with hard edges to the same pixels as Pillow."""
    pixels = np.random.default_rng(0).integers(0, 256, (13, 17, 3), np.uint8).repeat(3, 0).repeat(3, 1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=75)
    with Image.open(file) as image:
        expected = np.asarray(image.convert("RGB"))
    return np.array_equal(decode(np.frombuffer(file.getvalue(), np.uint8)), expected)
