"""Writes data sets with manifests of any length, in which all rows refer to the same two images."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from msgspec.structs import replace
from PIL import Image

from shards.build.build import build_dataset
from shards.build.finish import write_manifest
from shards.build.settings import BuildSettings
from shards.files.atomic import write_text_atomic
from shards.manifest.dataset import MANIFEST_NAME, ShardDataset, SplitCounts
from shards.manifest.info import INFO_NAME
from shards.manifest.schema import SAMPLE_SCHEMA

__all__ = ["write_dataset"]

SHARES = {"train": 0.7, "valid": 0.15, "test": 0.15}
GLOBAL_SIZE = 64
CHUNK = 1_000_000


def write_dataset(folder: Path, samples: int) -> None:
    """Writes a data set of ``samples`` rows. Each row has its own key, content id, hashes and path."""
    with TemporaryDirectory(dir=folder.parent) as scratch:
        images = Path(scratch) / "images"
        _draw(images)
        settings = BuildSettings(split_shares={"train": 1.0, "valid": 0.0, "test": 0.0}, global_size=GLOBAL_SIZE)
        build_dataset(images, folder, settings, progress=False)
    built = ShardDataset.open(folder)
    table = pa.concat_tables(
        [_rows(built.table, start, min(CHUNK, samples - start), samples) for start in range(0, samples, CHUNK)]
    )
    write_manifest(table, folder / MANIFEST_NAME)
    _write_info(built, folder, table, samples)


def _draw(folder: Path) -> None:
    """Writes two 96 × 96 JPEGs of random pixels, one in a folder of real images and one in a folder of generated
    ones."""
    random = np.random.default_rng(0)
    for name in ("real", "generated/made_up"):
        (folder / name).mkdir(parents=True)
        pixels = random.integers(0, 256, (96, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name / "0.jpg", quality=90)


def _rows(one: pa.Table, start: int, count: int, total: int) -> pa.Table:
    """Rows ``start`` … ``start + count - 1`` of a manifest with ``total`` rows, made by repeating the rows of
    ``one``."""
    numbers = np.arange(start, start + count)
    table = one.take(pa.array(numbers % one.num_rows)).combine_chunks()
    random = np.random.default_rng([606, start])
    digests = random.integers(0, 256, count * 32, dtype=np.uint8)
    ids = np.frombuffer(digests.tobytes(), ">i8")[::4].astype(np.int64)
    hashes = pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), count, [None, pa.py_buffer(digests)])
    ends = np.cumsum(list(SHARES.values())) * total
    names = np.array(list(SHARES))[np.searchsorted(ends, numbers, side="right").clip(max=2)]
    columns = {
        "sample_key": pa.array(np.char.zfill(numbers.astype(str), 12)),
        "content_id": pa.array(ids),
        "split": pa.array(names).dictionary_encode(),
        "sha256": hashes,
        "pixel_sha256": hashes,
        "source_path": pa.array(np.char.add("generated/some_generator/image_", numbers.astype(str))),
    }
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        field = SAMPLE_SCHEMA.field(name)
        table = table.set_column(place, field, values.cast(field.type))
    return table.cast(SAMPLE_SCHEMA)


def _write_info(built: ShardDataset, folder: Path, table: pa.Table, samples: int) -> None:
    split = table.column("split").combine_chunks().to_numpy(zero_copy_only=False)
    label = table.column("label").to_numpy()
    counts = {}
    for name in SHARES:
        here = split == name
        generated = int(label[here].sum())
        if here.any():
            counts[name] = SplitCounts(int(here.sum()), int(here.sum()) - generated, generated, {"made_up": generated})
    info = replace(built.info, num_samples=samples, counts=counts, manifest_sha256="")
    write_text_atomic(folder / INFO_NAME, info.to_json())
