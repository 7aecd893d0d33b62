"""Do all decoders of this machine give the same pixels? Checks of ``bench doctor``.

Built-in JPEGs of the kinds that photographs come in, of a size that is no multiple of a block, are
decoded by libjpeg-turbo, by DALI on the CPU and, where there is a GPU, by nvJPEG, with the settings
that the loader gives them; Pillow is the oracle.
"""

import argparse
import io
import time
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.doctor_checks.answers import ABSENT, GOOD, SLOW, WRONG, Answer

__all__ = ["built_in_images", "check_cpu_decoding", "check_dali", "check_gpu_decoding"]

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "4:2:0": ("RGB", {"subsampling": "4:2:0"}),
    "4:4:4": ("RGB", {"subsampling": "4:4:4"}),
    "grey": ("L", {}),
    "progressive": ("RGB", {"subsampling": "4:2:0", "progressive": True}),
}
"""Kind → colours, and how Pillow writes it."""
WIDTH, HEIGHT = 1021, 765
MIN_CPU_DECODE_MP_S = 60.0
"""Below, the answer is "slow": a core of ten years ago."""
MAX_NVJPEG_DIFFERENCE = 4
"""Grey levels. On a CPU all decoders are libjpeg-turbo and differ by nothing; nvJPEG rounds
otherwise."""

Pixels = npt.NDArray[np.uint8]


@cache
def built_in_images() -> dict[str, tuple[bytes, Pixels]]:
    """Kind → a JPEG of smooth colours and fine texture, and Pillow's RGB pixels of it."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    pixels = np.stack([x // 4, y // 3, (x * 7 + y * 13) % 256], axis=-1).astype(np.uint8)
    images = {}
    for kind, (mode, settings) in KINDS.items():
        buffer = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", quality=92, **settings)
        oracle = np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"))
        images[kind] = buffer.getvalue(), oracle
    return images


def check_cpu_decoding(_: argparse.Namespace) -> Answer:
    """libjpeg-turbo against Pillow, and how fast it is."""
    import simplejpeg

    unequal = _above(_differences(lambda data: simplejpeg.decode_jpeg(data, "RGB")), 0)
    if unequal:
        return WRONG, f"libjpeg-turbo and Pillow decode differently ({unequal}): reinstall both"
    data, expected = built_in_images()["4:2:0"]
    start, rounds = time.perf_counter(), 0
    while time.perf_counter() - start < 0.5:
        simplejpeg.decode_jpeg(data)
        rounds += 1
    rate = rounds * expected.shape[0] * expected.shape[1] / 1e6 / (time.perf_counter() - start)
    words = f"equal to Pillow's on {', '.join(KINDS)}; {rate:.0f} megapixels/s on a core"
    if rate < MIN_CPU_DECODE_MP_S:
        return SLOW, f"{words}: under {MIN_CPU_DECODE_MP_S:.0f}, this core is slow or busy"
    return GOOD, words


def check_dali(_: argparse.Namespace) -> Answer:
    """DALI on the CPU against Pillow."""
    try:
        import nvidia.dali  # noqa: F401
    except ImportError:
        return ABSENT, "no DALI here (Linux only): decoding by libjpeg-turbo, which needs no GPU"
    unequal = _above(_differences(lambda data: decode_by_dali(data, "cpu")), 0)
    if unequal:
        return WRONG, f"DALI on the CPU and Pillow decode differently ({unequal}): reinstall both"
    return GOOD, f"decodes {', '.join(KINDS)} on the CPU to the same pixels as Pillow"


def check_gpu_decoding(_: argparse.Namespace) -> Answer:
    """nvJPEG (DALI ``mixed``) against libjpeg-turbo."""
    differences = _differences(lambda data: decode_by_dali(data, "cuda"))
    found = ", ".join(f"{kind} {levels}" for kind, levels in differences.items())
    words = f"nvJPEG and libjpeg-turbo differ by at most so many grey levels: {found}"
    if _above(differences, MAX_NVJPEG_DIFFERENCE):
        return WRONG, f"{words}; more than rounding: train and predict with the same decoder"
    return GOOD, words


def decode_by_dali(data: bytes, device: Any) -> Pixels:
    """RGB pixels, decoded as ``loaders.decode.dali`` does; ``device`` is cpu or cuda."""
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


def _differences(decode: Any) -> dict[str, int]:
    """Kind → the largest difference from Pillow's pixels, 255 where the shape is another."""
    found = {}
    for kind, (data, expected) in built_in_images().items():
        pixels = decode(data)
        same = pixels.shape == expected.shape
        difference = np.abs(pixels.astype(int) - expected).max() if same else 255
        found[kind] = int(difference)
    return found


def _above(differences: dict[str, int], limit: int) -> str:
    """The kinds that differ by more than ``limit``, in words; empty where none does."""
    return ", ".join(f"{kind}: {levels} grey levels" for kind, levels in differences.items() if levels > limit)
