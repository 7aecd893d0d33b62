"""Lists the images in one tar as prediction sources: every member with an image extension, in tar order.

A prediction, unlike an index, needs no labels, so it does not matter how members form samples. If a sample has several
images, each gets a verdict.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glass.predict.image_sources import ImageSource, MemberSource, UnreadableSource
from shards.adopt.listing import TarMember, is_image_name, split_name
from shards.files.json_file import parse_json
from shards.files.regular_file import open_regular
from shards.files.tar_headers import member_fault, walk_tar
from shards.images.pixels import pixel_sha256
from shards.images.rejection import RejectedImage

__all__ = ["TarImages", "images_of_tar", "read_facts"]

_MAX_JSON_BYTES = 1 << 20


@dataclass
class TarImages:
    """The result of :func:`images_of_tar`."""

    sources: list[ImageSource] = field(default_factory=list)
    passed_over: int = 0
    """Number of skipped files: those that have no image extension and do not share their key (name without extension)
    with an image."""


def images_of_tar(path: Path) -> TarImages:
    """Lists the images in the tar at ``path``, in tar order: one source per member with an image extension.

    If such a member is not a regular file (a link, for example), its source is an ``UnreadableSource``. If the
    end-of-archive marker is missing or followed by data, another ``UnreadableSource`` is appended. Raises
    ``InputError`` if the file is not a tar, is damaged or is cut off, and ``MachineTrouble`` if the disk fails.
    """
    images: list[TarMember | UnreadableSource] = []
    facts: dict[str, TarMember] = {}
    others: dict[str, int] = {}
    unread: list[str] = []
    for info in walk_tar(path, unread):
        if info.isdir():
            continue
        key, extension = split_name(info.name)
        fault, detail = member_fault(info)
        if is_image_name(info.name):
            bad = UnreadableSource(path, detail or fault, _readable(info.name))
            images.append(bad if fault else TarMember(info.name, info.offset_data, info.size))
        elif not fault:
            others[key] = others.get(key, 0) + 1
            if extension == "json":
                facts[key] = TarMember(info.name, info.offset_data, info.size)
    found = TarImages()
    keys = set()
    for image in images:
        if isinstance(image, UnreadableSource):
            found.sources.append(image)
            continue
        key, _ = split_name(image.name)
        keys.add(key)
        found.sources.append(_source(path, image, facts.get(key)))
    found.passed_over = sum(number for key, number in others.items() if key not in keys)
    found.sources += [UnreadableSource(path, text) for text in unread]
    return found


def _readable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _source(path: Path, image: TarMember, facts: TarMember | None) -> MemberSource:
    if facts is None:
        return MemberSource(path, image.name, image.offset, image.length)
    written = _Written(path, facts)
    where = (path, image.name, image.offset, image.length)
    return MemberSource(*where, check=written.check, stored_as=written.stored_as)


@dataclass(frozen=True)
class _Written:
    """The ``.json`` member beside an image. If ``glass build`` wrote it, it contains the image's hashes."""

    tar: Path
    member: TarMember

    def stored_as(self) -> str:
        """The manifest column of this name; empty if another program wrote the member."""
        return str(read_facts(self.tar, self.member).get("stored_as", ""))

    def check(self, data: bytes, pixels: npt.NDArray[np.uint8]) -> None:
        """Raises ``RejectedImage`` if the image is not the one that ``glass build`` wrote.

        Re-encoded JPEGs are not checked, because the ``.json`` member contains the source file's SHA-256 rather than
        the JPEG's, and because the pixels depend on the decoder version.
        """
        facts = read_facts(self.tar, self.member)
        stored = facts.get("stored_as")
        found = {
            "source": lambda: ("sha256", hashlib.sha256(data).hexdigest()),
            "tiled": lambda: ("pixel_sha256", pixel_sha256(pixels).hex()),
        }.get(str(stored), lambda: ("", ""))()
        if found[0] and facts.get(found[0]) not in (None, found[1]):
            raise RejectedImage("corrupt", "its bytes have changed since the shard was written")


def read_facts(tar: Path, member: TarMember) -> dict[str, Any]:
    """Returns the contents of a ``.json`` member that ``glass build`` wrote.

    Returns an empty dict if another program wrote the member or if it cannot be read.
    """
    if member.length > _MAX_JSON_BYTES:
        return {}
    try:
        with open_regular(tar) as file:
            file.seek(member.offset)
            facts = parse_json(file.read(member.length))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) and "pixel_sha256" in facts else {}
