"""``dataset.json``: what a data set holds, small enough to read by eye. Written last of all."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shards.command import InputError
from shards.schema import FORMAT_VERSION

__all__ = ["INFO_NAME", "DatasetInfo", "ShardInfo", "SplitCounts", "read_info"]

INFO_NAME = "dataset.json"


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """One tar of the data set."""

    name: str
    """File name, such as ``train-000012.tar``; of a tar made elsewhere the path to it from the
    data set's folder."""
    split: str
    """The split of all its samples. In a tar made elsewhere there may be several: ``train+test``.
    """
    format: str
    """The format of all its images, as they are stored. In a tar made elsewhere: ``JPEG+PNG``."""
    samples: int
    num_bytes: int
    sha256: str
    """Of the tar, in hexadecimal."""
    sidecar: str = ""
    """For a tar made elsewhere: file name of the tar that holds all members but the images."""
    sidecar_bytes: int = 0
    sidecar_sha256: str = ""


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """How many samples of which kind a split holds."""

    samples: int
    real: int
    generated: int
    generators: Mapping[str, int]
    """Generated samples by generator."""


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """The contents of ``dataset.json``."""

    global_size: int
    """Side of the stored global views in pixels."""
    split_seed: int
    split_shares: Mapping[str, float]
    """Shares that were asked for; a list with a ``split`` column overrides them."""
    samples_per_shard: int
    num_samples: int
    counts: Mapping[str, SplitCounts]
    """Split → counts, for splits with samples."""
    not_indexable: Mapping[str, int]
    """Reason → samples whose entry points are empty."""
    rejected: Mapping[str, int]
    """Reason → images that were not taken in; ``rejected.parquet`` names them."""
    shards: tuple[ShardInfo, ...]
    stored_as: Mapping[str, int] = field(default_factory=dict)
    """Form (see ``shards.stored_form``) → samples."""
    equalised: str = ""
    """What was done so that the files of both classes look alike, in words; empty for nothing."""
    written_by: Mapping[str, str] = field(default_factory=dict)
    """Versions of the programs that wrote the shards."""
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """The text of ``dataset.json``."""
        fields = {"format_version": self.format_version, **asdict(self)}
        return json.dumps(fields, indent=1, ensure_ascii=False) + "\n"


def read_info(folder: Path) -> DatasetInfo:
    """Reads ``folder/dataset.json``. Raises ``InputError`` where it is missing or not ours."""
    path = folder / INFO_NAME
    try:
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = fields["format_version"]
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(_missing(folder)) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a data set's description: build it again") from error
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {version!r}, this program reads {FORMAT_VERSION}: "
            "build the shards again or use a matching version of this program"
        )
    try:
        fields["counts"] = {name: SplitCounts(**c) for name, c in fields["counts"].items()}
        fields["shards"] = tuple(ShardInfo(**shard) for shard in fields["shards"])
        return DatasetInfo(**fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error}): build it again") from error


def _missing(folder: Path) -> str:
    if not folder.exists():
        return f"data set folder {folder} does not exist: build it with scripts.build_shards"
    if not folder.is_dir():
        return f"{folder} is a file, not the folder of a data set"
    return (
        f"{folder} holds no {INFO_NAME}, so it is no finished data set: "
        "run scripts.build_shards, which also continues an interrupted build"
    )
