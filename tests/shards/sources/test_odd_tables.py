"""Tables in which a column holds impossible values, or two columns have the same name, give one error."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.adopt.key_list import read_key_list
from shards.errors import InputError
from shards.sources.read import read_sources
from tests.images.image_tables import Row, table_of

NO_TEXT = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe"))
IMPOSSIBLE_DAYS = pa.array([2**31 - 1, 0], pa.int32()).cast(pa.date32())


@pytest.mark.parametrize("name", ["label", "model"])
@pytest.mark.parametrize("values", [NO_TEXT, IMPOSSIBLE_DAYS], ids=["no text", "impossible days"])
def test_values_that_are_none_are_one_sentence(name: str, values: pa.Array, tmp_path: Path) -> None:
    """Values that cannot be converted to text give one error, in a table of images, a list of sources, and a list by
    key."""
    table = table_of([Row("0.jpg", b"r", 0), Row("1.jpg", b"g", 1)])
    table = table.set_column(table.column_names.index(name), name, values)
    path = tmp_path / "train.parquet"
    pq.write_table(table, path)
    with pytest.raises(InputError, match=r"train\.parquet is not a Parquet file that can be read"):
        read_sources(path)
    named = pa.array(["0.jpg", "1.jpg"])
    pq.write_table(table.set_column(0, "path", named), path)
    with pytest.raises(InputError, match=r"train\.parquet is not a Parquet file that can be read"):
        read_sources(path)
    pq.write_table(table.set_column(0, "key", named), path)
    with pytest.raises(InputError, match=r"train\.parquet: cannot be read"):
        read_key_list(path)


def test_two_columns_of_images_by_one_name_are_named(tmp_path: Path) -> None:
    table = table_of([Row("0.jpg", b"r" * 20_000, 0), Row("1.jpg", b"g" * 20_000, 1)])
    pq.write_table(table.append_column("image", table.column("image")), tmp_path / "train.parquet")
    with pytest.raises(InputError, match=r"two columns called image"):
        read_sources(tmp_path / "train.parquet")
