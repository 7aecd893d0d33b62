"""Whether something was written in the format of shards that this program reads, or what to do."""

from typing import Any

import pyarrow as pa

from shards.errors import InputError
from shards.manifest.schema import FORMAT_VERSION

__all__ = ["require_format", "require_manifest_format"]

_BUILD = "build the shards again into a new folder: python -m scripts.build_shards SRC OUT"
_INDEX = "index the tars again into a new folder: python -m scripts.index_shards TAR… --out OUT"
_NEWER = "use the version of the program that wrote it"


def require_format(where: object, version: Any, sidecars: bool = False) -> None:
    """Raises ``InputError`` unless ``version``, which stands in ``where``, is the one read here.

    ``sidecars`` says that it describes tars that were made elsewhere. Versions come from files, so
    they may be of any type.
    """
    known = isinstance(version, int) and not isinstance(version, bool)
    if known and version == FORMAT_VERSION:
        return
    newer = known and version > FORMAT_VERSION
    todo = _NEWER if newer else _INDEX if sidecars else _BUILD
    said = f"{where} has format version {str(version)[:20]}"
    raise InputError(f"{said}, this program reads {FORMAT_VERSION}: {todo}")


def require_manifest_format(schema: pa.Schema, where: object) -> None:
    """:func:`require_format` of a manifest, ``samples.arrow`` or a shard's Parquet file, whose
    metadata hold the version. Where they hold none, its columns decide."""
    text = (schema.metadata or {}).get(b"format_version")
    if text is not None:
        version = text.decode("ascii", "replace")
        is_number = version.isdecimal() and len(version) < 9
        require_format(where, int(version) if is_number else version)
