"""Defines and reads ``dataset.json``, a summary of a data set that is short enough for people to read.

A build writes it last, so that every folder with this file is a complete data set.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from shards.errors import InputError
from shards.files.documents import Count, Number, typed_document
from shards.files.file_names import is_digest, is_file_name, is_relative_path
from shards.files.json_file import parse_json, read_json_bytes
from shards.files.regular_file import file_sha256
from shards.manifest.note import Note
from shards.manifest.schema import FORMAT_VERSION, require_format

__all__ = ["INFO_NAME", "DatasetInfo", "ShardInfo", "SplitCounts", "TiledBytes", "parse_info", "read_info"]

INFO_NAME = "dataset.json"


class ShardInfo(Struct, frozen=True, forbid_unknown_fields=True):
    """One tar in a data set. Its name must be safe and its digests well-formed.

    Tars and sidecars written by this project are in the data set's folder. Tars made elsewhere may be in other folders.
    """

    name: str
    """File name, such as ``train-000012.tar``; for a tar made elsewhere, its path relative to the data set's folder."""
    split: str
    """The split of all samples in the tar. A tar made elsewhere may have several, joined by ``+``: ``train+test``."""
    format: str
    """The format in which all its images are stored. A tar made elsewhere may have several: ``JPEG+PNG``."""
    samples: Count
    num_bytes: Count
    sha256: str
    """SHA-256 of the tar, in hexadecimal."""
    sidecar: str = ""
    """For a tar made elsewhere, the file name of the tar that holds all members except the images."""
    sidecar_bytes: Count = 0
    sidecar_sha256: str = ""

    def __post_init__(self) -> None:
        if not is_file_name(self.sidecar or self.name):
            raise ValueError(f"{(self.sidecar or self.name)[:100]!r} is not the name of a file in a folder")
        if not is_relative_path(self.name):
            raise ValueError(f"{self.name[:100]!r} is not a relative path")
        _require_digest(self.sha256, needed=self.samples > 0)
        _require_digest(self.sidecar_sha256, needed=self.samples > 0 and bool(self.sidecar))


class SplitCounts(Struct, frozen=True, forbid_unknown_fields=True):
    """Sample counts for a split."""

    samples: Count
    real: Count
    generated: Count
    generators: Mapping[str, Count]
    """Maps each generator to its number of samples in the split."""


class TiledBytes(Struct, frozen=True, forbid_unknown_fields=True):
    """Size of all images of one source format before and after they were stored as tiles."""

    samples: Count
    source_bytes: Count
    """Total size of the source files, in bytes."""
    tiled_bytes: Count
    """Total size of the same images as tiled TIFFs in the shards, in bytes."""


class DatasetInfo(Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of ``dataset.json``."""

    global_size: Count
    """Side length of the stored global views, in pixels."""
    split_seed: Count
    split_shares: Mapping[str, int | Number]
    """Maps each split to the share that the user set. A ``split`` column in a source list overrides the shares. An
    integer stays an ``int``, because :attr:`build_id` depends on how each number is written."""
    samples_per_shard: Count
    num_samples: Count
    counts: Mapping[str, SplitCounts]
    """Maps each split to its sample counts. Splits without samples are left out."""
    not_indexable: Mapping[str, Count]
    """Maps each reason for missing entry points to the number of samples affected."""
    rejected: Mapping[str, Count]
    """Maps each reason to the number of images rejected for it. ``rejected.parquet`` lists them."""
    shards: tuple[ShardInfo, ...]
    stored_as: Mapping[str, Count] = {}
    """Maps each stored form (see ``shards.images.stored_form``) to the number of samples."""
    tiled: Mapping[str, TiledBytes] = {}
    """Maps each source format (see ``shards.manifest.tiled_bytes``) to its size before and after tiling."""
    equalised: str = ""
    """Description of what was done so that the files of both classes look alike; empty if nothing was done."""
    written_by: Mapping[str, str] = {}
    """Versions of the programs that wrote the shards."""
    note: Note = ""
    """What everyone who reads a verdict must know about a model trained on this data set; empty if there is no note."""
    manifest_sha256: str = ""
    """SHA-256 of ``samples.arrow``, in hexadecimal; empty in data sets that were built before this field existed."""
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        _require_digest(self.manifest_sha256, needed=False)

    @property
    def build_id(self) -> str:
        """Identity of the build, in hexadecimal.

        ``samples.arrow`` holds it too, so that opening a data set can check that description and manifest belong
        together, without hashing a file.
        """
        shards = [[shard.name, shard.sha256, shard.sidecar_sha256] for shard in self.shards]
        build = [self.split_seed, sorted(self.split_shares.items()), shards]
        return hashlib.sha256(json.dumps(build).encode()).hexdigest()

    def describes(self, manifest: Path) -> bool:
        """Whether ``manifest`` is the file that was written together with this description.

        Reads all of the manifest to compare its SHA-256. ``True`` if this description has no SHA-256. Raises
        ``OSError`` if the manifest cannot be read.
        """
        return not self.manifest_sha256 or file_sha256(manifest) == self.manifest_sha256

    def to_json(self) -> str:
        """Returns the text of ``dataset.json``."""
        fields = {"format_version": self.format_version, **msgspec.to_builtins(self)}
        if not self.note:  # older versions refuse the field
            del fields["note"]
        return json.dumps(fields, indent=1, ensure_ascii=False) + "\n"


def read_info(folder: Path, shown: str = "") -> DatasetInfo:
    """Reads ``dataset.json`` in ``folder``.

    Raises ``InputError`` if the file is missing, or has contents that this project would not write. The message names
    the file as ``shown``, for example its address in a store. If ``shown`` is empty, it names the path.
    """
    path = folder / INFO_NAME
    shown = shown or str(path)
    try:
        return parse_info(read_json_bytes(path), shown)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(_missing(folder)) from None
    except OSError as error:
        raise InputError(f"{shown} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{shown} does not describe a data set: build it again") from error


def parse_info(data: bytes, shown: str) -> DatasetInfo:
    """Parses ``data``, the bytes of a ``dataset.json``. Messages name the file as ``shown``.

    The file is untrusted. Raises ``InputError`` if it has fields or values that no build writes.
    """
    try:
        fields: dict[str, Any] = parse_json(data)
        version = fields["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{shown} does not describe a data set: build it again") from error
    require_format(shown, version, sidecars=_names_sidecars(fields))
    try:
        return typed_document(fields, DatasetInfo, "")
    except ValueError as error:
        raise InputError(f"{shown} is damaged ({error}): build it again") from error


def _names_sidecars(fields: Mapping[str, Any]) -> bool:
    """Whether a ``dataset.json`` with these ``fields``, of any version, describes tars made elsewhere."""
    shards = fields.get("shards")
    listed = shards if isinstance(shards, list) else []
    return any(isinstance(shard, dict) and shard.get("sidecar") for shard in listed)


def _require_digest(text: str, needed: bool) -> None:
    """Raises ``ValueError`` unless ``text`` is a hexadecimal SHA-256. If ``needed`` is false, ``text`` may also be
    empty.

    This is a security check: digests become file names in the cache.
    """
    if not is_digest(text) and (needed or text):
        raise ValueError(f"{text[:100]!r} is not a SHA-256 of 64 hexadecimal digits")


def _missing(folder: Path) -> str:
    if not folder.exists():
        return f"data set folder {folder} does not exist: build it with glass build"
    if not folder.is_dir():
        return f"{folder} is a file: give the folder of a data set"
    return (
        f"{folder} has no {INFO_NAME}, so it is not a finished data set: run glass build, which also continues an "
        "interrupted build"
    )
