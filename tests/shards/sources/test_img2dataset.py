"""Tars and tables that img2dataset really wrote give the bytes and labels of the files that it downloaded. Its third
format, a folder of files, is refused."""

import subprocess
import sys
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.adopt.settings import parse_values
from shards.errors import InputError
from shards.images.rejection import RejectedImage
from shards.sources.read import read_sources
from tests.images.image_tables import Row, rows_of
from tests.machine.loopback import listening
from tests.shards.adopt.test_foreign_tars import taken_in

pytestmark = pytest.mark.slow

DOWNLOAD = """
import sys
from img2dataset import download
if __name__ == "__main__":
    download(url_list=sys.argv[1], output_folder=sys.argv[2], output_format=sys.argv[3], input_format="parquet",
             url_col="url", caption_col="caption", save_additional_columns=["label", "is_fake"], thread_count=2,
             number_sample_per_shard=8, disable_all_reencoding=True, processes_count=1)
"""


@pytest.fixture(scope="module")
def rows(synthetic_images: Path) -> list[Row]:
    return rows_of(synthetic_images)


@pytest.fixture(scope="module")
def server(synthetic_images: Path) -> Iterator[str]:
    class Images(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(synthetic_images))

        def log_message(self, *arguments: object) -> None: ...

    with listening(Images) as address:
        yield address


def fetched(rows: list[Row], server: str, tmp_path: Path, form: str) -> Path:
    """Downloads the files, and one that does not exist, by img2dataset in the format ``form``. Returns the folder that
    it wrote."""
    pytest.importorskip("img2dataset", reason="img2dataset is not installed")
    columns = {
        "url": [f"{server}/{row.name}" for row in rows] + [f"{server}/gone.jpg"],
        "caption": ["a real fake"] * (len(rows) + 1),
        "label": ["fake" if row.label else "real" for row in rows] + ["real"],
        "is_fake": [row.label for row in rows] + [0],
    }
    pq.write_table(pa.table(columns), tmp_path / "urls.parquet")
    (tmp_path / "download.py").write_text(DOWNLOAD)
    command = [sys.executable, "download.py", "urls.parquet", "got", form]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=300)
    return tmp_path / "got"


def test_tars(rows: list[Row], server: str, tmp_path: Path) -> None:
    got = fetched(rows, server, tmp_path, "webdataset")
    truth = {row.data: row.label for row in rows}
    assert taken_in([got]) == truth
    assert taken_in([got], label_from="json:is_fake") == truth
    assert taken_in([got], label_from="json:is_fake", values=parse_values([], [], ["1=fake"])) == truth


def test_tables_with_images_inside(rows: list[Row], server: str, tmp_path: Path) -> None:
    """The row of an image that could not be downloaded is rejected, even if its table has no other row."""
    sources = read_sources(fetched(rows, server, tmp_path, "parquet"))
    (tmp_path / "out").mkdir()
    files = sources.files.prepared(tmp_path / "out", lambda _: None)
    paths, labels = (sources.table.column(name).to_pylist() for name in ("path", "label"))
    found, lost = {}, []
    for path, label in zip(paths, labels, strict=True):
        try:
            found[files.read(path)] = label
        except RejectedImage as rejected:
            lost.append(rejected.detail)
    assert found == {row.data: row.label for row in rows}
    assert lost == ["the row holds no image"]


def test_files(rows: list[Row], server: str, tmp_path: Path) -> None:
    """A folder of img2dataset is refused as a source, because each label is in a ``.json`` beside its image, which a
    build does not read."""
    with pytest.raises(InputError, match="no folder name says real or generated"):
        read_sources(fetched(rows, server, tmp_path, "files"))
