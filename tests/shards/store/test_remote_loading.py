"""Shards on a web server give the same batches as shards on disk, whatever the server does."""

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.corpora.range_server import Server, serving
from loaders import LoaderConfig, build_loader
from loaders.batch import Batch
from loaders.reading.cached_shards import CachedShards, RemoteTar
from loaders.reading.link import Link
from loaders.reading.open_shards import OpenShards
from loaders.reading.ranges_or_whole import choose_members
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.errors import InputError
from shards.files.locks import locked_file
from shards.manifest.dataset import ShardDataset
from shards.store.cache import ShardCache
from shards.store.folder import RemoteFolder
from tests.images.jpeg_variants import photograph

pytest.importorskip("fsspec", reason="the extra [remote] is not installed")
pytest.importorskip("aiohttp", reason="the extra [remote] is not installed")

CONFIG = LoaderConfig(
    global_batch_size=4, num_crops=2, crop_size=48, global_size=64, decode="window", backend="turbo", seed=5
)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Gives each test an empty cache, and makes pauses between attempts at most 0.01 s long."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("GLASS_CACHE_DIR", str(folder))
    monkeypatch.setenv("GLASS_REMOTE_CONNECTIONS", "8")
    monkeypatch.setenv("GLASS_REMOTE_LONGEST_PAUSE_S", "0.01")
    return folder


@pytest.fixture
def server(synthetic_shards: Path) -> Iterator[Server]:
    with serving(synthetic_shards) as state:
        yield state


def batches(data: str | Path, config: LoaderConfig = CONFIG, split: str = "valid+test", **place: int) -> list[Batch]:
    with build_loader(data, split, config, **place) as loader:
        return list(loader)


@pytest.fixture(scope="module")
def local(synthetic_shards: Path) -> Callable[..., list[Batch]]:
    """``local(config)`` returns the batches of the shards on disk, which it reads once for each ``config``."""
    read = cache(lambda *arguments: batches(synthetic_shards, *arguments))

    def batches_of(config: LoaderConfig = CONFIG) -> list[Batch]:
        return list(read(replace(config, remote_reads="auto")))  # how a store is read matters for stores alone

    return batches_of


def assert_equal(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for name, value in one.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, other[name]), name  # type: ignore[literal-required]
            else:
                assert value == other[name]  # type: ignore[literal-required]


@pytest.mark.parametrize("reads", ["whole", "range", "auto"])
def test_batches_are_those_of_the_local_shards(server: Server, local: Callable[..., list[Batch]], reads: str) -> None:
    config = replace(CONFIG, remote_reads=reads)
    assert_equal(batches(server.url, config), local(config))


@pytest.mark.parametrize("reads", [pytest.param("whole", marks=pytest.mark.slow), "range"])
def test_a_sample_may_come_twice_in_a_batch_with_other_windows(
    server: Server, local: Callable[..., list[Batch]], reads: str
) -> None:
    """Samples may occur twice in a batch with different windows. Some are augmented, some have fewer crops than there
    is room for."""
    config = replace(
        CONFIG,
        remote_reads=reads,
        decode="auto",
        class_balanced=True,
        augment=0.5,
        sampling="all",
        num_crops=6,
        global_batch_size=24,
    )
    found = batches(server.url, config)
    assert any(len(set(batch["sample_key"])) < len(batch["sample_key"]) for batch in found)
    assert_equal(found, local(config))


@pytest.mark.parametrize(
    ("fault", "reads"),
    [
        ("reset", "range"),
        ("unavailable", "whole"),
        ("short", "range"),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)  # the same requests with the other faults
            for pair in (("reset", "whole"), ("unavailable", "range"), ("short", "whole"))
        ),
    ],
)
def test_no_sample_is_lost_when_a_quarter_of_the_answers_fail(
    server: Server, local: Callable[..., list[Batch]], reads: str, fault: str
) -> None:
    server.fault_share, server.faults = 0.25, (fault,)
    config = replace(CONFIG, remote_reads=reads)
    found = batches(server.url, config)
    assert server.counts[f"fault_{fault}"] > 0
    assert_equal(found, local(config))


