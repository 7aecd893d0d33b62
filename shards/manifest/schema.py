"""The columns of a manifest, one row per sample, and the format version."""

from typing import Any

import pyarrow as pa

from shards.errors import InputError
from shards.images.channel_stats import CHANNEL_COLUMNS

__all__ = [
    "BUILD_ID",
    "CALIBRATION",
    "CLASS_NAMES",
    "FORMAT_VERSION",
    "IDENTITY",
    "MEMBERS",
    "REJECTED_NAME",
    "SAMPLE_SCHEMA",
    "SPLITS",
    "TEST",
    "TRAIN",
    "VALID",
    "content_id",
    "content_id_from_hex",
    "content_id_hex",
    "require_format",
    "require_manifest_format",
]

FORMAT_VERSION = 2
"""Format version. It is stored in ``dataset.json``, in every manifest and in the plans of builds and indexes.

Readers refuse versions that they do not know (:func:`require_format`). Entry points have their own versions. The format
versions are:

1: ``content_id`` computed from the file's bytes, a column ``perceptual_hash``, nulls in the ``.json`` members
2: ``content_id`` computed from the pixels, no nulls, each field has the same type in all ``.json`` members
"""

IDENTITY = "pixels"
"""The kind of ``content_id`` in use: ids computed from the pixels. Other files that contain content ids, such as the
learnt ids of a run, also record this word, because only ids of the same kind can be compared."""

REJECTED_NAME = "rejected.parquet"
"""Name of the file in a data set that lists the rejected images, with the reasons."""

BUILD_ID = b"build_id"
"""Key in the metadata of ``samples.arrow``. Its value is the ``build_id`` of the accompanying ``dataset.json``."""

TRAIN, VALID, TEST, CALIBRATION = "train", "valid", "test", "calibration"
SPLITS = (TRAIN, VALID, TEST, CALIBRATION)
"""All splits, in the order in which ``samples.arrow`` lists them."""

CLASS_NAMES = ("real", "generated")
"""Class names, indexed by ``label``. Label 1, generated, is the positive class."""

MEMBERS = ("image", "json", "global", "mcu")
"""Members of a sample, in their order in the tar. The manifest's columns ``<name>_offset`` and ``<name>_length`` locate
their bytes."""

_NAME = pa.dictionary(pa.int32(), pa.string())

SAMPLE_SCHEMA = pa.schema(
    [
        # Six digits for the shard's index, then six for the sample's index in the shard.
        pa.field("sample_key", pa.string(), nullable=False),
        # The first 64 bits of pixel_sha256, big-endian, two's complement: the picture's
        # identity. Files with equal pixels share it.
        pa.field("content_id", pa.int64(), nullable=False),
        pa.field("label", pa.int8(), nullable=False),  # 1 generated, 0 real
        pa.field("class_name", _NAME, nullable=False),
        pa.field("generator", _NAME, nullable=False),  # "" for real images
        pa.field("group", pa.string(), nullable=False),  # "" for no group
        pa.field("split", _NAME, nullable=False),
        pa.field("shard", _NAME, nullable=False),  # file name of the tar
        *(
            pa.field(f"{member}_{what}", pa.int64(), nullable=False)
            for member in MEMBERS
            for what in ("offset", "length")
        ),
        pa.field("source_bytes", pa.int64(), nullable=False),  # length of the source file
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("format", _NAME, nullable=False),
        pa.field("mode", _NAME, nullable=False),
        pa.field("subsampling", _NAME, nullable=False),  # "" where the file has none
        pa.field("progressive", pa.bool_(), nullable=False),
        pa.field("restart_interval", pa.int32(), nullable=False),
        pa.field("jpeg_quality", pa.int16()),
        pa.field("has_exif", pa.bool_(), nullable=False),
        pa.field("exif_orientation", pa.int8(), nullable=False),
        pa.field("has_icc", pa.bool_(), nullable=False),
        pa.field("num_frames", pa.int32(), nullable=False),
        pa.field("bit_depth", pa.int8(), nullable=False),
        # Bytes of the file that hold pixels, 0 if none were found; see shards.metadata.pixel_bytes.
        pa.field("pixel_bytes", pa.int64(), nullable=False),
        pa.field("standard_bytes", pa.int64(), nullable=False),  # see shards.metadata.facts
        pa.field("colour_transform", _NAME, nullable=False),  # "" where the file does not state it
        pa.field("lossless", pa.bool_(), nullable=False),
        pa.field("quant_digest", _NAME, nullable=False),  # hexadecimal, "" without tables
        pa.field("huffman", _NAME, nullable=False),  # "standard", "optimised" or ""
        pa.field("metadata", _NAME, nullable=False),  # see shards.metadata.embedded
        # Grey levels of 0 … 255 over all pixels, see shards.images.channel_stats.
        *(pa.field(name, pa.float64(), nullable=False) for name in CHANNEL_COLUMNS),
        pa.field("sha256", pa.binary(32), nullable=False),  # of the source file
        pa.field("pixel_sha256", pa.binary(32), nullable=False),  # see shards.images.pixels
        # zlib.crc32 of members as they are stored: a loader checks what it reads against them.
        pa.field("image_crc32", pa.int64(), nullable=False),
        pa.field("global_crc32", pa.int64(), nullable=False),
        pa.field("mcu_crc32", pa.int64(), nullable=False),
        pa.field("stored_as", _NAME, nullable=False),  # see shards.images.stored_form
        pa.field("source_path", pa.string(), nullable=False),  # relative to the source
        pa.field("not_indexable", _NAME),  # why the .mcu member is empty
    ],
    metadata={"format_version": str(FORMAT_VERSION)},
)


