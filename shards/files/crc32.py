"""Computes CRC-32 with isal or, if isal is not installed, with zlib at about a ninth of the speed."""

import logging
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from shards.optional import optional

__all__ = ["crc32"]

logger = logging.getLogger(__name__)

Data = bytes | npt.NDArray[np.uint8]


def crc32(data: Data) -> int:
    """The CRC-32 of ``data``, 0 … 2³² - 1, as ``zlib.crc32`` computes it."""
    return _fastest()(data)


@cache
def _fastest() -> Callable[[Any], int]:
    isal = optional("isal.isal_zlib")
    if isal is not None:
        return isal.crc32
    logger.warning("isal is not installed: zlib computes the same checksums, at a ninth of the speed")
    return zlib.crc32
