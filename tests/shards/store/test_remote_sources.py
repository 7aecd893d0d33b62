"""A build from images in a store writes the same bytes as a build from a copy of them on disk."""

import csv
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.corpora.range_server import Server, serving
from scripts.build_shards import main as build_shards
from scripts.verify_shards import main as verify_shards
from shards.build.build import build_dataset
from shards.errors import InputError
from shards.sources.read import read_sources
from shards.store.http_store import HttpStore
from tests.images.small_builds import SETTINGS
from tests.machine.folder_contents import assert_same_files

fsspec = pytest.importorskip("fsspec", reason="the extra [remote] is not installed")
pytest.importorskip("aiohttp", reason="the extra [remote] is not installed")


@pytest.fixture(autouse=True)
def small_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLASS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("GLASS_REMOTE_CONNECTIONS", "8")
    monkeypatch.setenv("GLASS_REMOTE_LONGEST_PAUSE_S", "0.01")


@pytest.fixture
def stored(small_set: Path) -> Iterator[str]:
    """Yields the URL of a store that holds the images, and some files that must be ignored."""
    store = fsspec.filesystem("memory")
    for path in (small_set / "images").rglob("*.*"):
        name = path.relative_to(small_set / "images")
        store.pipe_file(f"/bucket/images/{name}", path.read_bytes())
    store.pipe_file("/bucket/images/real/notes.txt", b"x")
    store.pipe_file("/bucket/images/real/.trash/a.jpg", b"x")
    store.pipe_file("/bucket/images/other/a.jpg", b"x")
    yield "memory://bucket/images"
    store.rm("/bucket", recursive=True)


@pytest.fixture
def web(small_set: Path, tmp_path: Path) -> Iterator[Server]:
    """Yields a web server that does not list its folders. It holds the images and lists that name them."""
    root = tmp_path / "web"
    shutil.copytree(small_set / "images", root)
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*.*"))
    rows = [(n, n.split("/")[0], n.split("/")[1] if n[0] == "g" else "") for n in names]
    with (root / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "generator"), *rows])
    columns = dict(zip(("path", "label", "generator"), map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), root / "list.parquet")
    with serving(root) as server:
        yield server


def test_a_folder_in_a_store_gives_the_bytes_of_its_copy(stored: str, small_set: Path, tmp_path: Path) -> None:
    report = build_dataset(stored, tmp_path / "out", SETTINGS, progress=False)
    assert_same_files(tmp_path / "out", small_set / "out")
    assert report.notes == [
        "labels by folder: real = real (8), generated = generated (8)",
        "skipped because no name says real or generated: other/ (1 image) (to use them: --label WORD=real|generated)",
        "skipped 1 file without an image extension (.txt 1)",
    ]
    assert build_dataset(stored, tmp_path / "out", SETTINGS, progress=False).finished_before


def test_a_data_set_among_the_images_of_a_store_is_left_out(stored: str, small_set: Path) -> None:
    """A store lists its files by their whole names, so a folder in the data set comes between the data set's files."""
    store = fsspec.filesystem("memory")
    store.put(f"{small_set / 'out'}/", "/bucket/images/shards/", recursive=True)
    store.pipe_file("/bucket/images/shards/notes/a.txt", b"x")
    sources = read_sources(stored)
    assert any("skipped the data set in" in note for note in sources.notes)
    assert len(sources.table) == 16


def test_an_image_that_was_written_anew_in_the_store_is_noticed(stored: str, small_set: Path, tmp_path: Path) -> None:
    build_dataset(stored, tmp_path / "out", SETTINGS, progress=False)
    other = next((small_set / "images/generated").rglob("*.jpg")).read_bytes()
    fsspec.filesystem("memory").pipe_file("/bucket/images/real/01.jpg", other)
    with pytest.raises(InputError, match=r"1 file changed, for example real/01\.jpg"):
        build_dataset(stored, tmp_path / "out", SETTINGS, progress=False)


@pytest.mark.parametrize("name", [pytest.param("list.csv", marks=pytest.mark.slow), "list.parquet"])
def test_a_list_on_a_web_server(web: Server, small_set: Path, tmp_path: Path, name: str) -> None:
    web.fault_share = 0.3
    build_dataset(f"{web.url}/{name}", tmp_path / "out", SETTINGS, progress=False)
    assert sum(count for key, count in web.counts.items() if key.startswith("fault_")) > 5
    assert_same_files(tmp_path / "out", small_set / "out")


