"""The sidecar of a tar made elsewhere: a second tar with the members that the original lacks.

``NAME.sidecar``, a tar, holds KEY.json, KEY.global.npy and KEY.mcu for each sample. ``NAME.sidecar.parquet`` holds the
samples' manifest rows. The images stay in the original tar, which is not modified. A sidecar's name does not end in
``.tar``, because programs that read ``*.tar`` from the folder would mistake it for data. Older data sets have
``NAME.sidecar.tar`` instead.
"""

import hashlib
import mmap
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shards.adopt.examine import TarImage, mapped_tar
from shards.build.make_sample import build_sample
from shards.build.packing import sample_key
from shards.build.tar import ShardTar
from shards.build.writer import Rejection, ShardRecord, write_shard_manifest
from shards.errors import InputError, machine_spared
from shards.files.atomic import atomic_path
from shards.images.rejection import RejectedImage
from shards.manifest.info import ShardInfo
from shards.manifest.schema import MEMBERS

__all__ = ["SidecarTask"]


@dataclass(frozen=True)
class SidecarTask:
    """The task of making one tar's sidecar. Picklable. Running it again produces identical files."""

    tar: Path
    name: str
    """Name of the tar, relative to the data set's folder."""
    number: int
    """Index of the tar among all tars. It is part of the sample keys, which makes them unique in the data set."""
    num_bytes: int
    """Length of the tar in bytes. Like ``sha256`` and ``images``, it was determined in the first pass over the tar."""
    sha256: str
    images: tuple[TarImage, ...]
    out: Path
    stem: str
    """File name of the sidecar without ``.sidecar``."""
    global_size: int

    @property
    def num_images(self) -> int:
        return len(self.images)

    @property
    def sidecar(self) -> str:
        return f"{self.stem}.sidecar"

    @property
    def manifest(self) -> Path:
        return self.out / f"{self.stem}.sidecar.parquet"

    def write(self, advance: Callable[[], object]) -> None:
        """Decodes the images, and writes the sidecar and its manifest.

        ``advance()`` is called after every image; if it raises, the work stops. Raises ``OSError`` if the files cannot
        be written, and ``InputError`` if the tar has changed.
        """
        rows: list[dict[str, Any]] = []
        rejected: list[Rejection] = []
        num_bytes, sha256 = 0, ""
        with suppress(_NoSamples), mapped_tar(self.tar) as data, atomic_path(self.out / self.sidecar) as temporary:
            with ShardTar(temporary) as sidecar:
                for image in self.images:
                    self._add(image, data, sidecar, rows, rejected)
                    advance()
            if not rows:
                raise _NoSamples
            num_bytes, sha256 = sidecar.num_bytes, sidecar.sha256
        info = ShardInfo(
            self.name,
            "+".join(dict.fromkeys(row["split"] for row in rows)),
            "+".join(sorted({row["format"] for row in rows})),
            len(rows),
            self.num_bytes,
            self.sha256,
            self.sidecar,
            num_bytes,
            sha256,
        )
        write_shard_manifest(self.manifest, rows, ShardRecord(info, tuple(rejected)))

    def _add(
        self, image: TarImage, data: mmap.mmap, sidecar: ShardTar, rows: list[dict[str, Any]], rejected: list[Rejection]
    ) -> None:
        source, key = image.source, sample_key(self.number, len(rows))
        content = data[image.offset : image.offset + image.length]
        if hashlib.sha256(content).digest() != source.sha256:
            raise InputError(f"{self.tar} changed while it was indexed: index it again, into a new folder (--out)")
        try:
            # The image stays in its tar, so a progressive JPEG stays progressive.
            with machine_spared(f"{self.tar}/{source.path}", memory=True):
                sample = build_sample(content, source, key, self.name, self.global_size, keep_progressive=True)
        except RejectedImage as error:
            rejected.append(Rejection.of(source, error.reason, error.detail))
            return
        row = {**sample.row, "image_offset": image.offset, "image_length": image.length}
        placed = sidecar.write(key, sample.members[1:])
        for member, (_, start, size, _) in zip(MEMBERS[1:], placed, strict=True):
            row[f"{member}_offset"], row[f"{member}_length"] = start, size
        rows.append(row)


class _NoSamples(Exception):
    """Raised if none of a tar's images is accepted, to cancel writing the sidecar."""
