"""Checks of ``glass bench doctor``: do all decoders on this machine produce the same pixels?

The test images are JPEGs of common kinds (4:2:0, 4:4:4, grey, progressive), whose width and height are not multiples of
a JPEG block's side. They are decoded by libjpeg-turbo, by DALI on the CPU and, if there is a GPU, by nvJPEG, with the
loader's settings. Pillow is the reference decoder.
"""

import argparse
import io
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from shards.optional import optional

__all__ = [
    "ABSENT",
    "GOOD",
    "SLOW",
    "WRONG",
    "Answer",
    "Check",
    "check_cpu_decoding",
    "check_dali",
    "check_gpu_decoding",
    "seconds",
]

GOOD, SLOW, WRONG, ABSENT = "good", "slow", "wrong", "absent"
Answer = tuple[str, str]
"""(one of the four verdicts above, a sentence that explains it)."""
Check = Callable[[argparse.Namespace], Answer]
"""A check takes the command's options. If it raises an exception, its verdict is "wrong"."""
Pixels = npt.NDArray[np.uint8]

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "4:2:0": ("RGB", {"subsampling": "4:2:0"}),
    "4:4:4": ("RGB", {"subsampling": "4:4:4"}),
    "grey": ("L", {}),
    "progressive": ("RGB", {"subsampling": "4:2:0", "progressive": True}),
}
"""Maps each kind of JPEG to the Pillow image mode and ``save`` options that produce it."""
WIDTH, HEIGHT = 1021, 765
MIN_CPU_DECODE_MP_S = 60.0
"""Minimum CPU decoding speed in megapixels per second, about that of a ten-year-old core. Anything below is reported as
"slow"."""
MAX_NVJPEG_DIFFERENCE = 4
"""Maximum difference in grey levels between nvJPEG's and libjpeg-turbo's pixels. It is not 0, because nvJPEG rounds
differently. On a CPU all decoders use libjpeg-turbo, so their pixels must be equal."""


@cache
def built_in_images() -> dict[str, tuple[bytes, Pixels]]:
    """Returns, for each kind of JPEG, a test image with smooth colours and fine texture: the JPEG itself, and its
    pixels as decoded by Pillow, (H, W, 3) RGB."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    pixels = np.stack([x // 4, y // 3, (x * 7 + y * 13) % 256], axis=-1).astype(np.uint8)
    images = {}
    for kind, (mode, settings) in KINDS.items():
        buffer = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", quality=92, **settings)
        images[kind] = buffer.getvalue(), np.asarray(Image.open(buffer).convert("RGB"))
    return images


def check_cpu_decoding(_: argparse.Namespace) -> Answer:
    """Compares libjpeg-turbo's pixels with Pillow's, and measures libjpeg-turbo's speed."""
    simplejpeg = optional("simplejpeg")
    if simplejpeg is None:
        return ABSENT, "simplejpeg is not installed: torchvision decodes where its pixels are equal, else Pillow"
    unequal = _above(_differences(lambda data: simplejpeg.decode_jpeg(data, "RGB")), 0)
    if unequal:
        return WRONG, f"libjpeg-turbo and Pillow decode differently ({unequal}): reinstall both"
    data, _pixels = built_in_images()["4:2:0"]
    rate = WIDTH * HEIGHT / 1e6 / seconds(lambda: simplejpeg.decode_jpeg(data), at_least_s=0.5)
    words = f"equal to Pillow's on {', '.join(KINDS)}; {rate:.0f} megapixels/s on a core"
    if rate < MIN_CPU_DECODE_MP_S:
        return SLOW, f"{words}, below {MIN_CPU_DECODE_MP_S:.0f}: this core is slow or busy"
    return GOOD, words


def check_dali(_: argparse.Namespace) -> Answer:
    """Compares DALI's pixels on the CPU with Pillow's."""
    if optional("nvidia.dali") is None:
        return ABSENT, "DALI is not installed (Linux only): images are decoded by libjpeg-turbo, which needs no GPU"
    unequal = _above(_differences(lambda data: decode_by_dali(data, "cpu")), 0)
    if unequal:
        return WRONG, f"DALI on the CPU and Pillow decode differently ({unequal}): reinstall both"
    return GOOD, f"decodes {', '.join(KINDS)} on the CPU to the same pixels as Pillow"


def check_gpu_decoding(_: argparse.Namespace) -> Answer:
    """Compares nvJPEG's pixels (DALI ``mixed``) with libjpeg-turbo's."""
    differences = _differences(lambda data: decode_by_dali(data, "cuda"))
    found = ", ".join(f"{kind} {levels}" for kind, levels in differences.items())
    words = f"largest differences between nvJPEG and libjpeg-turbo, in grey levels: {found}"
    if _above(differences, MAX_NVJPEG_DIFFERENCE):
        return WRONG, f"{words}; this is more than rounding: train and predict with the same decoder"
    return GOOD, words


def decode_by_dali(data: bytes, device: Any) -> Pixels:
    """(H, W, 3) RGB pixels of the JPEG ``data``, decoded as ``loaders.decode.dali`` does. ``device`` is cpu or cuda."""
    from nvidia.dali import fn, pipeline_def, types

    from loaders.decode.dali import DECODER, EXACT

    @pipeline_def(batch_size=1, num_threads=1, device_id=0 if device == "cuda" else None)
    def pipeline() -> Any:
        encoded = fn.external_source(lambda: [np.frombuffer(data, np.uint8)], dtype=types.UINT8)
        return fn.decoders.image(encoded, device=DECODER[device], **EXACT)

    built = pipeline()
    built.build()
    (output,) = built.run()
    return np.asarray((output.as_cpu() if device == "cuda" else output).at(0))


def _differences(decode: Callable[[bytes], Pixels]) -> dict[str, int]:
    """Maps each kind of JPEG to the largest difference between the pixels that ``decode`` returns and Pillow's; 255 if
    the shapes differ."""
    found = {}
    for kind, (data, expected) in built_in_images().items():
        pixels = decode(data)
        same = pixels.shape == expected.shape
        found[kind] = int(np.abs(pixels.astype(int) - expected).max()) if same else 255
    return found


def _above(differences: dict[str, int], limit: int) -> str:
    """The kinds of JPEG whose difference is above ``limit``, as text; "" if there are none."""
    return ", ".join(f"{kind}: {levels} grey levels" for kind, levels in differences.items() if levels > limit)


def seconds(work: Callable[[], object], at_least_s: float = 0.0) -> float:
    """Returns the mean duration of a call to ``work`` in seconds. Calls it once, and then repeatedly until
    ``at_least_s`` seconds have passed."""
    start, times = time.perf_counter(), 0
    while not times or time.perf_counter() - start < at_least_s:
        work()
        times += 1
    return (time.perf_counter() - start) / times
