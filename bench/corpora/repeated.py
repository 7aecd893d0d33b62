"""Makes epochs longer by listing each sample of a data set several times in the manifest.

An epoch over a few dozen photographs takes a tenth of a second, so starting and stopping would dominate its time. If
the manifest lists each sample R times, an epoch takes R times as long but reads the same bytes. Each repetition has its
own ``content_id``, so the loader draws different windows for it.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from msgspec.structs import replace

from shards.files.atomic import atomic_path, write_text_atomic
from shards.files.file_names import within
from shards.manifest.dataset import MANIFEST_NAME, ShardDataset, SplitCounts
from shards.manifest.info import INFO_NAME

__all__ = ["copy_content_id", "repeat_dataset"]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # any odd number gives each copy other ids


def copy_content_id(content_id: npt.NDArray[np.int64], copy: int) -> npt.NDArray[np.int64]:
    """Returns the content ids for repetition ``copy``. Repetition 0 keeps the original ids."""
    with np.errstate(over="ignore"):
        step = np.uint64(copy) * GOLDEN
    return (content_id.view(np.uint64) ^ step).view(np.int64)


def repeat_dataset(dataset: ShardDataset, split: str, copies: int, folder: Path) -> ShardDataset:
    """Writes a data set to the new ``folder``, in which each sample of ``split`` occurs ``copies`` times. Other splits
    are left out. The tars are symbolic links to those of ``dataset``."""
    folder.mkdir(parents=True)
    rows = dataset.split_rows(split)
    table = dataset.table.take(pa.array(np.tile(rows, copies))).combine_chunks()
    original = np.ascontiguousarray(dataset.column("content_id")[rows])
    ids = np.concatenate([copy_content_id(original, copy) for copy in range(copies)])
    place = table.schema.get_field_index("content_id")
    table = table.set_column(place, table.schema.field(place), pa.array(ids))
    with (
        atomic_path(folder / MANIFEST_NAME) as path,
        pa.OSFile(str(path), "wb") as file,
        pa.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table)
    counts = {split: _times(dataset.info.counts[split], copies)}
    info = replace(dataset.info, num_samples=len(rows) * copies, counts=counts, manifest_sha256="")
    write_text_atomic(folder / INFO_NAME, info.to_json())
    for shard in info.shards:
        within(folder, shard.name).symlink_to(dataset.shard_path(shard.name).resolve())
    return ShardDataset.open(folder)


def _times(counts: SplitCounts, copies: int) -> SplitCounts:
    return SplitCounts(
        samples=counts.samples * copies,
        real=counts.real * copies,
        generated=counts.generated * copies,
        generators={name: number * copies for name, number in counts.generators.items()},
    )
