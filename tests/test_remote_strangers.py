"""A stranger's data set over the wire: what it claims reaches no file, no memory and no cache."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bench.corpora.range_server import Server, serving
from glass.config.dataset_digest import dataset_digest
from loaders import LoaderConfig, build_loader
from loaders.reading.link import Link
from loaders.reading.open_shards import OpenShards
from scripts.audit import main as audit
from scripts.verify_shards import main as verify_shards
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.errors import InputError
from shards.files.file_names import is_digest, is_file_name, within
from shards.images.rejection import RejectedImage
from shards.manifest.dataset import ShardDataset
from shards.manifest.fetch import _download
from shards.manifest.info import read_info
from shards.sources.files import StoredFiles
from shards.store.cache import ShardCache
from shards.store.folder import RemoteFolder
from shards.store.settings import RemoteSettings

pytest.importorskip("fsspec", reason="the extra [remote] is not installed")
pytest.importorskip("aiohttp", reason="the extra [remote] is not installed")

CONFIG = LoaderConfig(
    global_batch_size=4,
    num_crops=2,
    crop_size=48,
    global_size=64,
    decode="window",
    backend="turbo",
    seed=5,
    shuffle=False,
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an empty cache."""
    monkeypatch.setenv("GLASS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("GLASS_REMOTE_CONNECTIONS", "4")
    monkeypatch.setenv("GLASS_REMOTE_ATTEMPTS", "1")
    return tmp_path / "cache"


@pytest.fixture
def far(synthetic_shards: Path, tmp_path: Path) -> Path:
    """A copy of the shards that a test may change before it is served."""
    return shutil.copytree(synthetic_shards, tmp_path / "far")


def edit_info(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "dataset.json"
    fields = json.loads(path.read_text())
    edit(fields)
    path.write_text(json.dumps(fields))


def edit_rows(folder: Path, edit: Callable[[list[dict[str, Any]]], object]) -> None:
    """Rewrites the manifest, and makes the description accept it."""
    table = ShardDataset.open(folder).table
    rows = table.to_pylist()
    edit(rows)
    changed = pa.Table.from_pylist(rows, schema=table.schema).combine_chunks()
    with pa.ipc.new_file(folder / "new.arrow", changed.schema) as writer:
        writer.write_table(changed)
    (folder / "new.arrow").rename(folder / "samples.arrow")
    edit_info(folder, lambda info: info.update(manifest_sha256=""))


# -- names ---------------------------------------------------------------------------------------


def test_a_digest_that_leads_out_of_the_cache_deletes_nothing(far: Path, cache: Path, tmp_path: Path) -> None:
    """It did: a tar of another size was "cut off", and a part "left over from a crash"."""
    theirs = [tmp_path / "outside" / name for name in ("thesis.tar", "thesis.part")]
    theirs[0].parent.mkdir()
    for path in theirs:
        path.write_bytes(b"years of work")
    (cache / "shards").mkdir(parents=True)
    edit_info(far, lambda info: info["shards"][0].update(sha256="../../outside/thesis"))
    with serving(far) as server, pytest.raises(InputError, match="is no SHA-256") as caught:
        list(build_loader(server.url, "train+valid+test", replace(CONFIG, remote_reads="whole")))
    assert f"{server.url}/dataset.json is damaged" in str(caught.value)
    assert [path.read_bytes() for path in theirs] == [b"years of work"] * 2
    assert not list(cache.rglob("samples.arrow"))  # nothing is fetched for such a set


@pytest.mark.parametrize("text", ["", "../x", "A" * 64, "0" * 63, "0" * 65, "0" * 63 + "\n", "٣" * 64])
def test_a_digest_is_looked_at_again_where_it_is_used(tmp_path: Path, text: str) -> None:
    assert not is_digest(text)
    shards = ShardCache(tmp_path / "shards", 1000)
    for use in (shards.holds, shards.drop_damaged, lambda d: shards.mapped(d, 1, print, "x")):
        with pytest.raises(InputError, match="is no SHA-256"):
            use(text)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/x", "a/b", "a\0b", "\ud800.tar", "x" * 256, "é" * 128])
def test_names_that_no_file_of_a_folder_has(tmp_path: Path, name: str) -> None:
    assert not is_file_name(name)
    with pytest.raises(InputError, match="is no name of a file in a folder"):
        within(tmp_path, name)


@pytest.mark.parametrize(
    "edit",
    [
        lambda info: info.update(manifest_sha256="../../x"),
        lambda info: info["shards"][0].update(sha256=""),
        lambda info: info["shards"][0].update(sidecar="../x", sidecar_sha256="0" * 64),
        lambda info: info["shards"][0].update(sidecar="x.tar", sidecar_sha256="../../x"),
        lambda info: info["shards"][0].update(sidecar="\ud800", sidecar_sha256="0" * 64),
        lambda info: info["shards"][0].update(name="."),
        lambda info: info["shards"][0].update(num_bytes=1 << 63),
        lambda info: info.update(num_samples=10**30),
    ],
)
def test_a_description_that_no_build_has_written(far: Path, edit: Callable[..., object]) -> None:
    edit_info(far, edit)
    with pytest.raises(InputError, match=r"dataset\.json is damaged"):
        read_info(far)


def test_a_store_is_asked_for_no_shard_that_the_description_does_not_know(far: Path) -> None:
    """It was a ``KeyError``."""
    edit_rows(far, lambda rows: rows[0].update(shard="other.tar"))
    with serving(far) as server:
        with pytest.raises(InputError, match=r"http.*/samples\.arrow names a shard 'other\.tar'"):
            build_loader(server.url, "train", CONFIG)
        assert not any("other.tar" in request for request in server.tries)


def test_links_of_a_page_name_no_file_beside_its_folder() -> None:
    page = b"".join(
        b'<a href="%s">x</a>' % link
        for link in (b"%2e%2e%2fsecret.jpg", b"%2e%2e/", b"a%00b.jpg", b"a%2Fb.jpg", b"ok.jpg")
    )
    with answering(page=page) as (url, _):
        assert RemoteFolder(f"{url}/set").children() == [("ok.jpg", False)]


def test_a_page_lists_no_more_files_than_a_list_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLASS_MAX_LIST_ROWS", "3")
    page = b"".join(b'<a href="%d.jpg">x</a>' % number for number in range(4))
    words = "more than GLASS_MAX_LIST_ROWS=3 files"
    with answering(page=page) as (url, _), pytest.raises(InputError, match=words):
        RemoteFolder(url).tree("set")


def test_a_plan_out_of_a_store_names_no_folder(synthetic_images: Path, tmp_path: Path) -> None:
    """Its words become parts of names; an unknown one was a ``ValueError``."""
    import pyarrow.parquet as pq

    settings = BuildSettings(split_shares={"train": 1.0}, global_size=64)
    build_dataset(synthetic_images, tmp_path / "out", settings, progress=False)
    plan = tmp_path / "out" / ".build_plan.parquet"
    table = pq.read_table(plan)
    words = pa.array(["../x", *table.column("format").to_pylist()[1:]])
    pq.write_table(table.set_column(table.column_names.index("format"), "format", words), plan)
    with pytest.raises(InputError, match=r"\.build_plan\.parquet is damaged \(its format '\.\./x'"):
        build_dataset(synthetic_images, tmp_path / "out", settings, progress=False)


# -- sizes ---------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of every range that is asked for."""
    sizes: list[int] = []
    read_range = RemoteFolder.read_range

    def noted(self: RemoteFolder, name: str, start: int, stop: int) -> bytes:
        sizes.append(stop - start)
        return read_range(self, name, start, stop)

    monkeypatch.setattr(RemoteFolder, "read_range", noted)
    return sizes


CLAIMS: dict[str, Callable[[dict[str, Any]], object]] = {
    "image": lambda row: row.update(image_length=1 << 40),
    "global view": lambda row: row.update(global_length=1 << 40),
    "entry points": lambda row: row.update(mcu_length=1 << 40),
    "what lies between": lambda row: row.update(mcu_offset=3_000_000),
}


@pytest.mark.parametrize("what", CLAIMS)
def test_a_manifest_that_claims_terabytes_costs_a_sample(
    what: str, far: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no more than an image may have is asked for, or given a place."""
    monkeypatch.setenv("GLASS_MAX_IMAGE_BYTES", "300000")
    monkeypatch.setattr("loaders.reading.range_reader._nothing", placed := PlacedBytes())

    def claim(rows: list[dict[str, Any]]) -> None:
        row = next(r for r in rows if r["split"] == "train" and r["mcu_length"])
        CLAIMS[what](row)

    edit_rows(far, claim)
    edit_info(far, lambda info: [shard.update(num_bytes=1 << 50) for shard in info["shards"]])
    for path in far.glob("*.tar"):
        os.truncate(path, 4_000_000)
    with serving(far) as server, OpenShards(ShardDataset.open(server.url)) as data:
        assert data.ranges is not None
        data.ranges.link = Link(latency_s=0.01, bytes_per_s=1e6, connections=4)
        with build_loader(data, "train", replace(CONFIG, remote_reads="range")) as loader:
            valid = sum(int(batch["is_valid"].sum()) for batch in loader)
            reasons = [bad.reason for bad in loader.bad_samples()]
    # Entry points that are none cost a full decode, and no sample.
    assert reasons == ([] if what == "what lies between" else ["unreadable member"])
    assert valid == loader.num_samples - len(reasons)
    assert max(asked) <= 300_000
    assert max(placed.sizes, default=0) <= 300_000


class PlacedBytes:
    """Stands in for the buffers of images, and notes their sizes."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, length: int) -> np.ndarray:
        self.sizes.append(length)
        assert length < 1 << 30
        return np.zeros(length, np.uint8)


class Answers(BaseHTTPRequestHandler):
    """A server that answers everything alike; what it says of itself need not be true."""

    protocol_version = "HTTP/1.1"
    page = b""
    claimed: int | None = None
    asked: list[str]
    sent = 0

    def log_message(self, format: str, *arguments: object) -> None: ...

    def do_HEAD(self) -> None:
        self._head(200)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.headers.get("Range") and self.claimed is not None:
            self._head(206)
        else:
            self._head(200)
        if self.page:
            self.wfile.write(self.page)
            return
        self.close_connection = True
        try:
            while True:
                self.wfile.write(bytes(1 << 16))
                type(self).sent += 1 << 16
        except OSError:
            return

    def _head(self, status: int) -> None:
        self.send_response(status)
        length = self.claimed if self.claimed is not None else len(self.page) or None
        if length is not None:
            self.send_header("Content-Length", str(length))
        else:
            self.send_header("Connection", "close")
        self.end_headers()


@contextmanager
def answering(**what: object) -> Iterator[tuple[str, type[Answers]]]:
    handler = type("H", (Answers,), {"asked": [], **what})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", handler
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("claimed", [None, 300 << 20], ids=["without a length", "with one"])
def test_an_image_larger_than_an_image_may_be(claimed: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a bad image, as on a disk, and what is too much of it is not read."""
    monkeypatch.setenv("GLASS_MAX_IMAGE_BYTES", "1000000")
    with answering(claimed=claimed) as (url, handler):
        with pytest.raises(RejectedImage, match="more than GLASS_MAX_IMAGE_BYTES=1000000") as found:
            StoredFiles(url).read("a.jpg")
        assert found.value.reason == "too_large"
        assert handler.asked == ["/a.jpg"]
    assert handler.sent < 64 << 20  # what the sockets took before they were closed


def old_shard(cache: Path) -> Path:
    """A shard that somebody else needs."""
    path = cache / "shards" / f"{'0' * 64}.tar"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(1000))
    os.utime(path, (0, 0))
    return path


@pytest.mark.parametrize("claimed", [500 << 30, 90_000_000_000], ids=["above the limit", "below"])
def test_a_manifest_is_given_room_as_it_comes(cache: Path, claimed: int) -> None:
    """A claim of 500 GiB emptied the cache that all data sets share."""
    kept = old_shard(cache)
    settings = RemoteSettings(cache, cache_gigabytes=90, attempts=1, timeout_s=2)
    with answering(claimed=claimed) as (url, _):
        remote = RemoteFolder(url, settings)
        (cache / "datasets").mkdir()
        with pytest.raises(InputError, match=r"raise GLASS_CACHE_GB|is not read"):
            _download(remote, "samples.arrow", cache / "datasets" / "samples.arrow")
    assert kept.exists()


def test_a_shard_is_given_room_as_it_comes(far: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = old_shard(cache)
    edit_info(far, lambda info: [s.update(num_bytes=90_000_000_000) for s in info["shards"]])
    monkeypatch.setenv("GLASS_CACHE_GB", "90")
    with serving(far) as server, pytest.raises(InputError):
        list(build_loader(server.url, "train", replace(CONFIG, remote_reads="whole")))
    assert kept.exists()


def test_a_sound_file_of_the_cache_is_not_deleted_for_a_false_length(far: Path, cache: Path) -> None:
    """Another data set may know its digest, and say what it likes of its length."""
    info = read_info(far).shards[0]
    shards = ShardCache(cache, 10**9)
    data = (far / info.name).read_bytes()
    shards.mapped(info.sha256, len(data), lambda path: path.write_bytes(data) and None, "x")
    with pytest.raises(InputError, match="is damaged, or is not to be trusted"):
        shards.mapped(info.sha256, info.num_bytes + 1, lambda p: None, "x")
    assert shards.holds(info.sha256)


# -- words ---------------------------------------------------------------------------------------


def test_errors_about_a_set_in_a_store_name_its_address(
    far: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def message(work: Callable[[str], object], server: Server) -> str:
        with pytest.raises(InputError) as caught:
            work(server.url)
        assert str(cache) not in str(caught.value)
        assert server.url in str(caught.value)
        return str(caught.value)

    with serving(far) as server:
        wider = replace(CONFIG, global_size=96)
        assert "hold global views of 64" in message(lambda url: build_loader(url, "train", wider), server)
        assert "has no split" in message(lambda url: build_loader(url, "none", CONFIG), server)
        for command in (audit, verify_shards):
            assert "copy the folder" in message(lambda url, c=command: c([url]), server)
        assert capsys.readouterr().err == ""  # no bar of what is not done
        (far / "sets").mkdir()
        for name in ("dataset.json", "samples.arrow"):
            shutil.copy(far / name, far / "sets")
        assert dataset_digest(ShardDataset.open(f"{server.url}/sets").root)["name"] == "sets"
        assert dataset_digest(far)["name"] == "far"
    edit_rows(far, lambda rows: rows[0].update(width=0))
    with serving(far) as server:
        assert "impossible size" in message(lambda url: build_loader(url, "train", CONFIG), server)
    edit_info(far, lambda info: info.update(num_samples=7))
    with serving(far) as server:
        assert "of different builds" in message(lambda url: ShardDataset.open(url), server)


def test_shards_that_are_closed_while_they_are_read_blame_no_sample(
    far: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As after an error in a loop over a loader: there were traces of futures and shutdowns."""
    for reads in ("range", "whole"):
        with serving(far, latency_s=0.02) as server:
            data = OpenShards(ShardDataset.open(server.url))
            loader = build_loader(data, "train+valid+test", replace(CONFIG, remote_reads=reads))
            with loader:
                batches = iter(loader)
                next(batches)
                data.close()
                with pytest.raises(RuntimeError, match="closed while they were read"):
                    list(batches)
                assert loader.bad_samples() == []
    assert not caplog.records
