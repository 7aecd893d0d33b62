"""How an image lies in its shard: the bytes of its member and what goes with them.

The source's bytes are copied untouched.
"""

from dataclasses import dataclass

from shards.facts import ImageFacts
from shards.image_formats import EXTENSIONS

__all__ = ["StoredImage", "entry_points_of", "member_extension", "stored_form"]


@dataclass(frozen=True, slots=True)
class StoredImage:
    """The image member of a sample."""

    data: bytes
    extension: str
    """Of the member, without the dot."""
    stored_as: str
    """``source`` where ``data`` is the source file itself."""
    entry_points: bytes
    """The ``.mcu`` member; empty where there is none."""
    not_indexable: str | None
    """Why there are no entry points."""


def stored_form(data: bytes, facts: ImageFacts) -> StoredImage:
    """The form in which the image file ``data`` is stored. It decoded without fault before."""
    entry_points, not_indexable = entry_points_of(data, facts.format)
    return StoredImage(data, EXTENSIONS[facts.format], "source", entry_points, not_indexable)


def entry_points_of(data: bytes, kind: str) -> tuple[bytes, str | None]:
    """The ``.mcu`` member of an image as it is stored, or nothing and the reason why.

    ``kind`` is the format of the stored bytes.
    """
    if kind != "JPEG":
        return b"", "not a JPEG"
    # Numba takes a second to import, which commands that build nothing need not spend.
    from shards.entry_points import NotIndexable, build_entry_points

    try:
        return build_entry_points(data), None
    except NotIndexable as error:
        return b"", error.reason


def member_extension(stored_as: str, kind: str) -> str:
    """The extension of an image member, from the manifest's ``stored_as`` and ``format``."""
    if stored_as != "source":
        raise ValueError(f"unknown form {stored_as!r}")
    return EXTENSIONS[kind]
