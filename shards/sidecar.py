"""The sidecar of a tar made elsewhere: what our shards hold beside the image, in a tar of its own.

``NAME.sidecar.tar`` holds KEY.json, KEY.global.npy and KEY.mcu of every sample, and
``NAME.sidecar.parquet`` its rows of the manifest, whose image lies in the tar itself. That one is
only read.
"""

import hashlib
import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shards.atomic import atomic_path
from shards.command import InputError
from shards.dataset_info import ShardInfo
from shards.image_formats import sniff_format
from shards.label_rules import LabelRules, choose_rules
from shards.machine_trouble import machine_spared, require_sound_machine
from shards.packing import PackedSource, sample_key
from shards.rejection import RejectedImage
from shards.sample import build_sample
from shards.schema import MEMBERS
from shards.shard_writer import Rejection, ShardRecord, write_shard_manifest
from shards.tar_file import ShardTar
from shards.tar_listing import TarListing, TarMember, TarSample, list_tar

__all__ = ["ExaminedTar", "SidecarTask", "TarImage", "choose_image", "examine_tar", "guess_rules"]

_MAX_TEXT_BYTES = 1 << 24  # of a label member; a picture under the name of one is not read whole


@dataclass(frozen=True, slots=True)
class TarImage:
    """An image in a tar, known by its bytes; not decoded yet."""

    source: PackedSource
    """Its ``split`` is ``""`` until it is drawn."""
    offset: int
    length: int


@dataclass(frozen=True)
class ExaminedTar:
    """What the first pass found in a tar."""

    num_bytes: int
    sha256: str
    images: tuple[TarImage, ...]
    rejected: tuple[Rejection, ...]
    passed_over: int
    """Files that belong to no sample."""


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
    except OSError as error:
        require_sound_machine(error, path)
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def _reader(data: mmap.mmap) -> Callable[[TarMember], bytes]:
    def read(member: TarMember) -> bytes:
        return data[member.offset : member.offset + min(member.length, _MAX_TEXT_BYTES)]

    return read


def guess_rules(
    path: Path, name: str, label_from: str | None, generator_from: str | None,
    group_from: str | None, values: dict[str, int],
) -> LabelRules:  # fmt: skip
    """The rules by which samples are labelled, see :func:`shards.label_rules.choose_rules`."""
    samples = list_tar(path).samples
    if not samples:
        raise InputError(f"{path} holds no samples: files named KEY.jpg, KEY.cls and the like")
    with _mapped(path) as data:
        return choose_rules(
            label_from, generator_from, group_from, values, samples[0], _reader(data), name
        )


def choose_image(sample: TarSample, image_ext: tuple[str, ...], known: frozenset[str]) -> TarMember:
    """The image of a sample: the first extension of ``image_ext`` that it has, or, where that is
    empty, its only one of those that are ``known`` to be of images.

    Raises ``RejectedImage`` where it has none, ``InputError`` where it has several to choose from.
    """
    found = [e for e in image_ext if e in sample.members] if image_ext else []
    if not image_ext:
        found = [extension for extension in sample.members if f".{extension}" in known]
        if len(found) > 1:
            raise InputError(
                f"sample {sample.key!r} has several images ({', '.join(found)}): "
                "choose one with --image-ext"
            )
    if not found:
        raise RejectedImage("no_image", f"its members: {', '.join(sample.members)[:200]}")
    return sample.members[found[0]]


def examine_tar(
    path: Path, name: str, rules: LabelRules, image_ext: tuple[str, ...], known: frozenset[str]
) -> ExaminedTar:
    """Reads a tar once, for the identity and the label of every sample.

    Raises ``InputError`` for a file that is no tar and for labels that are neither real nor
    generated.
    """
    listing: TarListing = list_tar(path)
    rejected = [
        Rejection(f"{name}/{bad.name}", None, None, bad.reason, bad.detail) for bad in listing.bad
    ]
    images: list[TarImage] = []
    with _mapped(path) as data:
        sha256 = hashlib.sha256(data).hexdigest()
        for sample in listing.samples:
            try:
                member = choose_image(sample, image_ext, known)
                images.append(_examine(sample, member, data, name, rules))
            except RejectedImage as error:
                where = f"{name}/{sample.key}"
                rejected.append(Rejection(where, None, None, error.reason, error.detail))
        return ExaminedTar(len(data), sha256, tuple(images), tuple(rejected), listing.passed_over)


def _examine(
    sample: TarSample, member: TarMember, data: mmap.mmap, name: str, rules: LabelRules
) -> TarImage:
    said = rules.describe(sample, _reader(data), name)
    content = data[member.offset : member.offset + member.length]
    if not content:
        raise RejectedImage("empty_file", member.name)
    kind = sniff_format(content)
    if kind is None:
        raise RejectedImage("not_an_image", f"{member.name} begins with {content[:8]!r}")
    source = PackedSource(
        f"{name}/{member.name}", hashlib.sha256(content).digest(), kind, said.label,
        said.generator, said.group, said.split,
    )  # fmt: skip
    return TarImage(source, member.offset, member.length)


@dataclass(frozen=True)
class SidecarTask:
    """The work unit of an index: one tar. Picklable, and doing it twice gives the same files."""

    tar: Path
    name: str
    """Of the tar, relative to the data set's folder."""
    number: int
    """Counts through all tars, so that keys are unique in the data set."""
    num_bytes: int
    """Of the tar, as are the next two."""
    sha256: str
    images: tuple[TarImage, ...]
    out: Path
    stem: str
    """File name of the sidecar without ``.sidecar.tar``."""
    global_size: int

    @property
    def num_images(self) -> int:
        return len(self.images)

    @property
    def sidecar(self) -> str:
        return f"{self.stem}.sidecar.tar"

    @property
    def manifest(self) -> Path:
        return self.out / f"{self.stem}.sidecar.parquet"

    def write(self, advance: Callable[[], object]) -> None:
        """Decodes the images and writes sidecar and manifest.

        ``advance()`` is called after every image; what it raises stops the work. Raises ``OSError``
        where the files cannot be written, ``InputError`` where the tar has changed.
        """
        rows: list[dict[str, Any]] = []
        rejected: list[Rejection] = []
        num_bytes, sha256 = 0, ""
        with (
            suppress(_NoSamples),
            _mapped(self.tar) as data,
            atomic_path(self.out / self.sidecar) as temporary,
        ):
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
        self, image: TarImage, data: mmap.mmap, sidecar: ShardTar, rows: list[dict[str, Any]],
        rejected: list[Rejection],
    ) -> None:  # fmt: skip
        source, key = image.source, sample_key(self.number, len(rows))
        content = data[image.offset : image.offset + image.length]
        if hashlib.sha256(content).digest() != source.sha256:
            raise InputError(f"{self.tar} changed while it was indexed: start again in a new --out")
        try:
            # The image stays in its tar, so a progressive JPEG stays progressive.
            with machine_spared(f"{self.tar}/{source.path}", memory=True):
                sample = build_sample(
                    content, source, key, self.name, self.global_size, keep_progressive=True
                )
        except RejectedImage as error:
            rejected.append(
                Rejection(source.path, source.label, source.generator, error.reason, error.detail)
            )
            return
        row = {**sample.row, "image_offset": image.offset, "image_length": image.length}
        placed = sidecar.write(key, sample.members[1:])
        for member, (_, start, size, _) in zip(MEMBERS[1:], placed, strict=True):
            row[f"{member}_offset"], row[f"{member}_length"] = start, size
        rows.append(row)


class _NoSamples(Exception):
    """Every image of a tar was rejected."""
