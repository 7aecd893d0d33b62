"""Checks that the parts of a data set agree with each other. Every byte is checked against at least two records, for
example the SHA-256 of a tar and the CRC-32 of an image in it.

Disagreements are returned as a list of findings rather than raised as exceptions.
"""

import errno
import mmap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shards.build.finish import not_indexable_counts, split_counts, stored_as_counts
from shards.build.make_sample import check_sample
from shards.build.tar import Member, dali_index
from shards.build.writer import read_shard_manifest
from shards.cli.wording import counted
from shards.errors import InputError, machine_spared, require_sound_machine
from shards.files.parquet_file import read_parquet
from shards.files.regular_file import file_sha256, map_regular, require_regular
from shards.files.tar_headers import walk_tar
from shards.images.stored_form import member_extension
from shards.manifest.dataset import MANIFEST_NAME, ShardDataset, ShardInfo
from shards.manifest.schema import MEMBERS, REJECTED_NAME
from shards.manifest.tiled_bytes import tiled_bytes

__all__ = ["CHECKS", "Finding", "verify_dataset"]

CHECKS = {
    "counts": "dataset.json agrees with the manifest, and lists every tar in the folder (of an index: every sidecar)",
    "manifest": "samples.arrow has the SHA-256 in dataset.json, and agrees with each Parquet file",
    "tar": "each tar has the size and SHA-256 that dataset.json gives",
    "members": "each tar has the members in the manifest: names, order, offsets and lengths",
    "index": "each .idx lists the members of its tar",
    "image": "each stored image has its CRC-32, and its SHA-256 if it is an unchanged source file",
    "facts": "the .json member and the manifest agree with each image file",
    "pixels": "each image decodes to the pixels it had when the shard was built",
    "global_view": "each stored global view equals one computed again, and has its CRC-32",
    "entry_points": "the entry points of each JPEG equal those computed again, and have their CRC-32",
}
"""Maps each check to what is true of the data set if the check has no findings."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A disagreement found by a check."""

    check: str
    """Key of :data:`CHECKS`."""
    where: str
    """File name, and the sample key if the finding concerns one sample."""
    detail: str


def verify_dataset(dataset: ShardDataset, threads: int, advance: Callable[[int], object]) -> list[Finding]:
    """Runs all checks in ``CHECKS``; ``advance(n)`` is called after every ``n`` samples.

    Reads all shards and decodes all images. Returns the findings, ordered by shard.
    """
    findings = list(_check_counts(dataset))
    shards = dataset.table.column("shard").combine_chunks()
    with ThreadPoolExecutor(threads) as pool:
        for info in dataset.info.shards:
            rows = dataset.table.filter(pc.equal(shards, info.name))
            if info.sidecar:  # the manifest orders them by split, the sidecar as the tar does
                rows = rows.sort_by("sample_key")
            findings += _check_manifest(dataset.root, info, rows)
            records = rows.to_pylist()
            try:
                findings += _check_tars(dataset, info, records)
                findings += _check_samples(dataset, info, records, pool, advance)
            except OSError as error:
                require_sound_machine(error, info.name)
                findings.append(Finding("tar", info.name, error.strerror or str(error)))
    return findings


def _check_counts(dataset: ShardDataset) -> Iterator[Finding]:
    info, table = dataset.info, dataset.table
    found = {
        "counts": (dict(info.counts), split_counts(table)),
        "not_indexable": (dict(info.not_indexable), not_indexable_counts(table)),
        "stored_as": (dict(info.stored_as), stored_as_counts(table)),
        "samples per shard": (
            {shard.name: shard.samples for shard in info.shards},
            {v["values"]: v["counts"] for v in table.column("shard").value_counts().to_pylist()},
        ),
        "tars": (sorted(shard.sidecar or shard.name for shard in info.shards), sorted(_tars_in(dataset))),
        "rejected": (dict(info.rejected), _rejected(dataset.root / REJECTED_NAME)),
    }
    if info.tiled:  # absent from older descriptions
        found["tiled"] = dict(info.tiled), tiled_bytes(table)
    if not info.describes(dataset.root / MANIFEST_NAME):
        yield Finding("manifest", MANIFEST_NAME, "SHA-256 differs from dataset.json")
    for what, (recorded, actual) in found.items():
        if recorded != actual:
            yield Finding("counts", f"dataset.json, {what}", f"says {recorded}, found {actual}")


def _tars_in(dataset: ShardDataset) -> Iterator[str]:
    """Yields the names of all tars in the data set's folder or, if it has sidecars, of all sidecars."""
    patterns = ("*.sidecar", "*.sidecar.tar") if dataset.has_sidecars else ("*.tar",)
    return (path.name for pattern in patterns for path in dataset.root.glob(pattern))


