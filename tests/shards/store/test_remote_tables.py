"""Tables with embedded images in a store give the images that their copies on disk give."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from bench.corpora.range_server import Server, serving
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.dry_run.description import describe_sources
from shards.errors import InputError
from shards.sources.files import SCRATCH_NAME
from shards.sources.read import read_sources
from shards.sources.source_list import SourceList
from shards.store.folder import RemoteFolder
from tests.images.image_tables import Row, rows_of, table_of, write_saved, write_tables
from tests.machine.folder_contents import assert_same_files
from tests.machine.hub_server import Hub, serving_hub

fsspec = pytest.importorskip("fsspec", reason="the extra [remote] is not installed")
pytest.importorskip("aiohttp", reason="the extra [remote] is not installed")

SETTINGS = BuildSettings(split_shares={"train": 0.5, "valid": 0.25, "test": 0.25}, samples_per_shard=12, global_size=64)


@pytest.fixture(autouse=True)
def small_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLASS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("GLASS_REMOTE_CONNECTIONS", "4")
    monkeypatch.setenv("GLASS_REMOTE_LONGEST_PAUSE_S", "0.01")


@pytest.fixture(scope="module")
def rows(small_set: Path) -> list[Row]:
    return rows_of(small_set / "images")


@pytest.fixture
def hub(rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Hub]]:
    """Yields (``hf://`` address of a data set of two tables and a card, the simulated hub)."""
    pytest.importorskip("huggingface_hub", reason="the extra [remote] is not installed")
    root = write_tables(tmp_path / "set", rows)
    (root / "README.md").write_text("---\nlicense: mit\n---\n")
    with serving_hub(root, monkeypatch) as served:
        yield served


@pytest.fixture
def web(rows: list[Row], tmp_path: Path) -> Iterator[Server]:
    """Yields a web server that serves a table and does not list its folders."""
    with serving(write_tables(tmp_path / "set", rows, "one group", parts=1)) as server:
        yield server


def assert_images(sources: SourceList, rows: list[Row], out: Path) -> None:
    """Asserts that the sources equal the rows, in their order, in bytes and labels."""
    out.mkdir()
    files = sources.files.prepared(out, lambda _: None)
    table = sources.table
    names = sorted(table.column("path").to_pylist())
    assert [files.read(name) for name in names] == [row.data for row in rows]
    found = dict(zip(table.column("path").to_pylist(), table.column("label").to_pylist(), strict=True))
    assert [found[name] for name in names] == [row.label for row in rows]


def test_a_data_set_of_the_hub_is_built_as_its_copy_is(hub: tuple[str, Hub], tmp_path: Path) -> None:
    url, server = hub
    build_dataset(url, tmp_path / "out", SETTINGS, progress=False)
    build_dataset(server.root, tmp_path / "local", SETTINGS, progress=False)
    assert_same_files(tmp_path / "out", tmp_path / "local")
    asked = server.counts["parts"]
    assert build_dataset(url, tmp_path / "out", SETTINGS, progress=False).finished_before
    assert server.counts["parts"] - asked < 20  # the ends of two tables


@pytest.mark.slow  # costs alone; the bytes are counted in the test of the hub above
def test_labels_cost_a_part_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Row(f"{number}.jpg", os.urandom(400_000), number % 2) for number in range(24)]
    with serving_hub(write_tables(tmp_path / "set", rows), monkeypatch) as (url, server):
        whole = sum(path.stat().st_size for path in server.root.rglob("*.parquet"))
        sources = read_sources(url)
        assert server.counts["bytes"] < whole / 20
        assert "not_an_image 6 among those opened" in "\n".join(describe_sources(sources, url))
        assert_images(sources, rows, tmp_path / "out")


def test_a_table_on_a_faulty_web_server(web: Server, rows: list[Row], tmp_path: Path) -> None:
    web.fault_share = 0.3
    assert_images(read_sources(f"{web.url}/data/train-00000-of-00001.parquet"), rows, tmp_path / "out")
    assert sum(count for name, count in web.counts.items() if name.startswith("fault_"))


def test_a_server_that_gives_no_parts(web: Server) -> None:
    web.ranges = False
    with pytest.raises(InputError, match="has no column of paths"):
        read_sources(f"{web.url}/data/train-00000-of-00001.parquet")


def test_a_store_that_fails_while_images_are_read(web: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the store's failure and does not call the table damaged. The same build can continue
    afterwards."""
    monkeypatch.setenv("GLASS_REMOTE_ATTEMPTS", "2")
    sources = read_sources(f"{web.url}/data/train-00000-of-00001.parquet")
    web.dead = ("data/train-00000-of-00001.parquet",)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"could not be reached in 2 attempts"):
        sources.files.prepared(tmp_path / "out", lambda _: None)
    assert not list((tmp_path / "out" / SCRATCH_NAME).iterdir())
    web.dead = ()
    sources.files.prepared(tmp_path / "out", lambda _: None)


def test_a_saved_set_in_a_store(rows: list[Row], tmp_path: Path) -> None:
    write_saved(tmp_path / "set", [table_of(rows[:10]), table_of(rows[10:])])
    store = fsspec.filesystem("memory")
    for path in (tmp_path / "set").iterdir():
        store.pipe_file(f"/bucket/saved/{path.name}", path.read_bytes())
    try:
        assert_images(read_sources("memory://bucket/saved"), rows, tmp_path / "out")
        store.pipe_file("/bucket/saved/data-00001-of-00002.arrow", b"x" * 1000)
        with pytest.raises(InputError, match=r"data-00001-of-00002\.arrow is not an Arrow file of datasets"):
            read_sources("memory://bucket/saved")
        table = (tmp_path / "set/data-00001-of-00002.arrow").read_bytes()
        (_, batch, *_) = pa.ipc.MessageReader.open_stream(pa.py_buffer(table))
        claims = table.replace(struct.pack("<q", batch.body.size), struct.pack("<q", 1 << 45), 1)
        store.pipe_file("/bucket/saved/data-00001-of-00002.arrow", claims)
        with pytest.raises(InputError, match=r"Expected to be able to read 35184372088832 bytes"):
            read_sources("memory://bucket/saved")
    finally:
        store.rm("/bucket", recursive=True)


def test_parts_of_the_hub_are_no_longer_than_asked_for(hub: tuple[str, Hub]) -> None:
    """A range request to the hub transfers exactly the requested bytes, although fsspec's file objects would read 5 MiB
    ahead."""
    url, server = hub
    remote = RemoteFolder(url)
    assert remote.read_range("data/train-00000-of-00002.parquet", 0, 4) == b"PAR1"
    assert server.counts["bytes"] == 4
