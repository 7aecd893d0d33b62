"""Image sources for a prediction: files, bytes, decoded pixels, and tar members.

Each source is loaded once, by any thread. Loading returns the image's pixels and identity, or raises ``RejectedImage``
with the reason why it cannot be read. The identity is the pixels' content id, so it is the same whether the image comes
from a file, from bytes or from a tar.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from loaders.decode.encoded_image import decode_file
from shards.files.crc32 import crc32
from shards.files.limits import limit
from shards.files.patience import patiently
from shards.files.regular_file import open_regular
from shards.images.formats import rejecting
from shards.images.pixels import RejectedImage, pixel_sha256
from shards.manifest.dataset import ShardDataset
from shards.manifest.schema import content_id
from shards.sources.files import read_image_file, unread

__all__ = [
    "BytesSource",
    "FileSource",
    "ImageSource",
    "LoadedImage",
    "MemberSource",
    "PixelSource",
    "UnreadableSource",
    "source_of",
    "sources_of",
]

_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})


@dataclass(frozen=True)
class LoadedImage:
    """A decoded image: its pixels (H, W, 3) uint8, and its content id, from which its windows are drawn."""

    pixels: npt.NDArray[np.uint8]
    content_id: int
    encoded: bytes | None = None
    """The image file's bytes, for sampling rules that read JPEG bits. None if there is no file, or if the JPEG was
    re-encoded for its shard, because evaluation does not read the bits of re-encoded JPEGs."""


class ImageSource(Protocol):
    """An image that can be loaded. Its ``name`` tells the user which image it is."""

    @property
    def name(self) -> str: ...

    def load(self) -> LoadedImage:
        """Reads and decodes the image. Raises ``RejectedImage`` if that fails."""
        ...


def _identified(data: bytes) -> LoadedImage:
    pixels = decode_file(data)
    return LoadedImage(pixels, content_id(pixel_sha256(pixels)), data)


@dataclass(frozen=True)
class FileSource:
    """An image file. Only regular files are read, because a pipe or a device could block the thread."""

    path: Path

    @property
    def name(self) -> str:
        return os.fsencode(self.path).decode("utf-8", "backslashreplace")

    def read(self) -> bytes:
        """The file's bytes. Raises ``RejectedImage`` if the file cannot be read."""
        return read_image_file(self.path)

    def load(self) -> LoadedImage:
        """See :class:`ImageSource`."""
        return _identified(self.read())


@dataclass(frozen=True)
class BytesSource:
    """An image given as the bytes of its file."""

    name: str
    data: bytes = field(repr=False)

    def read(self) -> bytes:
        """The bytes as given."""
        return self.data

    def load(self) -> LoadedImage:
        """See :class:`ImageSource`."""
        return _identified(self.data)


@dataclass(frozen=True)
class PixelSource:
    """An image given as pixels: an (H, W, 3) uint8 array, or a Pillow image.

    Its windows are the same as for an image file with these pixels, except with sampling rules that read JPEG bits
    (``loaders.windows.sampling.SamplingRule.reads_files``). Pixels may differ between a 16-bit colour file and the
    Pillow image read from it: this project rounds 16-bit values to 8 bits, whereas Pillow drops the low bytes.
    """

    name: str
    image: Any = field(repr=False)

    def load(self) -> LoadedImage:
        """See :class:`ImageSource`."""
        image = self.image
        if isinstance(image, Image.Image):
            if image.mode not in _MODES:
                raise RejectedImage("unsupported_mode", f"Pillow's mode {image.mode}")
            with rejecting(b""):  # Pillow decodes only now
                image = np.asarray(_opaque(image).convert("RGB"))
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            detail = f"an array {image.shape} of {image.dtype}; give (height, width, 3) uint8"
            raise RejectedImage("unsupported_mode", detail)
        return LoadedImage(image, content_id(pixel_sha256(image)))


def _opaque(image: Image.Image) -> Image.Image:
    """Returns ``image`` without Pillow's ``transparency`` entry, which declares one colour transparent.

    Without it, no pixel is transparent, and all keep their colours, as in images read from files (see
    ``shards.images.pixels.load_rgb``). The caller's image is not changed.
    """
    if "transparency" not in image.info:
        return image
    plain = image.copy()
    plain.info.pop("transparency", None)
    return plain


