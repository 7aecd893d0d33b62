"""How an image lies in its shard: the bytes of its member and what goes with them.

The source's bytes are copied untouched.
"""

from dataclasses import dataclass

from shards.facts import ImageFacts
from shards.image_formats import EXTENSIONS

__all__ = ["StoredImage", "stored_form"]


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
    reason = "entry points not built" if facts.format == "JPEG" else "not a JPEG"
    return StoredImage(data, EXTENSIONS[facts.format], "source", b"", reason)