def test_a_slow_answer_is_asked_for_again(
    server: Server, local: Callable[..., list[Batch]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLASS_REMOTE_TIMEOUT_S", "0.3")
    server.fault_share, server.faults, server.slow_s = 0.1, ("slow",), 1.0
    config = replace(CONFIG, remote_reads="range")
    found = batches(server.url, config)
    assert server.counts["fault_slow"] > 0
    assert_equal(found, local(config))


def test_a_store_that_never_answers_is_said_in_one_sentence(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLASS_REMOTE_ATTEMPTS", "2")
    dataset = ShardDataset.open(server.url)
    server.fault_share = 1.0
    with pytest.raises(InputError, match=r"could not be reached in 2 attempts.*continue"):
        list(build_loader(dataset, "train", replace(CONFIG, remote_reads="whole")))


def test_a_wrong_address_is_reported_without_trying_again(server: Server) -> None:
    with pytest.raises(InputError, match=r"/elsewhere has no dataset\.json"):
        ShardDataset.open(f"{server.url}/elsewhere")
    assert server.counts["requests"] == 1


def test_a_server_without_ranges_gives_whole_shards(server: Server, local: Callable[..., list[Batch]]) -> None:
    server.ranges = False
    assert_equal(batches(server.url), local())
    with pytest.raises(InputError, match="sends whole files even if only a range is requested"):
        build_loader(server.url, "train", replace(CONFIG, remote_reads="range"))


def test_shards_are_fetched_once_and_kept(server: Server) -> None:
    config = replace(CONFIG, remote_reads="whole")
    batches(server.url, config)
    before = server.counts["bytes"]
    batches(server.url, config)
    assert server.counts["bytes"] - before < 100_000  # dataset.json alone


def test_ranks_that_wait_for_each_other_at_each_step_fill_a_cache_together(server: Server) -> None:
    """Two ranks wait for each other at each step, as in training. Neither may wait for a shard that the other keeps in
    use."""
    server.latency_s = 0.01
    step = threading.Barrier(2, timeout=30)
    config = replace(CONFIG, remote_reads="whole")

    def steps(rank: int) -> int:
        with build_loader(server.url, "train+valid+test", config, rank=rank, world_size=2) as own:
            return sum(step.wait() >= 0 for _ in own)

    with ThreadPoolExecutor(2) as ranks:
        taken = list(ranks.map(steps, range(2)))
    assert taken[0] == taken[1] > 2


def on_disk(folder: Path) -> int:
    """Returns the total size of the files in ``folder``. The lock keeps files from being deleted meanwhile, and a file
    that is renamed counts once."""
    sizes = {}
    with locked_file(folder / ".lock"):
        for path in folder.iterdir():
            with suppress(FileNotFoundError):
                sizes[path.stat().st_ino] = path.stat().st_size
    return sum(sizes.values())


def test_the_processes_of_a_machine_share_the_cache(tmp_path: Path, cache_folder: Path) -> None:
    """Two ranks keep parts of the cache mapped. The disk never holds more than the limit, and no mapped file was
    deleted, which would hide its size."""
    (tmp_path / "far").mkdir()
    tars = []
    for number in range(12):
        data = bytes([number]) * 1000
        (tmp_path / "far" / f"{number}.tar").write_bytes(data)
        tars.append(RemoteTar(f"{number}.tar", sha256(data).hexdigest(), 1000))
    with serving(tmp_path / "far") as server:
        remote = RemoteFolder(server.url)
        cache = ShardCache(cache_folder, 8000)
        ranks = [CachedShards(remote, tars, cache, parts=2) for _ in range(2)]
        for number in range(24):
            for rank, shards in enumerate(ranks):
                shard = (number + 6 * rank) % 12
                shards.expect([shard, (shard + 1) % 12])
                assert shards.member(shard, 10, 1)[0] == shard
                assert on_disk(cache_folder) <= 8000
        deleted = [
            m
            for m in Path("/proc/self/maps").read_text().splitlines()
            if str(cache_folder) in m and m.endswith("(deleted)")
        ]
        assert not deleted
        for shards in ranks:
            shards.close()


@pytest.mark.parametrize("member", ["image", pytest.param("global", marks=pytest.mark.slow), "mcu"])
def test_a_cached_shard_that_the_disk_damaged_is_fetched_again(
    server: Server, synthetic_shards: Path, cache_folder: Path, member: str
) -> None:
    """A cached shard that the disk damaged is fetched again. No sample is masked, and the next process finds an intact
    file."""
    config = replace(CONFIG, remote_reads="whole")
    expected = batches(server.url, config)
    dataset = ShardDataset.open(synthetic_shards)
    rows = dataset.split_rows("valid+test")
    row = int(rows[np.flatnonzero(dataset.column("mcu_length")[rows])[0]])
    (tar,) = (s for s in dataset.info.shards if s.name == dataset.column("shard")[row])
    cached = cache_folder / "shards" / f"{tar.sha256}.tar"
    with cached.open("r+b") as file:
        file.seek(int(dataset.column(f"{member}_offset")[row]) + 100)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    server.tries.clear()
    with build_loader(server.url, "valid+test", config) as loader:
        assert_equal(list(loader), expected)
        assert loader.bad_samples() == []
        assert loader.stats()["fallback"] == {}
    assert any(request.startswith(f"/{tar.name} ") for request in server.tries)
    assert cached.read_bytes() == (synthetic_shards / tar.name).read_bytes()


def test_a_shard_that_was_changed_in_the_store_is_refused(server: Server, synthetic_shards: Path) -> None:
    shards = ShardDataset.open(synthetic_shards).info.shards
    server.damage = next(shard.name for shard in shards if shard.split == "valid")
    with pytest.raises(InputError, match=r"another checksum than in dataset\.json"):
        batches(server.url, replace(CONFIG, remote_reads="whole"))


def test_a_manifest_that_changed_in_the_store_is_refused(
    synthetic_shards: Path, tmp_path: Path, cache_folder: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(synthetic_shards, store)
    manifest = bytearray((store / "samples.arrow").read_bytes())
    digest = ShardDataset.open(store).column("pixel_sha256")[0].tobytes()
    manifest[manifest.index(digest)] ^= 1  # a value that only the digest of the file knows
    (store / "samples.arrow").write_bytes(manifest)
    with serving(store) as changed:
        for _ in range(2):  # nothing of it is kept
            with pytest.raises(InputError, match=r"is not the one that its dataset\.json describes"):
                ShardDataset.open(changed.url)


def test_a_path_that_was_made_of_a_url_still_is_one(server: Server) -> None:
    assert ShardDataset.open(Path(server.url)).remote is not None


@pytest.mark.slow  # two ranks read the cache above; the order of ranks knows no store
def test_two_ranks_see_what_one_sees(server: Server) -> None:
    config = replace(CONFIG, remote_reads="range")
    alone = [key for batch in batches(server.url, config) for key in batch["sample_key"]]
    parts = [batches(server.url, config, rank=r, world_size=2) for r in range(2)]
    both = [k for pair in zip(*parts, strict=True) for batch in pair for k in batch["sample_key"]]
    assert both == alone


@pytest.fixture(scope="module")
def large_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of four JPEGs of 0.35 megapixels. Windows are a small part of them."""
    root = tmp_path_factory.mktemp("large")
    for index in range(4):
        folder = root / "images" / ("real" if index % 2 else "generated/gan")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.tile(photograph(240, 360, seed=index), (2, 2, 1))
        options = [{}, {"subsampling": 0}, {"restart_marker_blocks": 50}, {"subsampling": 1}][index]
        Image.fromarray(pixels).save(folder / f"{index}.jpg", quality=92, **options)
    settings = BuildSettings(split_shares={"train": 1.0}, samples_per_shard=2, global_size=64)
    build_dataset(root / "images", root / "shards", settings, progress=False)
    return root / "shards"


def test_ranges_are_a_small_part_of_large_images(large_shards: Path) -> None:
    config = replace(CONFIG, remote_reads="range", global_batch_size=2)
    whole = sum(shard.num_bytes for shard in ShardDataset.open(large_shards).info.shards)
    with serving(large_shards) as server, OpenShards(ShardDataset.open(server.url)) as data:
        assert data.ranges is not None
        data.ranges.link = Link(latency_s=0.01, bytes_per_s=1e6, connections=8)
        before = server.counts["bytes"]
        with build_loader(data, "train", config) as loader:
            found = list(loader)
        fetched = server.counts["bytes"] - before
    with build_loader(large_shards, "train", config) as loader:
        assert_equal(found, list(loader))
        assert loader.stats()["fallback"] == {}
    assert fetched < 0.4 * whole


@pytest.mark.parametrize(
    ("megabits", "latency_s", "shards_in_cache", "expected"),
    [(8, 0.01, 1.5, "range"), (8000, 0.05, 1.5, "whole"), (8000, 0.05, 0.5, "range"), (8, 0.01, 3.0, "whole")],
    ids=["slow link", "fast link", "no shard fits the cache", "all shards fit the cache"],
)
def test_auto_takes_what_costs_less_where_the_cache_is_smaller_than_the_data(
    large_shards: Path,
    monkeypatch: pytest.MonkeyPatch,
    megabits: float,
    latency_s: float,
    shards_in_cache: float,
    expected: str,
) -> None:
    config = replace(CONFIG, remote_reads="auto", global_batch_size=2, shuffle="shard")
    largest = max(shard.num_bytes for shard in ShardDataset.open(large_shards).info.shards)
    monkeypatch.setenv("GLASS_CACHE_GB", str(shards_in_cache * largest / 1e9))
    with serving(large_shards) as server, OpenShards(ShardDataset.open(server.url)) as data:
        assert data.ranges is not None
        data.ranges.link = Link(latency_s, megabits * 125e3, connections=8)
        rows = data.dataset.split_rows("train")
        found = choose_members(data, rows, config)
        assert ("range" if found is data.ranges else "whole") == expected
        with build_loader(data, "train", config) as loader:
            batches_found = list(loader)
    with build_loader(large_shards, "train", config) as loader:
        assert_equal(batches_found, list(loader))


def test_of_tiled_images_the_touched_tiles_come(tmp_path: Path) -> None:
    """The PNGs have 16 tiles, of which a window touches at most four. Less than 0.4 of the shards' bytes are
    fetched."""
    for index, name in enumerate(("real", "generated/gan")):
        (tmp_path / "images" / name).mkdir(parents=True)
        pixels = np.tile(photograph(256, 256, seed=index), (2, 2, 1))
        Image.fromarray(pixels).save(tmp_path / "images" / name / "0.png", compress_level=0)
    settings = BuildSettings(split_shares={"train": 1.0}, global_size=64)
    build_dataset(tmp_path / "images", tmp_path / "shards", settings, progress=False)
    config = replace(CONFIG, remote_reads="range", global_batch_size=2, num_crops=1)
    with build_loader(tmp_path / "shards", "train", config) as loader:
        expected = list(loader)
    whole = sum(shard.num_bytes for shard in loader.dataset.info.shards)
    with serving(tmp_path / "shards") as server:
        with OpenShards(ShardDataset.open(server.url)) as data:
            assert data.ranges is not None
            data.ranges.link = Link(latency_s=0.01, bytes_per_s=1e6, connections=8)
            before = server.counts["bytes"]
            with build_loader(data, "train", config) as loader:
                assert_equal(list(loader), expected)
        assert server.counts["bytes"] - before < 0.4 * whole


def test_the_whole_image_is_fetched_where_the_splice_falls_back(tmp_path: Path, large_shards: Path) -> None:
    """Entry points with a wrong checksum cost a full decode, and no sample is lost."""
    copy = tmp_path / "copy"
    shutil.copytree(large_shards, copy)
    dataset = ShardDataset.open(copy)
    row = 0
    with (copy / str(dataset.column("shard")[row])).open("r+b") as file:
        file.seek(int(dataset.column("mcu_offset")[row]) + 100)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 255]))
    config = replace(CONFIG, remote_reads="range", global_batch_size=2)
    with serving(copy) as server, build_loader(server.url, "train", config) as loader:
        found = list(loader)
        assert loader.stats()["fallback"] == {"damaged entry points": 1}
    with build_loader(large_shards, "train", config) as loader:
        assert_equal(found, list(loader))