def _rejected(path: Path) -> dict[str, int] | str:
    try:
        reasons = read_parquet(path, ["reason"]).column("reason")
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        return f"no readable {path.name} ({error})"
    return {v["values"]: v["counts"] for v in reasons.value_counts().to_pylist()}


def _check_manifest(root: Path, info: ShardInfo, rows: pa.Table) -> Iterator[Finding]:
    name = f"{(info.sidecar or info.name).removesuffix('.tar')}.parquet"
    try:
        table = read_shard_manifest(root / name)
    except InputError as error:
        yield Finding("manifest", name, f"cannot be read: {error}")
        return
    if table.to_pylist() != rows.to_pylist():
        yield Finding("manifest", name, "its rows differ from those in samples.arrow")


def _check_tars(dataset: ShardDataset, info: ShardInfo, records: list[dict[str, Any]]) -> Iterator[Finding]:
    path = dataset.shard_path(info.name)
    yield from _check_bytes(path, info.name, info.num_bytes, info.sha256)
    expected = [_members(record) for record in records]
    if not info.sidecar:
        yield from _check_members(path, expected)
        index = path.with_suffix(".idx")
        if not _holds(index, dali_index(expected).encode()):
            yield Finding("index", index.name, "is missing or does not list the members in the manifest")
        return
    sidecar = dataset.members_path(info.name)
    yield from _check_bytes(sidecar, info.sidecar, info.sidecar_bytes, info.sidecar_sha256)
    yield from _check_members(sidecar, [members[1:] for members in expected])
    yield from _check_images(path, info.name, records)


def _holds(path: Path, content: bytes) -> bool:
    """Whether a file's content is exactly ``content``. A file of a different size is not read."""
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except FileNotFoundError:
        return False


def _check_bytes(path: Path, name: str, num_bytes: int, sha256: str) -> Iterator[Finding]:
    require_regular(path)
    found = path.stat().st_size
    if found != num_bytes:
        yield Finding("tar", name, f"has {found:,} bytes, not {num_bytes:,}")
    elif file_sha256(path) != sha256:
        yield Finding("tar", name, "SHA-256 differs from dataset.json")


def _check_members(path: Path, expected: list[list[Member]]) -> Iterator[Finding]:
    recorded = [(name, start, size) for sample in expected for _, start, size, name in sample]
    try:
        walked = [(m.name, m.offset_data, m.size) for m in walk_tar(path)]
    except InputError as error:
        yield Finding("members", path.name, f"cannot be read: {error}")
        return
    for one, other in zip(recorded, walked, strict=False):
        if one != other:
            yield Finding("members", f"{path.name} {one[0]}", f"expected {one}, but the tar has {other}")
            break
    if len(recorded) != len(walked):
        yield Finding(
            "members", path.name, f"expected {counted(len(recorded), 'member')}, but the tar has {len(walked):,}"
        )


def _check_images(path: Path, name: str, records: list[dict[str, Any]]) -> Iterator[Finding]:
    """Checks that the images in a tar made elsewhere are where the manifest says they are."""
    try:
        walked = {(f"{name}/{m.name}", m.offset_data, m.size) for m in walk_tar(path)}
    except InputError as error:
        yield Finding("members", name, str(error))
        return
    for record in records:
        recorded = (record["source_path"], record["image_offset"], record["image_length"])
        if recorded not in walked:
            where = f"{name} {record['sample_key']}"
            yield Finding("members", where, f"the tar has no member {recorded}")


def _members(record: dict[str, Any]) -> list[Member]:
    """Returns the members of a sample, with the offsets and lengths recorded in the manifest."""
    image = member_extension(record["stored_as"], record["format"])
    return [
        (extension, record[f"{member}_offset"], record[f"{member}_length"], f"{record['sample_key']}.{extension}")
        for member, extension in zip(MEMBERS, (image, "json", "global.npy", "mcu"), strict=True)
    ]


def _check_samples(
    dataset: ShardDataset,
    info: ShardInfo,
    records: list[dict[str, Any]],
    pool: ThreadPoolExecutor,
    advance: Callable[[int], object],
) -> Iterator[Finding]:
    with _mapped(dataset.shard_path(info.name)) as tar, _mapped(dataset.members_path(info.name)) as rest:

        def check(record: dict[str, Any]) -> list[Finding]:
            members = {}
            for member in MEMBERS:
                start, size = record[f"{member}_offset"], record[f"{member}_length"]
                members[member] = (tar if member == "image" else rest)[start : start + size]
            where = f"{info.name} {record['sample_key']}"
            with machine_spared(where, memory=True):
                found = list(check_sample(record, members, dataset.info.global_size))
            return [Finding(kind, where, detail) for kind, detail in found]

        for found in pool.map(check, records):
            yield from found
            advance(1)


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    if not path.stat().st_size:
        raise OSError(errno.ENODATA, "it is empty", str(path))
    with map_regular(path) as data:
        yield data
