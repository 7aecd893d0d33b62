"""Access to the stored members of samples by manifest row, wherever their bytes come from.

There are three sources: tars on the local disk; whole shards from a store, in the local cache; and byte ranges fetched
from a store for one batch. :class:`TarMembers` reads the first two, :class:`loaders.reading.range_reader.RangeReader`
reads the third.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from loaders.reading.batch_plan import Reads
from loaders.reading.checksums import BadChecksum, Checksums
from loaders.reading.mapped_shards import UnreadableMember
from loaders.reading.sample_table import SampleTable

if TYPE_CHECKING:
    from loaders.reading.cached_shards import CachedShards

__all__ = ["MemberSource", "Members", "TarMembers", "Tars"]

Bytes = npt.NDArray[np.uint8]
"""A 1-D, read-only array of bytes."""


class Members(Protocol):
    """Reads members of samples. Safe to use from several threads.

    Every method but ``is_checked`` raises ``UnreadableMember`` if a member cannot be read, and ``BadChecksum`` if its
    bytes do not match its checksum. If the whole data set is at fault, these methods raise ``InputError``.
    """

    def is_checked(self, row: int) -> bool:
        """True if the image and global view of ``row`` have already been compared with their checksums, or if the
        comparison is switched off. Raises ``BadChecksum`` if an earlier comparison found damage."""
        ...

    def check(self, row: int) -> int:
        """Checks the image and the global view against their checksums. Returns the number of bytes checked."""
        ...

    def image(self, row: int) -> Bytes:
        """The whole stored image."""
        ...

    def image_parts(self, row: int) -> Bytes:
        """The stored image at its full length; bytes that the planned windows do not need may be zero."""
        ...

    def view(self, row: int) -> Bytes:
        """The stored global view, an NPY file."""
        ...

    def entry_points(self, row: int) -> Bytes:
        """Returns the ``.mcu`` member: no bytes if it cannot be read, and a single zero byte if it is damaged. In both
        cases the splicer reports a failure, and the image is decoded whole."""
        ...


class MemberSource(Protocol):
    """The source from which a loader reads members."""

    @property
    def caches(self) -> "Sequence[CachedShards]":
        """The caches to notify of the shards that will be read next, so that they can fetch them in advance."""
        ...

    def begin(self, reads: Reads) -> Members:
        """Returns the members of a batch. If they are in a store, starts fetching them."""
        ...


class Tars(Protocol):
    """The tars of a data set, indexed by shard."""

    def member(self, shard: int, offset: int, length: int) -> Bytes:
        """Returns a view of ``length`` bytes at ``offset`` of the shard. Raises ``UnreadableMember`` if the bytes are
        outside it, and ``InputError`` if the shard cannot be read."""
        ...

    def renew(self, shard: int) -> bool:
        """Checks the local copy of a shard after a checksum failure in one of its samples. If the copy is damaged,
        fetches the shard again. Returns whether the copy was damaged."""
        ...


class TarMembers:
    """Members read from whole tars, local or cached. One object serves every batch, so :meth:`begin` returns the object
    itself."""

    def __init__(
        self,
        samples: SampleTable,
        images: Tars,
        others: Tars,
        *,
        checksums: "tuple[Checksums, Checksums] | None",
        caches: "Sequence[CachedShards]" = (),
    ) -> None:
        """``images`` are the tars that hold the images. ``others`` are the tars that hold all other members: the same
        tars or, for tars made elsewhere, their sidecars.

        ``checksums`` records which samples have already been compared with their checksums. Its first element covers
        images and global views, its second covers entry points. If ``checksums`` is None, nothing is compared.
        """
        self.caches = caches
        self._samples, self._checksums = samples, checksums
        self._tars = {"image": images, "global": others, "mcu": others}
        self._places = {"image": samples.image, "global": samples.global_view, "mcu": samples.entry_points}

    def begin(self, reads: Reads) -> "TarMembers":
        """See :class:`MemberSource`."""
        return self

    def is_checked(self, row: int) -> bool:
        """See :class:`Members`."""
        return self._checksums is None or self._checksums[0].is_sound(row)

    def check(self, row: int) -> int:
        """See :class:`Members`."""
        return 0 if self._checksums is None else self._check(self._checksums[0], row, ("image", "global"))

    def image(self, row: int) -> Bytes:
        """See :class:`Members`."""
        return self._member("image", row)

    def image_parts(self, row: int) -> Bytes:
        """See :class:`Members`. Returns the whole image. It is memory-mapped, so the system reads only the pages that
        are touched."""
        return self._member("image", row)

    def view(self, row: int) -> Bytes:
        """See :class:`Members`."""
        return self._member("global", row)

    def entry_points(self, row: int) -> Bytes:
        """See :class:`Members`."""
        try:
            if self._checksums is not None and not self._checksums[1].is_sound(row):
                self._check(self._checksums[1], row, ("mcu",))
            return self._member("mcu", row)
        except UnreadableMember:
            return np.empty(0, np.uint8)
        except BadChecksum:
            return np.zeros(1, np.uint8)

    def _member(self, name: str, row: int) -> Bytes:
        place = self._places[name]
        return self._tars[name].member(int(self._samples.shard[row]), int(place.offset[row]), int(place.length[row]))

    def _check(self, checksums: Checksums, row: int, names: tuple[str, ...]) -> int:
        try:
            return checksums.check(row, self._with_checksums(row, names))
        except BadChecksum:
            shard = int(self._samples.shard[row])
            renewed = [tars.renew(shard) for tars in set(self._tars.values())]
            if not any(renewed):
                raise
            return checksums.check(row, self._with_checksums(row, names))

    def _with_checksums(self, row: int, names: tuple[str, ...]) -> dict[str, tuple[Bytes, int]]:
        return {name: (self._member(name, row), int(self._samples.crc32[name][row])) for name in names}
