"""Makes small tars of labelled pictures, in the form that third parties publish, and indexes them."""

import io
import json
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from shards.adopt.adopt import index_tars
from shards.adopt.settings import IndexSettings
from shards.manifest.dataset import ShardDataset

Members = list[tuple[str, bytes]]


@cache
def picture(seed: int, kind: str = "JPEG", **options: Any) -> bytes:
    side = 40 + seed % 7
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side + 5, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def write_tar(path: Path, members: Members, tar_format: int = tarfile.GNU_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tar_format) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def labelled(first: int, count: int = 6, name: str = "img_{}") -> Members:
    """Samples with an image and a ``.cls`` member. Every other sample is generated."""
    members = []
    for seed in range(first, first + count):
        key = name.format(seed)
        members += [(f"{key}.jpg", picture(seed)), (f"{key}.cls", str(seed % 2).encode())]
    return members


def index(*tars: Path, out: Path | None = None, **settings: Any) -> ShardDataset:
    index_tars(tars, out, IndexSettings(global_size=32, **settings), progress=False)
    return ShardDataset.open(out or tars[0].parent)


def rejected(folder: Path) -> dict[str, str]:
    rows = pq.read_table(folder / "rejected.parquet").to_pylist()
    return {row["source_path"]: row["reason"] for row in rows}


def labels(dataset: ShardDataset) -> dict[str, tuple[int, str]]:
    return {
        row["source_path"].split("/", 1)[1].split(".")[0]: (row["label"], row["generator"])
        for row in dataset.table.to_pylist()
    }


def as_json(key: str, **fields: object) -> Members:
    return [(f"{key}.json", json.dumps(fields).encode())]
