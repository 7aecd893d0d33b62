"""An untrusted data set in a store: its names never become paths of other files, and errors blame the right part."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from bench.corpora.range_server import Server, serving
from glass.config.dataset_digest import dataset_digest
from loaders import build_loader
from loaders.reading.open_shards import OpenShards
from scripts.audit import main as audit
from scripts.verify_shards import main as verify_shards
from shards.errors import InputError
from shards.files.file_names import is_digest, is_file_name, within
from shards.manifest.dataset import ShardDataset
from shards.manifest.info import read_info
from shards.store.cache import ShardCache
from shards.store.folder import RemoteFolder
from tests.images.small_builds import build
from tests.machine.strangers import CONFIG, answering, edit_info, edit_rows

pytestmark = pytest.mark.usefixtures("empty_cache")


pytest.importorskip("fsspec", reason="the extra [remote] is not installed")


pytest.importorskip("aiohttp", reason="the extra [remote] is not installed")


def test_a_digest_that_leads_out_of_the_cache_deletes_nothing(
    own_shards: Path, empty_cache: Path, tmp_path: Path
) -> None:
    """A digest in ``dataset.json`` that is a path is refused. It used to make the cache delete other files, as cut-off
    tars or as remains of a crash."""
    theirs = [tmp_path / "outside" / name for name in ("thesis.tar", "thesis.part")]
    theirs[0].parent.mkdir()
    for path in theirs:
        path.write_bytes(b"years of work")
    (empty_cache / "shards").mkdir(parents=True)
    edit_info(own_shards, lambda info: info["shards"][0].update(sha256="../../outside/thesis"))
    with serving(own_shards) as server, pytest.raises(InputError, match="is not a SHA-256") as caught:
        list(build_loader(server.url, "train+valid+test", replace(CONFIG, remote_reads="whole")))
    assert f"{server.url}/dataset.json is damaged" in str(caught.value)
    assert [path.read_bytes() for path in theirs] == [b"years of work"] * 2
    assert not list(empty_cache.rglob("samples.arrow"))  # nothing is fetched for such a set


@pytest.mark.parametrize("text", ["", "../x", "A" * 64, "0" * 63, "0" * 65, "0" * 63 + "\n", "٣" * 64])
def test_a_digest_is_looked_at_again_where_it_is_used(tmp_path: Path, text: str) -> None:
    assert not is_digest(text)
    shards = ShardCache(tmp_path / "shards", 1000)
    for use in (shards.holds, shards.drop_damaged, lambda d: shards.mapped(d, 1, print, "x")):
        with pytest.raises(InputError, match="is not a SHA-256"):
            use(text)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/x", "a/b", "a\0b", "\ud800.tar", "x" * 256, "é" * 128])
def test_names_that_no_file_of_a_folder_has(tmp_path: Path, name: str) -> None:
    assert not is_file_name(name)
    with pytest.raises(InputError, match="is not the name of a file in a folder"):
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
def test_a_description_that_no_build_has_written(
    synthetic_shards: Path, tmp_path: Path, edit: Callable[..., object]
) -> None:
    shutil.copy(synthetic_shards / "dataset.json", tmp_path)
    edit_info(tmp_path, edit)
    with pytest.raises(InputError, match=r"dataset\.json is damaged"):
        read_info(tmp_path)


def test_a_store_is_asked_for_no_shard_that_the_description_does_not_know(own_shards: Path) -> None:
    """A shard that only the manifest names is an ``InputError`` and is not requested. It used to raise ``KeyError``."""
    edit_rows(own_shards, lambda rows: rows[0].update(shard="other.tar"))
    with serving(own_shards) as server:
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


def test_a_plan_out_of_a_store_names_no_folder(small_copy: Path) -> None:
    """A format in a plan that is not a known format is an ``InputError``, because it becomes part of file names. It
    used to raise ``ValueError``."""
    import pyarrow.parquet as pq

    plan = small_copy / "out" / ".build_plan.parquet"
    table = pq.read_table(plan)
    words = pa.array(["../x", *table.column("format").to_pylist()[1:]])
    pq.write_table(table.set_column(table.column_names.index("format"), "format", words), plan)
    with pytest.raises(InputError, match=r"\.build_plan\.parquet is damaged \(its format '\.\./x'"):
        build(small_copy / "images", small_copy / "out")


def test_errors_about_a_set_in_a_store_name_its_address(
    own_shards: Path, empty_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def message(work: Callable[[str], object], server: Server) -> str:
        with pytest.raises(InputError) as caught:
            work(server.url)
        assert str(empty_cache) not in str(caught.value)
        assert server.url in str(caught.value)
        return str(caught.value)

    with serving(own_shards) as server:
        wider = replace(CONFIG, global_size=96)
        assert "hold global views of 64" in message(lambda url: build_loader(url, "train", wider), server)
        assert "has no split" in message(lambda url: build_loader(url, "none", CONFIG), server)
        for command in (audit, verify_shards):
            assert "copy the folder" in message(lambda url, c=command: c([url]), server)
        assert capsys.readouterr().err == ""  # no bar of what is not done
        (own_shards / "sets").mkdir()
        for name in ("dataset.json", "samples.arrow"):
            shutil.copy(own_shards / name, own_shards / "sets")
        assert dataset_digest(ShardDataset.open(f"{server.url}/sets").root)["name"] == "sets"
        assert dataset_digest(own_shards)["name"] == "far"
    edit_rows(own_shards, lambda rows: rows[0].update(width=0))
    with serving(own_shards) as server:
        assert "impossible size" in message(lambda url: build_loader(url, "train", CONFIG), server)
    edit_info(own_shards, lambda info: info.update(num_samples=7))
    with serving(own_shards) as server:
        assert "copy both from one build" in message(lambda url: ShardDataset.open(url), server)


def test_shards_that_are_closed_while_they_are_read_blame_no_sample(
    own_shards: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Closing shards during an epoch, as after an error in a loop over a loader, raises one error and blames no sample.
    It used to print tracebacks from futures."""
    for reads in ("range", "whole"):
        with serving(own_shards, latency_s=0.02) as server:
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
