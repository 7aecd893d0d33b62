"""The order that goes through shards one after another (``shuffle="shard"``), and the cache of remote shards."""

import fcntl
import multiprocessing
import os
import signal
import threading
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loaders import LoaderConfig, build_loader
from loaders.order.order import EpochOrder
from loaders.order.shard_order import shard_order, upcoming_shards
from shards.errors import InputError
from shards.files.locks import open_shared
from shards.store.cache import ShardCache
from shards.store.settings import RemoteSettings

CONFIG = LoaderConfig(global_batch_size=12, shuffle="shard", shuffle_shards=3, seed=9)


def samples(shards: int, per_shard: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (content ids, shard numbers) of the samples of a data set."""
    rng = np.random.default_rng(shards)
    content = rng.integers(-(2**62), 2**62, shards * per_shard)
    return content, np.repeat(np.arange(shards), per_shard)


@pytest.mark.parametrize(("shards", "per_shard"), [(1, 1), (2, 30), (17, 1), (20, 13)])
def test_every_sample_comes_once(shards: int, per_shard: int) -> None:
    content, shard = samples(shards, per_shard)
    for lanes in (1, 2, 3, 4, 12):
        order = shard_order(content, shard, replace(CONFIG, shuffle_lanes=lanes), 4)
        assert sorted(order.tolist()) == list(range(len(content))), lanes


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 6])
def test_global_batches_do_not_depend_on_the_number_of_ranks(world_size: int) -> None:
    content, shard = samples(20, 13)
    rows = shard_order(content, shard, replace(CONFIG, shuffle_lanes=4), 0)
    blank = np.zeros(len(rows), np.int32)
    alone = EpochOrder(rows, blank, 12, 0, 1)
    ranks = [EpochOrder(rows, blank, 12, rank, world_size) for rank in range(world_size)]
    assert {len(order) for order in ranks} == {len(alone)}
    for index in range(len(alone)):
        parts = np.concatenate([order.batch(index).rows for order in ranks])
        assert parts.tolist() == alone.batch(index).rows.tolist()


def test_epochs_and_seeds_differ_and_repeat() -> None:
    content, shard = samples(20, 13)
    first = shard_order(content, shard, CONFIG, 0)
    assert first.tolist() == shard_order(content, shard, CONFIG, 0).tolist()
    assert first.tolist() != shard_order(content, shard, CONFIG, 1).tolist()
    assert first.tolist() != shard_order(content, shard, replace(CONFIG, seed=10), 0).tolist()


def test_golden_order() -> None:
    """The order equals the golden one. Changing it changes the batches of every run with ``shuffle="shard"``."""
    content, shard = np.arange(12, dtype=np.int64), np.repeat(np.arange(4), 3)
    order = shard_order(content, shard, replace(CONFIG, shuffle_shards=2, global_batch_size=4), 0)
    assert order.tolist() == GOLDEN


GOLDEN = [0, 2, 9, 11, 10, 1, 8, 7, 6, 4, 3, 5]


def test_the_order_survives_another_numbering_of_the_shards() -> None:
    content, shard = samples(20, 13)
    renamed = np.random.default_rng(0).permutation(20)[shard]
    first, second = (shard_order(content, s, CONFIG, 0) for s in (shard, renamed))
    assert content[first].tolist() == content[second].tolist()


def test_only_a_window_of_shards_is_open_at_a_time() -> None:
    content, shard = samples(39, 25)
    order = shard_order(content, shard, CONFIG, 0)
    here = shard[order]
    last = {number: int(np.flatnonzero(here == number)[-1]) for number in range(39)}
    for start in range(0, len(here), 75):  # 3 shards of 25
        assert len(set(here[start : start + 75].tolist())) == 3
        assert all(last[number] < start + 75 for number in set(here[: start + 75].tolist()))


def test_with_a_lane_per_rank_each_shard_is_read_by_one_rank() -> None:
    """With ``shuffle_lanes`` equal to the number of ranks, only shards across the border of two lanes are read by two
    ranks."""
    content, shard = samples(40, 25)
    rows = shard_order(content, shard, replace(CONFIG, shuffle_lanes=4), 0)
    orders = [EpochOrder(rows, np.zeros(len(rows), np.int32), 12, r, 4) for r in range(4)]
    read = [set(shard[order.rank_rows(0, len(order))].tolist()) for order in orders]
    assert set().union(*read) == set(range(40))
    assert sum(map(len, read)) <= 40 + 3 + 4  # the last, uneven batch may reach across too


def test_samples_of_a_window_are_mixed() -> None:
    content, shard = samples(3, 400)
    order = shard_order(content, shard, CONFIG, 0)
    counts = np.bincount(shard[order[:300]], minlength=3)
    assert counts.min() > 70  # 100 ± 8 each


def test_upcoming_shards_are_in_order_of_need() -> None:
    assert upcoming_shards(np.array([4, 4, 1, 4, 2, 1])) == [4, 1, 2]


def test_a_loader_resumes_in_the_middle(synthetic_shards: Path) -> None:
    config = replace(CONFIG, global_batch_size=4, crop_size=48, num_crops=2, global_size=64)
    with build_loader(synthetic_shards, "train", config) as loader:
        whole = [batch["sample_key"] for batch in loader]
        steps = iter(loader)
        next(steps)
        state = loader.state_dict()
    with build_loader(synthetic_shards, "train", config, rank=1, world_size=2) as loader:
        loader.load_state_dict(state)
        assert [batch["sample_key"] for batch in loader] == [keys[2:] for keys in whole[1:]]
    narrower = build_loader(synthetic_shards, "train", replace(config, shuffle_shards=2))
    with narrower, pytest.raises(InputError, match="shuffle_shards was 3 and is now 2"):
        narrower.load_state_dict(state)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_balanced": True}, "class_balanced"),
        ({"shuffle_lanes": 5}, "is not a multiple of loader.shuffle_lanes=5"),
        ({"shuffle": "shards"}, "one of true, false, shard"),
        ({"shuffle_shards": 0}, "between 1 and"),
    ],
)
def test_settings_that_do_not_fit(changes: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(CONFIG, **changes)


def content(number: int) -> bytes:
    return bytes([number]) * 1000


def take(cache: ShardCache, number: int, fetched: list[int] | None = None) -> bytes:
    def fetch(path: Path) -> None:
        if fetched is not None:
            fetched.append(number)
        path.write_bytes(content(number))

    digest = sha256(content(number)).hexdigest()
    return cache.mapped(digest, 1000, fetch, f"shard {number}")[0].tobytes()


def test_the_cache_keeps_what_was_used_last(tmp_path: Path) -> None:
    cache, fetched = ShardCache(tmp_path, 3500), list[int]()
    for number in (0, 1, 2, 0, 3, 0, 1):
        assert take(cache, number, fetched) == content(number)
    assert fetched == [0, 1, 2, 3, 1]  # 3 pushed 1 out, for 0 had been used since
    assert sum(path.stat().st_size for path in tmp_path.glob("*.tar")) <= 3500


def test_what_is_mapped_is_not_deleted_and_other_folders_count(tmp_path: Path) -> None:
    """Deleting a mapped file would not free its space, and the disk would hold more than the cache counts. Data sets
    and builds in the cache count toward its limit."""
    data, build = tmp_path / "datasets/old", tmp_path / "builds/given-up"
    for folder in (data, build):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(bytes(1000))
        os.utime(folder, (0, 0))
    used = open_shared(data)
    cache = ShardCache(tmp_path / "shards", 3500, (data.parent, build.parent))
    digest = sha256(content(0)).hexdigest()
    held, _ = cache.mapped(digest, 1000, lambda path: path.write_bytes(content(0)) and None, "")
    for number in (1, 2, 3):
        take(cache, number)
        assert sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()) <= 3500
    assert data.exists()
    assert not build.exists()
    assert cache.holds(digest)
    assert held.tobytes() == content(0)
    del held
    os.close(used or 0)
    take(cache, 4)
    assert not data.exists()  # used longest ago
    take(cache, 5)
    take(cache, 6)
    assert not cache.holds(digest)


def test_threads_that_want_one_shard_fetch_it_once(tmp_path: Path) -> None:
    cache, fetched = ShardCache(tmp_path, 5000), list[int]()
    threads = [threading.Thread(target=take, args=(cache, 1, fetched)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fetched == [1]


def _die_while_fetching(folder: Path) -> None:
    def fetch(path: Path) -> None:
        path.write_bytes(content(1)[:400])
        os.kill(os.getpid(), signal.SIGKILL)

    digest = sha256(content(1)).hexdigest()
    ShardCache(folder, 5000).mapped(digest, 1000, fetch, "shard 1")


def test_a_process_that_dies_while_fetching_leaves_nothing(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_die_while_fetching, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert list(tmp_path.glob("*.part"))
    cache = ShardCache(tmp_path, 1500)
    assert take(cache, 2) == content(2)  # and the abandoned part takes no room from it
    assert not list(tmp_path.glob("*.part"))
    assert take(cache, 1) == content(1)


def _fetch_all(folder: Path, ready: Any, fatal: int | None) -> None:
    """Takes shards 0 to 5 from the cache and records which ones it fetched. It is killed while it fetches shard
    ``fatal``."""

    def fetch(path: Path, number: int) -> None:
        with (folder / "fetched").open("a") as file:
            file.write(f"{number}\n")
        path.write_bytes(content(number)[:400])
        if number == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        path.write_bytes(content(number))

    cache = ShardCache(folder / "cache", 3500)
    ready.wait()
    for number in range(6):
        digest = sha256(content(number)).hexdigest()
        found, _ = cache.mapped(digest, 1000, lambda path, n=number: fetch(path, n), "shard")
        assert found.tobytes() == content(number)


@pytest.mark.slow  # three processes, one of them killed
def test_processes_share_what_they_fetch_also_when_one_is_killed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(3)
    processes = [context.Process(target=_fetch_all, args=(tmp_path, ready, fatal)) for fatal in (None, 2, None)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    codes = [process.exitcode for process in processes]
    assert codes[0] == codes[2] == 0
    assert set(codes) <= {0, -signal.SIGKILL}  # who finds a shard there has no need to die of it
    fetched = Counter((tmp_path / "fetched").read_text().split())
    assert sorted(fetched) == list("012345")
    cache = ShardCache(tmp_path / "cache", 3500)
    # What another process has mapped is not deleted to make room: the last one to fetch may leave
    # more than the limit, and the next one makes room for itself.
    assert take(cache, 6) == content(6)
    assert not list((tmp_path / "cache").glob("*.part"))
    assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.tar")) <= 3500


def test_who_waits_for_a_shard_does_not_wait_for_its_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks want one shard. The second waits only until the first has fetched it, not until the first unmaps it,
    because the first may be waiting for the second."""
    flock, second_waits, first_maps = fcntl.flock, threading.Event(), threading.Event()

    def told(descriptor: int, kind: int) -> None:
        if threading.current_thread().name == "second" and not kind & fcntl.LOCK_NB:
            second_waits.set()
            assert first_maps.wait(30)
        flock(descriptor, kind)

    def fetch(path: Path) -> None:
        second.start()
        assert second_waits.wait(30)
        path.write_bytes(content(1))

    def read() -> None:
        held.append(ShardCache(tmp_path, 5000).mapped(digest, 1000, fetch, "shard"))

    monkeypatch.setattr("fcntl.flock", told)
    digest, held = sha256(content(1)).hexdigest(), list[Any]()
    second = threading.Thread(target=read, name="second", daemon=True)
    read()
    first_maps.set()
    second.join(30)
    assert sorted(fetched for _, fetched in held) == [False, True]
    assert [found.tobytes() for found, _ in held] == [content(1)] * 2


def test_a_file_that_was_cut_off_is_fetched_again(tmp_path: Path) -> None:
    cache, fetched = ShardCache(tmp_path, 5000), list[int]()
    take(cache, 1, fetched)
    next(tmp_path.glob("*.tar")).write_bytes(b"cut")
    assert take(cache, 1, fetched) == content(1)
    assert fetched == [1, 1]


def test_a_shard_larger_than_the_cache_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="raise GLASS_CACHE_GB"):
        take(ShardCache(tmp_path, 999), 1)


@pytest.mark.parametrize("text", ["inf", "nan", "-1", "0"])
def test_a_cache_of_no_size_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLASS_CACHE_GB", text)
    with pytest.raises(InputError, match=r"GLASS_CACHE_GB=.* must be a finite number above 0"):
        RemoteSettings.from_environment()
