"""A build on a Ray cluster on this machine writes the same bytes as a local build, even if workers are killed."""

import threading
import time
from pathlib import Path

import psutil
import pytest

from shards.build.build import build_dataset
from shards.build.ray_engine import write_shard, write_shards_on_ray
from shards.build.settings import BuildSettings
from shards.errors import InputError
from tests.machine.folder_contents import assert_same_files

ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")

SETTINGS = BuildSettings(split_shares={"train": 0.5, "valid": 0.25, "test": 0.25}, samples_per_shard=5, global_size=64)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # Ray's, of its own defaults
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def no_running_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


def workers_at_work() -> list[psutil.Process]:
    """Returns the worker processes that are writing a shard. Ray puts the name of the running function into their
    titles."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any("ray::write_shard" in part for part in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def kill_some(count: int, killed: list[int], finished: threading.Event) -> None:
    while len(killed) < count and not finished.is_set():
        for process in workers_at_work()[:1]:
            if process.pid not in killed:
                process.kill()
                killed.append(process.pid)
        time.sleep(0.02)


def test_killed_workers_change_no_byte(synthetic_images: Path, synthetic_shards: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    out, killed, finished = tmp_path / "out", list[int](), threading.Event()
    killer = threading.Thread(target=kill_some, args=(2, killed, finished))
    killer.start()
    try:
        build_dataset(synthetic_images, out, SETTINGS, 2, progress=False, engine="ray")
    finally:
        finished.set()
        killer.join()
    assert len(killed) == 2
    assert_same_files(out, synthetic_shards)  # nothing is left over


class Refused:
    """A shard-writing task that fails because a source has changed."""

    num_images = 1

    def write(self, advance: object) -> None:
        raise InputError("a source changed while the shards were built")


def test_progress_errors_and_versions(tmp_path: Path) -> None:
    """Progress, errors and versions of builds on Ray. One test checks them together, because a cluster takes seconds to
    start."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        done: list[int] = []
        write_shards_on_ray([Done(n) for n in (3, 5, 4)], 2, done.append, {})
        assert sorted(done) == [3, 4, 5]
        with pytest.raises(InputError, match="a source changed"):
            write_shards_on_ray([Done(2), Refused()], 2, done.append, {})
    finally:
        ray.shutdown()
    with pytest.raises(InputError, match=r"pillow .* instead of 1\.0: install the same versions"):
        write_shard(Done(1), {"pillow": "1.0"})


class Done:
    """A shard-writing task that does nothing."""

    def __init__(self, num_images: int) -> None:
        self.num_images = num_images

    def write(self, advance: object) -> None: ...