@dataclass(frozen=True)
class MemberSource:
    """An image inside a tar, located by its offset.

    ``identity`` is the image's content id in a manifest, or None. The windows are drawn from this id, as in evaluation,
    even if another decoder version yields different pixels. ``converted`` means that the JPEG in the tar was
    re-encoded, so its bits differ from the source file's. ``dataset`` and ``row`` locate the image in a manifest, so
    that a loader can read only its windows.
    """

    tar: Path
    member: str
    offset: int
    length: int
    identity: int | None = None
    converted: bool = False
    dataset: ShardDataset | None = field(default=None, repr=False)
    row: int = -1
    crc32: int | None = None
    """CRC-32 of the member's bytes as written; None if unknown."""
    check: Callable[[bytes, npt.NDArray[np.uint8]], None] | None = None
    """Takes the member's bytes and pixels; raises ``RejectedImage`` if they are not those that the build wrote."""
    stored_as: Callable[[], str] = str
    """Returns the manifest column of this name, as the build wrote it beside the image; empty if it wrote nothing."""

    @property
    def name(self) -> str:
        where = os.fsencode(self.tar).decode("utf-8", "backslashreplace")
        return f"{where}/{self.member}"

    def read(self) -> bytes:
        """The member's bytes. Raises ``RejectedImage`` if it is too large, unreadable, or fails its checksum."""
        if self.length > (most := limit("MAX_IMAGE_BYTES")):
            detail = f"{self.length:,} bytes, more than GLASS_MAX_IMAGE_BYTES={most}"
            raise RejectedImage("too_large", detail)
        try:
            data = patiently(self._read)
        except OSError as error:
            raise unread(error, self.tar) from error
        if len(data) < self.length:
            raise RejectedImage("truncated", "the tar ends before the image does")
        if self.crc32 is not None and crc32(data) != self.crc32:
            raise RejectedImage("corrupt", "its bytes have changed since the shard was written")
        return data

    def load(self) -> LoadedImage:
        """See :class:`ImageSource`."""
        data = self.read()
        if self.identity is not None:
            return LoadedImage(decode_file(data), self.identity, None if self.converted else data)
        loaded = _identified(data)
        if self.check is not None:
            self.check(data, loaded.pixels)
        return replace(loaded, encoded=None) if self.stored_as() == "baseline" else loaded

    def _read(self) -> bytes:
        with open_regular(self.tar) as file:
            file.seek(self.offset)
            return file.read(self.length)


@dataclass(frozen=True)
class UnreadableSource:
    """Something the user named that does not yield an image, such as a damaged tar or an inaccessible folder."""

    path: Path
    detail: str
    member: str = ""
    """The member's name, if the image is in a tar."""

    @property
    def name(self) -> str:
        where = os.fsencode(self.path).decode("utf-8", "backslashreplace")
        return f"{where}/{self.member}" if self.member else where

    def load(self) -> LoadedImage:
        """Raises ``RejectedImage`` with the reason."""
        raise RejectedImage("unreadable", self.detail)


def sources_of(images: Sequence[Any]) -> list[ImageSource]:
    """Returns one source per image.

    Raises ``TypeError`` if any of ``images`` is not an image, or if ``images`` is itself a single image, which would be
    iterated over as letters, bytes or pixel rows.
    """
    single = isinstance(images, str | os.PathLike | bytes | bytearray | memoryview | Image.Image)
    if isinstance(images, np.ndarray):
        single = images.ndim <= 3
    if single or (hasattr(images, "load") and hasattr(images, "name")):
        raise TypeError(f"{type(images).__name__} is one image: give a list of images")
    return [source_of(image, number) for number, image in enumerate(images)]


def source_of(image: Any, number: int) -> ImageSource:
    """The source for an image in any form: a path, bytes, a Pillow image, an array, or a source.

    An image without a name is called ``image NUMBER``. Raises ``TypeError`` for anything else.
    """
    if isinstance(image, str | os.PathLike):
        return FileSource(Path(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return BytesSource(f"image {number}", bytes(image))
    if isinstance(image, np.ndarray | Image.Image):
        return PixelSource(f"image {number}", image)
    if hasattr(image, "load") and hasattr(image, "name"):
        return image
    raise TypeError(f"image {number} is a {type(image).__name__}; give a path, bytes or pixels")
