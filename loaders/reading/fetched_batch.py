"""A batch whose samples are being fetched from a store as byte ranges."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loaders.reading.checksums import BadChecksum
from loaders.reading.closing import result_of

__all__ = ["FetchedBatch", "FetchedSample"]

Bytes = npt.NDArray[np.uint8]


@dataclass
class FetchedSample:
    """The fetched members of one sample."""

    global_view: Bytes
    entry_points: Bytes
    """The ``.mcu`` member; empty if it was not requested."""
    image: Bytes
    """The stored image at its full length. Unless ``whole`` is set, bytes outside the fetched ranges are zero."""
    whole: bool
    damaged: str = ""
    """Name of a member whose checksum is wrong; empty if there is none."""


class FetchedBatch:
    """The members of a batch that is being fetched; implements :class:`loaders.reading.members.Members`. Methods that
    return bytes wait until the sample has arrived. Checksums are compared on arrival."""

    def __init__(self, samples: "dict[int, Future[FetchedSample]]", fetch_image: Callable[[int], Bytes]) -> None:
        """``samples`` maps manifest rows to samples. ``fetch_image(row)`` fetches a whole image."""
        self._samples, self._fetch_image = samples, fetch_image

    def is_checked(self, row: int) -> bool:
        """Always True: checksums are compared on arrival."""
        return True

    def check(self, row: int) -> int:
        """Returns 0 (bytes checked), because checksums were already compared on arrival."""
        return 0

    def image(self, row: int) -> Bytes:
        """The whole image. If only the ranges of its windows were fetched, the whole image is fetched now."""
        sample = self._sample(row)
        return sample.image if sample.whole else self._fetch_image(row)

    def image_parts(self, row: int) -> Bytes:
        """The image at its full length; bytes that were not fetched are zero."""
        return self._sample(row).image

    def view(self, row: int) -> Bytes:
        """The stored global view."""
        return self._sample(row).global_view

    def entry_points(self, row: int) -> Bytes:
        """The ``.mcu`` member, empty unless the sample's windows are spliced."""
        return self._sample(row).entry_points

    def _sample(self, row: int) -> FetchedSample:
        sample = result_of(self._samples[row])
        if sample.damaged:
            raise BadChecksum(f"the bytes of {sample.damaged} do not match their checksum")
        return sample