def test_a_card_beside_a_list_says_what_its_numbers_mean(web: Server) -> None:
    """The card may lie in the folder of the list or in the one above, as on the Hugging Face hub. It also applies to
    ``metadata.csv`` in a store."""
    folder = web.root / "data"
    folder.mkdir()
    (folder / "list.csv").write_text("file_name,label\n0.jpg,1\n1.jpg,0\n")
    for n in range(2):
        (folder / f"{n}.jpg").touch()
    with pytest.raises(InputError, match="the meaning of '1', '0' in the column label is unknown"):
        read_sources(f"{web.url}/data/list.csv")
    label = "{name: label, dtype: {class_label: {names: {'0': fake, '1': real}}}}"
    (web.root / "README.md").write_text(f"---\ndataset_info: {{features: [{label}]}}\n---\n")
    assert read_sources(f"{web.url}/data/list.csv").table.column("label").to_pylist() == [0, 1]
    store = fsspec.filesystem("memory")
    store.put(f"{folder}/", "/hub/data/", recursive=True)
    store.mv("/hub/data/list.csv", "/hub/data/metadata.csv")
    store.put(f"{web.root}/README.md", "/hub/README.md")
    try:
        assert read_sources("memory://hub").table.column("label").to_pylist() == [0, 1]
    finally:
        store.rm("/hub", recursive=True)


@pytest.mark.slow  # processes; one fetches above, and two build in test_build
def test_workers_fetch_for_themselves(web: Server, small_set: Path, tmp_path: Path) -> None:
    build_dataset(f"{web.url}/list.csv", tmp_path / "out", SETTINGS, 2, progress=False)
    assert_same_files(tmp_path / "out", small_set / "out")


def test_a_listed_image_that_is_not_there_is_a_bad_image_as_on_a_disk(web: Server, tmp_path: Path) -> None:
    (web.root / "real/01.jpg").unlink()
    header, *lines = (web.root / "list.csv").read_text().splitlines()
    (web.root / "list.csv").write_text("\n".join([header, *lines[4:12]]))  # four images of each class
    for source, out in ((f"{web.url}/list.csv", "far"), (web.root / "list.csv", "near")):
        report = build_dataset(source, tmp_path / out, SETTINGS, progress=False)
        assert report.info.rejected == {"unreadable": 1}
    assert_same_files(tmp_path / "far", tmp_path / "near")


def test_a_store_that_stops_answering_stops_the_build(
    web: Server, small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that stops responding stops the build and no image is rejected. The same command continues the build once
    the store responds again."""
    monkeypatch.setenv("GLASS_REMOTE_ATTEMPTS", "1")
    web.dead = ("real/01.jpg",)
    out = tmp_path / "out"
    for _ in range(2):
        with pytest.raises(InputError, match=r"/real/01\.jpg could not be reached in 1 attempt "):
            build_dataset(f"{web.url}/list.csv", out, SETTINGS, progress=False)
    web.dead = ()
    build_dataset(f"{web.url}/list.csv", out, SETTINGS, progress=False)
    assert_same_files(out, small_set / "out")


@pytest.mark.parametrize("path", ["../secret.jpg", "/etc/passwd", "a/../../x.jpg"])
def test_a_list_cannot_lead_out_of_its_folder(web: Server, tmp_path: Path, path: str) -> None:
    with (web.root / "list.csv").open("a") as file:
        file.write(f"{path},real,\n")
    with pytest.raises(InputError, match=r"list\.csv, line 18: .*is outside of the list's folder"):
        build_dataset(f"{web.url}/list.csv", tmp_path / "out", SETTINGS, progress=False)


def test_mistakes_are_said_in_one_sentence(web: Server, stored: str, tmp_path: Path) -> None:
    sentences = {
        f"{web.url}/none.csv": r"none\.csv does not exist: check the address",
        "memory://bucket/elsewhere": "bucket/elsewhere has no image files",
        f"{stored}/real": "no folder name says real or generated",
    }
    (web.root / "empty.csv").write_text("path,label\na.jpg,real\nb.jpg,fake\n")
    sentences[f"{web.url}/empty.csv"] = r"none of the files listed in http.*empty\.csv exists"
    (web.root / "odd.csv").write_text("path\nx\n")
    sentences[f"{web.url}/odd.csv"] = r"http.*/odd\.csv has no column of labels"
    for source, words in sentences.items():
        with pytest.raises(InputError, match=words):
            build_shards([source, str(tmp_path / "out")])
    assert not os.path.exists(tmp_path / "out")


def test_verify_says_what_to_do_with_a_store(synthetic_shards: Path) -> None:
    words = r"is in a store.*copy the folder"
    with serving(synthetic_shards) as server, pytest.raises(InputError, match=words):
        verify_shards([server.url])


def test_pages_that_link_to_each_other_for_ever_end(
    web: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HttpStore, "_listed", lambda *_: [("generated", True), ("real", True)])
    with pytest.raises(InputError, match=r"cannot be read .*more than 64 levels deep"):
        build_dataset(web.url, tmp_path / "out", SETTINGS, progress=False)
