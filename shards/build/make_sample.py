"""Makes a sample from an image file, and checks stored samples.

A sample consists of tar members and a manifest row.
"""

import hashlib
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from shards.build.equalise import recompressed
from shards.build.packing import PackedSource
from shards.files.json_file import parse_json
from shards.images.channel_stats import channel_stats
from shards.images.formats import open_image, sniff_format
from shards.images.pixels import load_rgb, pixel_sha256, shrink
from shards.images.rejection import RejectedImage
from shards.images.stored_form import entry_points_of, stored_form
from shards.manifest.schema import CLASS_NAMES, MEMBERS, SAMPLE_SCHEMA, content_id, content_id_hex
from shards.metadata.facts import facts_of

__all__ = ["Sample", "build_sample", "check_sample", "encode_global_view", "json_fields"]

_PLACES = frozenset(
    {"shard", "image_crc32", "global_crc32", "mcu_crc32"}
    | {f"{m}_{what}" for m in MEMBERS for what in ("offset", "length")}
)  # only in the manifest: they locate the sample and check its bytes
_JSON_FIELDS = tuple((field.name, field.type) for field in SAMPLE_SCHEMA if field.name not in _PLACES)


@dataclass(frozen=True, slots=True)
class Sample:
    """The tar members and manifest row of one sample."""

    members: tuple[tuple[str, bytes], ...]
    """(extension, content) of each member, ordered as in ``shards.manifest.schema.MEMBERS``."""
    row: dict[str, Any]
    """The manifest row, without member offsets and lengths."""


def build_sample(
    data: bytes, source: PackedSource, key: str, shard: str, global_size: int, keep_progressive: bool = False
) -> Sample:
    """Decodes the image file ``data`` once and makes a sample from it.

    Raises ``RejectedImage`` if the image cannot be used.
    """
    # Importing Numba takes a second, so commands that build nothing should not do it.
    from shards.images.pixel_pass import pixel_facts

    sha256, source_bytes = hashlib.sha256(data).digest(), len(data)
    if source.recompress_quality:  # from here on, the new file replaces the source
        data = recompressed(data, source.recompress_quality)
    image = open_image(data)
    rgb = load_rgb(image, data)
    facts = facts_of(image, data)
    pixels_digest, view, channels = pixel_facts(rgb, global_size)
    stored = stored_form(data, facts.format, rgb, source.tiled, keep_progressive)
    if stored.not_indexable == "corrupt scan":
        # Pillow ignores what libjpeg only warns about, such as half an image with an end marker, and
        # fills the rest with grey. The walk through the scan for entry points notices it.
        raise RejectedImage("corrupt", "the entropy-coded data is damaged")
    global_view = encode_global_view(view)
    row: dict[str, Any] = {
        "sample_key": key,
        "content_id": content_id(pixels_digest),
        "label": source.label,
        "class_name": CLASS_NAMES[source.label],
        "generator": source.generator,
        "group": source.group,
        "split": source.split,
        "shard": shard,
        "source_bytes": source_bytes,
        **facts.by_column(),
        **channels,
        "sha256": sha256,
        "pixel_sha256": pixels_digest,
        "image_crc32": zlib.crc32(stored.data),
        "global_crc32": zlib.crc32(global_view),
        "mcu_crc32": zlib.crc32(stored.entry_points),
        "stored_as": "recompressed" if source.recompress_quality else stored.stored_as,
        "source_path": source.path,
        "not_indexable": stored.not_indexable,
    }
    members = (
        (stored.extension, stored.data),
        ("json", json.dumps(json_fields(row), ensure_ascii=False).encode()),
        ("global.npy", global_view),
        ("mcu", stored.entry_points),
    )
    return Sample(members, row)


def json_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a sample's ``.json`` member, taken from its manifest ``row``.

    The fields are all columns except those that locate the sample or hold its checksums. The content id and hashes are
    hexadecimal. A field has the same type in all members: null is replaced by ``""``, 0 or ``False``, since readers
    such as Hugging Face's ``datasets`` infer column types from the first few samples.
    """
    return {name: _json_value(name, kind, row[name]) for name, kind in _JSON_FIELDS}


def _json_value(name: str, kind: pa.DataType, value: Any) -> str | int | float | bool:
    """Converts ``value``, from the column ``name`` of type ``kind``, to JSON; null becomes ``""``, 0 or ``False``."""
    if name == "content_id":
        return content_id_hex(value)
    if pa.types.is_boolean(kind):
        return bool(value)
    if pa.types.is_integer(kind):
        return int(value or 0)
    if pa.types.is_floating(kind):
        return float(value or 0.0)
    return value.hex() if isinstance(value, bytes) else str(value or "")


def encode_global_view(view: np.ndarray) -> bytes:
    """Encodes a global view, (S, S, 3) uint8, as the contents of a ``.global.npy`` member."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(view))
    return buffer.getvalue()


def check_sample(record: dict[str, Any], members: dict[str, bytes], global_size: int) -> Iterator[tuple[str, str]]:
    """Checks a stored sample. Yields (key of ``shards.verify.CHECKS``, detail) for each fault found.

    ``record`` is the sample's manifest row. ``members`` maps each name in ``shards.manifest.schema.MEMBERS`` to that
    member's contents.
    """
    data = members["image"]
    if zlib.crc32(data) != record["image_crc32"]:
        yield "image", "CRC-32 differs from the manifest's"
    if record["stored_as"] == "source" and hashlib.sha256(data).digest() != record["sha256"]:
        yield "image", "SHA-256 differs from the source's"
    try:
        if parse_json(members["json"]) != json_fields(record):
            yield "facts", "the .json member differs from the manifest"
    except ValueError:
        yield "facts", "the .json member is not JSON"
    if entry_points_of(data, sniff_format(data) or "") != (members["mcu"], record["not_indexable"]):
        yield "entry_points", "differ from those computed again"
    elif zlib.crc32(members["mcu"]) != record["mcu_crc32"]:
        yield "entry_points", "CRC-32 differs from the manifest's"
    try:
        yield from _check_pixels(record, data, members["global"], global_size)
    except RejectedImage as rejected:
        yield "pixels", str(rejected)


def _check_pixels(
    record: dict[str, Any], data: bytes, stored_view: bytes, global_size: int
) -> Iterator[tuple[str, str]]:
    image = open_image(data)
    rgb = load_rgb(image, data)
    view = shrink(rgb, global_size)
    if pixel_sha256(rgb) != record["pixel_sha256"]:
        yield "pixels", "differ from those at the time of the build"
    if record["content_id"] != content_id(record["pixel_sha256"]):
        yield "pixels", "content id is not the first 64 bits of their hash"
    if any(record[name] != value for name, value in channel_stats(rgb).items()):
        yield "pixels", "channel means or deviations differ from the manifest's"
    if encode_global_view(view) != stored_view:
        yield "global_view", "differs from one computed again"
    elif zlib.crc32(stored_view) != record["global_crc32"]:
        yield "global_view", "CRC-32 differs from the manifest's"
    if record["stored_as"] in ("source", "recompressed"):
        facts = facts_of(image, data).by_column()
        wrong = [name for name, value in facts.items() if record[name] != value]
        if wrong:
            yield "facts", f"the manifest differs from the image file in {', '.join(wrong)}"
