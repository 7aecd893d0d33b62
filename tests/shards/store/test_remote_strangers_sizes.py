"""Sizes that a store claims: no range is requested, no space reserved and no file deleted because of a claim alone."""

import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.corpora.range_server import serving
from loaders import build_loader
from loaders.reading.batch_plan import Reads
from loaders.reading.link import Link
from loaders.reading.open_shards import OpenShards
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.errors import InputError
from shards.images.rejection import RejectedImage
from shards.images.tiled_tiff import BadTiles, TiledImage
from shards.manifest.dataset import ShardDataset
from shards.manifest.fetch import _download
from shards.manifest.info import read_info
from shards.sources.files import StoredFiles
from shards.store.cache import ShardCache
from shards.store.folder import RemoteFolder
from shards.store.settings import RemoteSettings
from tests.images.jpeg_variants import photograph
from tests.machine.strangers import CONFIG, answering, edit_info, edit_rows

pytestmark = pytest.mark.usefixtures("empty_cache")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Returns a list that collects the size in bytes of every requested range."""
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


@pytest.mark.parametrize(
    "what",
    [
        "image",
        "what lies between",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("global view", "entry points")),
    ],
)
def test_a_manifest_that_claims_terabytes_costs_a_sample(
    what: str, own_shards: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest that claims terabytes for an image masks at most that sample. No requested range and no buffer is
    larger than an image may be."""
    monkeypatch.setenv("GLASS_MAX_IMAGE_BYTES", "300000")
    monkeypatch.setattr("loaders.reading.range_reader._nothing", placed := PlacedBytes())

    def claim(rows: list[dict[str, Any]]) -> None:
        row = next(r for r in rows if r["split"] == "train" and r["mcu_length"])
        CLAIMS[what](row)

    edit_rows(own_shards, claim)
    edit_info(own_shards, lambda info: [shard.update(num_bytes=1 << 50) for shard in info["shards"]])
    for path in own_shards.glob("*.tar"):
        os.truncate(path, 4_000_000)
    with serving(own_shards) as server, OpenShards(ShardDataset.open(server.url)) as data:
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
    """Replaces the function that allocates image buffers, and records their sizes."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, length: int) -> np.ndarray:
        self.sizes.append(length)
        assert length < 1 << 30
        return np.zeros(length, np.uint8)


@pytest.mark.parametrize("claimed", [None, 300 << 20], ids=["without a length", "with one"])
def test_an_image_larger_than_an_image_may_be(claimed: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image file larger than the limit is rejected, as on disk, and the rest of it is not downloaded."""
    monkeypatch.setenv("GLASS_MAX_IMAGE_BYTES", "1000000")
    with answering(claimed=claimed) as (url, handler):
        with pytest.raises(RejectedImage, match="more than GLASS_MAX_IMAGE_BYTES=1000000") as found:
            StoredFiles(url).read("a.jpg")
        assert found.value.reason == "too_large"
        assert handler.asked == ["/a.jpg"]
    assert handler.sent < 64 << 20  # what the sockets took before they were closed


def old_shard(empty_cache: Path) -> Path:
    """Creates an old shard in the cache, which stands for another data set's, and returns its path."""
    path = empty_cache / "shards" / f"{'0' * 64}.tar"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(1000))
    os.utime(path, (0, 0))
    return path


@pytest.mark.parametrize("claimed", [500 << 30, 90_000_000_000], ids=["above the limit", "below"])
def test_a_manifest_is_given_room_as_it_comes(empty_cache: Path, claimed: int) -> None:
    """Space in the cache is freed for bytes that arrive, not for those announced. A claim of 500 GiB used to empty the
    cache, which all data sets share."""
    kept = old_shard(empty_cache)
    settings = RemoteSettings(empty_cache, cache_gigabytes=90, attempts=1, timeout_s=2)
    with answering(claimed=claimed) as (url, _):
        remote = RemoteFolder(url, settings)
        (empty_cache / "datasets").mkdir()
        with pytest.raises(InputError, match=r"raise GLASS_CACHE_GB|cannot be read"):
            _download(remote, "samples.arrow", empty_cache / "datasets" / "samples.arrow")
    assert kept.exists()


def test_a_shard_is_given_room_as_it_comes(
    own_shards: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = old_shard(empty_cache)
    edit_info(own_shards, lambda info: [s.update(num_bytes=90_000_000_000) for s in info["shards"]])
    monkeypatch.setenv("GLASS_CACHE_GB", "90")
    with serving(own_shards) as server, pytest.raises(InputError):
        list(build_loader(server.url, "train", replace(CONFIG, remote_reads="whole")))
    assert kept.exists()


def test_a_sound_file_of_the_cache_is_not_deleted_for_a_false_length(own_shards: Path, empty_cache: Path) -> None:
    """If a data set states a wrong length for a cached file's digest, the cache raises an error and keeps the file,
    which other data sets may use."""
    info = read_info(own_shards).shards[0]
    shards = ShardCache(empty_cache, 10**9)
    data = (own_shards / info.name).read_bytes()
    shards.mapped(info.sha256, len(data), lambda path: path.write_bytes(data) and None, "x")
    with pytest.raises(InputError, match="is damaged or not to be trusted"):
        shards.mapped(info.sha256, info.num_bytes + 1, lambda p: None, "x")
    assert shards.holds(info.sha256)


def test_a_tile_that_lies_behind_the_end_is_not_asked_for(tmp_path: Path) -> None:
    """A tile whose offset lies beyond the file's end is not requested; decoding the image then raises ``BadTiles``."""
    for index, name in enumerate(("real", "generated/gan")):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.fromarray(photograph(200, 200, seed=index)).save(tmp_path / "images" / name / "0.png")
    settings = BuildSettings(split_shares={"train": 1.0}, global_size=64)
    build_dataset(tmp_path / "images", tmp_path / "shards", settings, progress=False)
    dataset = ShardDataset.open(tmp_path / "shards")
    start = int(dataset.column("image_offset")[0])
    path = dataset.shard_path(dataset.column("shard")[0])
    data = bytearray(path.read_bytes())
    entries = {tag: (count, at) for tag, _, count, at in struct.iter_unpack("<HHII", data[start + 10 :][: 12 * 12])}
    count, at = entries[324]  # the list of where the tiles begin
    last = start + at + 4 * (count - 1)
    data[last : last + 4] = b"\xff\xff\xff\x7f"
    path.write_bytes(data)
    windows = np.array([[160, 160, 32, 32]], np.int32)
    reads = Reads(np.zeros(1, np.int64), windows, np.arange(1), [0, 1], np.zeros(1, bool), np.ones(1, bool))
    with serving(tmp_path / "shards") as server, OpenShards(ShardDataset.open(server.url)) as data_set:
        assert data_set.ranges is not None
        data_set.ranges.link = Link(latency_s=0.01, bytes_per_s=1e6, connections=8)
        image = TiledImage(data_set.ranges.begin(reads).image_parts(0))
    with pytest.raises(BadTiles, match="is outside the file"):
        image.read(windows, [np.empty((32, 32, 3), np.uint8)])
