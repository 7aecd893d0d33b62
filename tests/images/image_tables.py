"""Writes tables that contain images, in the forms used by public data sets."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["FORMS", "Row", "features", "rows_of", "table_of", "write_saved", "write_tables"]

FORMS = ("datasets", "one group", "one page", "bytes", "large bytes", "arrow")
"""Forms of tables. ``datasets`` stores images as structs, uncompressed and in several row groups. The other Parquet
forms have pyarrow's default layout, with one row group and one dictionary."""


@dataclass(frozen=True)
class Row:
    """An image with its label and generator."""

    name: str
    data: bytes | None
    label: int
    generator: str = ""


def rows_of(root: Path) -> list[Row]:
    """The images below the folders ``real`` and ``generated/GENERATOR`` in ``root``, sorted by file name so that
    classes alternate."""
    paths = sorted(root.rglob("*.*"), key=lambda path: path.name)
    names = [str(path.relative_to(root)) for path in paths]
    return [
        Row(name, path.read_bytes(), int(name.startswith("g")), name.split("/")[1] if name.startswith("g") else "")
        for name, path in zip(names, paths, strict=True)
    ]


def features(names: Sequence[str]) -> dict[bytes, bytes]:
    """Returns the schema metadata that ``datasets`` writes, which declares ``label`` as an index into ``names``."""
    about = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    return {b"huggingface": json.dumps({"info": {"features": about}}).encode()}


def table_of(rows: Sequence[Row], form: str = "datasets", names: Sequence[str] = ("real", "fake")) -> pa.Table:
    """The rows as a table. Images are structures as ``datasets`` stores them, or plain bytes if ``form`` ends with
    "bytes"."""
    kind: pa.DataType = pa.large_binary() if form == "large bytes" else pa.binary()
    images: list[Any] = [row.data for row in rows]
    if not form.endswith("bytes"):
        images = [{"bytes": row.data, "path": row.name.rpartition("/")[2]} for row in rows]
        kind = pa.struct([("bytes", kind), ("path", pa.string())])
    labels = [names.index("fake") if row.label else names.index("real") for row in rows]
    columns = {
        "image_data" if form.endswith("bytes") else "image": pa.array(images, kind),
        "label": pa.array(labels, pa.int64()),
        "model": pa.array([row.generator for row in rows]),
    }
    return pa.table(columns).replace_schema_metadata(features(names))


def write_tables(root: Path, rows: Sequence[Row], form: str = "datasets", parts: int = 2) -> Path:
    """Writes the rows to ``parts`` files. They are laid out as in a repository on the hub, or as by ``save_to_disk`` if
    ``form`` is ``arrow``. Returns the folder."""
    size = -(-len(rows) // parts)
    tables = [table_of(rows[start : start + size], form) for start in range(0, len(rows), size)]
    if form == "arrow":
        write_saved(root, tables)
        return root
    options: dict[str, Any] = {"row_group_size": 4, "use_dictionary": False, "compression": "none"}
    if form == "one group":
        options = {"write_batch_size": 2, "data_page_size": 1}
    elif form != "datasets":
        options = {}
    (root / "data").mkdir(parents=True)
    for number, table in enumerate(tables):
        pq.write_table(table, root / f"data/train-{number:05d}-of-{len(tables):05d}.parquet", **options)
    return root


def write_saved(folder: Path, tables: Sequence[pa.Table]) -> None:
    """Writes the tables as ``datasets.save_to_disk`` does, and adds a cache file such as ``map()`` leaves behind."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05d}-of-{len(tables):05d}.arrow" for number in range(len(tables))]
    for name, table in zip([*names, "cache-0123456789abcdef.arrow"], [*tables, tables[0]], strict=True):
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=5)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "x", "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
