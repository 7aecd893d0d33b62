"""Chooses the decoder that a loader's settings select, or a substitute if its package is missing."""

import io
import logging
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from loaders.config import Backend, LoaderConfig
from loaders.decode.jobs import Decoder, WholeJob
from loaders.decode.reference import ReferenceDecoder
from loaders.stats import LoaderStats
from shards.optional import is_installed, optional, required

__all__ = ["choose_decoder", "choose_host_decoder", "inexact_decoder"]

logger = logging.getLogger(__name__)

_DALI = "nvidia.dali"


def choose_decoder(config: LoaderConfig, device_batch_size: int, stats: LoaderStats) -> Decoder:
    """Returns the decoder that ``config`` selects. ``device_batch_size`` is the number of samples per batch.

    Raises ``InputError`` if DALI is requested but not installed.
    """
    backend = _backend(config)
    if backend == "nvjpeg":
        from loaders.decode.torchvision_jpeg import TorchvisionDecoder

        return TorchvisionDecoder(config.device, stats)
    if backend != "dali":
        return choose_host_decoder(backend)
    required(_DALI, "loader.backend='dali'")
    from loaders.decode.dali import DaliDecoder

    return DaliDecoder(
        config.device,
        num_crops=config.num_crops,
        crop_size=config.crop_size,
        batch_size=device_batch_size,
        num_threads=config.num_threads,
        stats=stats,
    )


def choose_host_decoder(backend: str) -> Decoder:
    """Returns the decoder for ``backend`` that runs in the calling thread and decodes into host memory."""
    if backend == "reference":
        return ReferenceDecoder()
    if not is_installed("simplejpeg"):
        return _instead_of_simplejpeg()
    from loaders.decode.turbo import TurboDecoder

    return TurboDecoder()


def inexact_decoder(config: LoaderConfig) -> str | None:
    """Returns the decoder's name and version as text if its pixels may differ from the reference decoder's, otherwise
    ``None``."""
    if config.device != "cuda" or (backend := _backend(config)) not in ("dali", "nvjpeg"):
        return None
    library = _DALI if backend == "dali" else "torchvision"
    version = getattr(optional(library), "__version__", "of unknown version")
    return f"nvJPEG of {library.split('.')[-1]} {version}"


def _backend(config: LoaderConfig) -> Backend:
    """Returns ``config.backend`` with ``auto`` resolved."""
    if config.backend != "auto":
        return config.backend
    if config.device == "cpu":
        return "turbo"  # measured: libjpeg-turbo in threads beats DALI by 10–25 % (docs/LOG.md)
    return _gpu_backend()


@cache
def _gpu_backend() -> Backend:
    if optional(_DALI) is not None:
        return "dali"
    logger.warning("DALI is not installed, so torchvision's nvJPEG decodes instead: its pixels may differ slightly")
    return "nvjpeg"


@cache
def _instead_of_simplejpeg() -> Decoder:
    from loaders.decode.torchvision_jpeg import TorchvisionDecoder

    decoder = TorchvisionDecoder("cpu")
    if all(_is_exact(decoder, subsampling) for subsampling in (0, 1, 2)):
        logger.warning(
            "simplejpeg is not installed, so torchvision's libjpeg-turbo decodes instead: the pixels are the same"
        )
        return decoder
    logger.warning(
        "simplejpeg is not installed, and torchvision's pixels differ from Pillow's, so Pillow decodes instead: it "
        "is slower"
    )
    return ReferenceDecoder()


def _is_exact(decoder: Decoder, subsampling: int) -> bool:
    """Checks whether ``decoder`` decodes a test JPEG with hard edges to the same pixels as Pillow. ``subsampling`` is
    the chroma subsampling of the JPEG, as the integer that Pillow's ``save`` takes."""
    import torch

    pixels = np.random.default_rng(subsampling).integers(0, 256, (12, 16, 3), np.uint8).repeat(3, 0).repeat(3, 1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=75, subsampling=subsampling)
    job = _whole(np.frombuffer(file.getvalue(), np.uint8), pixels.shape[0], pixels.shape[1])
    both = torch.zeros((2, 1, 48, 48, 3), dtype=torch.uint8)
    failures = decoder.decode([job], both[0]) + ReferenceDecoder().decode([job], both[1])
    return not failures and torch.equal(both[0], both[1])


def _whole(data: npt.NDArray[np.uint8], height: int, width: int) -> WholeJob:
    window = np.array([[0, 0, height, width]], np.int32)
    return WholeJob(data, height, width, window, np.arange(1), 0, "JPEG", "RGB")