def content_id(pixel_sha256: bytes) -> int:
    """Returns an image's identity: the first 64 bits of ``shards.images.pixels.pixel_sha256`` as a signed integer."""
    return int.from_bytes(pixel_sha256[:8], "big", signed=True)


def content_id_hex(identity: int) -> str:
    """Formats a content id as text for JSON documents: the first 16 hexadecimal digits of the pixel hash.

    It is not written as a number, because JavaScript and spreadsheets round 64-bit integers.
    """
    return f"{identity & (2**64 - 1):016x}"


def content_id_from_hex(text: str) -> int:
    """Parses a content id written by :func:`content_id_hex`. Raises ``ValueError`` for anything else."""
    if len(text) != 16 or not set(text) <= set("0123456789abcdef"):
        raise ValueError(f"{text[:40]!r} is not a content id of 16 hexadecimal digits")
    return content_id(bytes.fromhex(text))


_BUILD = "build the shards again into a new folder: glass build SRC OUT"
_INDEX = "index the tars again into a new folder: glass index TAR… --out OUT"
_NEWER = "use the version of the program that wrote it"


def require_format(where: object, version: Any, sidecars: bool = False) -> None:
    """Raises ``InputError`` unless ``version``, the format version in the file ``where``, is ``FORMAT_VERSION``.

    ``version`` may be of any type, since it comes from an untrusted file. Set ``sidecars`` if the data set was made by
    indexing tars; the message then suggests indexing them again instead of rebuilding.
    """
    known = isinstance(version, int) and not isinstance(version, bool)
    if known and version == FORMAT_VERSION:
        return
    newer = known and version > FORMAT_VERSION
    todo = _NEWER if newer else _INDEX if sidecars else _BUILD
    found = f"{where} has format version {str(version)[:20]}"
    raise InputError(f"{found}, but this program reads {FORMAT_VERSION}: {todo}")


def require_manifest_format(schema: pa.Schema, where: object) -> None:
    """Applies :func:`require_format` to the version in the schema of a ``samples.arrow`` or of a shard's Parquet file.

    A schema without a version is accepted, because callers compare the columns anyway.
    """
    text = (schema.metadata or {}).get(b"format_version")
    if text is not None:
        version = text.decode("ascii", "replace")
        is_number = version.isdecimal() and len(version) < 9
        require_format(where, int(version) if is_number else version)
