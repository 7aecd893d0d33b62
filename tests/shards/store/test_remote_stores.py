"""Builds into an S3 server on loopback, and batches from it."""

import os
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from loaders import LoaderConfig
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from shards.sources.source_list import SourceRules
from shards.store.settings import RemoteSettings
from tests.images.image_tables import rows_of, write_tables
from tests.machine.faulty_store import FaultyStore
from tests.machine.folder_contents import assert_same_files
from tests.runs.equal_batches import assert_same_batches

pytest.importorskip("fsspec", reason="the extra [remote] is not installed")

SETTINGS = BuildSettings(split_shares={"train": 0.5, "valid": 0.25, "test": 0.25}, samples_per_shard=5, global_size=64)
CONFIG = LoaderConfig(global_batch_size=4, num_crops=2, crop_size=48, global_size=64, decode="window", seed=5)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    """Yields an S3 server with an empty bucket ``shards``."""
    pytest.importorskip("s3fs", reason="the extra [remote] is not installed")
    pytest.importorskip("moto", reason="the extra [dev] is not installed")
    import s3fs
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    application = FaultyStore(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True)
    address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("GLASS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    # File systems and their connections are kept by fsspec; those of another test know its server.
    s3fs.S3FileSystem.clear_instance_cache()
    # What an earlier server held is still in this process.
    urllib.request.urlopen(f"{address}/moto-api/reset", data=b"").close()
    s3fs.S3FileSystem().mkdir("shards")
    yield application
    s3fs.S3FileSystem.clear_instance_cache()
    server.shutdown()
    server.server_close()
    thread.join()


def stored_files() -> dict[str, bytes]:
    """Returns name → bytes of each file of the data set in ``bucket``."""
    import s3fs

    client = s3fs.S3FileSystem()
    return {path.rpartition("/")[2]: client.cat_file(path) for path in client.ls("shards/set", refresh=True)}


@pytest.fixture
def bucket(store: FaultyStore) -> str:
    """Returns the URL of a folder in the empty bucket."""
    return "s3://shards/set"


@pytest.mark.slow
@pytest.mark.parametrize("reads", ["range", "whole"])
def test_s3_gives_the_batches_of_the_disk(
    bucket: str, synthetic_images: Path, synthetic_shards: Path, reads: str
) -> None:
    report = build_dataset(synthetic_images, bucket, SETTINGS, progress=False)
    assert report.info == ShardDataset.open(synthetic_shards).info
    config = LoaderConfig(**{**vars(CONFIG), "remote_reads": reads, "shuffle": "shard"})
    assert_same_batches(bucket, synthetic_shards, config)


@pytest.mark.slow
@pytest.mark.parametrize("reads", ["range", "whole"])
def test_no_sample_is_lost_when_five_per_cent_of_the_requests_fail(
    store: FaultyStore, bucket: str, synthetic_images: Path, synthetic_shards: Path, reads: str
) -> None:
    build_dataset(synthetic_images, bucket, SETTINGS, progress=False)
    store.share = 0.05
    config = LoaderConfig(**{**vars(CONFIG), "remote_reads": reads})
    for seed in range(6):  # enough requests for some to fail, also where shards are few
        shutil.rmtree(RemoteSettings.from_environment().folder / "shards", ignore_errors=True)
        assert_same_batches(bucket, synthetic_shards, replace(config, seed=seed))
    assert store.broken


@pytest.mark.slow
def test_a_build_into_s3_holds_the_bytes_of_one_into_a_folder(
    bucket: str, synthetic_images: Path, synthetic_shards: Path, tmp_path: Path
) -> None:

    build_dataset(synthetic_images, bucket, SETTINGS, progress=False)
    assert_same_files(stored_files(), synthetic_shards)
    staged = list((tmp_path / "cache/builds").rglob("*.tar"))
    assert not staged  # the disk never holds more than the shards at work
    assert build_dataset(synthetic_images, bucket, SETTINGS, progress=False).finished_before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")  # Ray's, of its own defaults
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ray_tasks_on_machines_that_do_not_see_the_first_ones_disk(
    bucket: str, synthetic_images: Path, synthetic_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    other = tmp_path / "disk of another machine"
    left = other / "builds" / "task-of-a-process-that-was-killed"
    left.mkdir(parents=True)
    os.utime(left, (0, 0))
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"GLASS_CACHE_DIR": str(other)}},
    )
    try:
        build_dataset(synthetic_images, bucket, SETTINGS, 2, progress=False, engine="ray")
    finally:
        ray.shutdown()
    assert_same_files(stored_files(), synthetic_shards)
    assert not list((other / "builds").iterdir())
    assert not list((tmp_path / "cache").rglob("*.tar"))


@pytest.mark.slow
def test_another_machine_continues_a_build_into_s3(
    bucket: str, synthetic_images: Path, synthetic_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    build_dataset(synthetic_images, bucket, SETTINGS, progress=False)
    store = s3fs.S3FileSystem()
    for name in ("dataset.json", "samples.arrow", "train-000001.parquet", "train-000001.tar"):
        store.rm_file(f"shards/set/{name}")
    store.pipe_file("shards/set/train-000001.tar", b"half a shard")
    monkeypatch.setenv("GLASS_CACHE_DIR", str(tmp_path / "elsewhere"))
    report = build_dataset(synthetic_images, bucket, SETTINGS, progress=False)
    assert report.continued
    expected = (synthetic_shards / "train-000001.tar").read_bytes()
    assert store.cat_file("shards/set/train-000001.tar") == expected


@pytest.mark.slow
def test_faults_of_every_kind_cost_neither_a_build_nor_a_sample(
    store: FaultyStore, bucket: str, synthetic_images: Path, synthetic_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build and an epoch succeed although requests fail in every way, uploads included: the connection may be reset
    before or after the store has received the file."""
    import s3fs

    monkeypatch.setenv("GLASS_REMOTE_TIMEOUT_S", "0.5")
    s3fs.S3FileSystem.clear_instance_cache()
    store.share, store.kinds = 0.2, ("unavailable", "short", "reset", "slow")
    build_dataset(synthetic_images, bucket, SETTINGS, progress=False)
    config = LoaderConfig(**{**vars(CONFIG), "remote_reads": "whole"})
    assert_same_batches(bucket, synthetic_shards, config)
    store.share = 0.0
    assert {kind.split()[1] for kind in store.broken} >= {"reset", "slow"}
    assert any(kind.startswith("PUT") for kind in store.broken)
    monkeypatch.setenv("GLASS_REMOTE_TIMEOUT_S", "60")
    s3fs.S3FileSystem.clear_instance_cache()
    assert_same_files(stored_files(), synthetic_shards)


@pytest.mark.slow
def test_sources_in_s3_give_the_bytes_of_their_copy(
    store: FaultyStore, synthetic_images: Path, synthetic_shards: Path, tmp_path: Path
) -> None:
    """A build that reads from one folder of a bucket and writes to another, while a share of the requests fails, has
    the bytes of a local build."""
    import s3fs

    client = s3fs.S3FileSystem()
    client.put(str(synthetic_images), "shards/images", recursive=True)
    client.touch("shards/images/real/")  # as consoles mark folders
    store.share = 0.1
    build_dataset("s3://shards/images", "s3://shards/set", SETTINGS, progress=False)
    assert store.broken
    store.share = 0.0
    assert_same_files(stored_files(), synthetic_shards)
    rows = "".join(
        f"{path.relative_to(synthetic_images)},{path.relative_to(synthetic_images).parts[0]}\n"
        for path in synthetic_images.rglob("*.*")
    )
    client.pipe_file("shards/images/list.csv", f"path,label\n{rows}".encode())
    report = build_dataset("s3://shards/images/list.csv", tmp_path / "out", SETTINGS, progress=False)
    assert report.info.num_samples == 24


@pytest.mark.slow
def test_what_lies_in_the_store_already_is_not_written_over(bucket: str, synthetic_images: Path) -> None:
    import s3fs

    s3fs.S3FileSystem().pipe_file("shards/set/thesis.tex", b"years of work")
    with pytest.raises(InputError, match=r"is not empty.*thesis\.tex"):
        build_dataset(synthetic_images, bucket, SETTINGS, progress=False)


def test_a_web_server_cannot_be_built_into(synthetic_images: Path) -> None:
    with pytest.raises(InputError, match="can be read but not written"):
        build_dataset(synthetic_images, "http://127.0.0.1:9/x", SETTINGS, progress=False)


@pytest.mark.slow
def test_tables_with_images_in_s3(store: FaultyStore, synthetic_images: Path, tmp_path: Path) -> None:
    """With two workers, and a store that breaks a share of its responses, the build has the bytes of a local one."""
    import s3fs

    source = write_tables(tmp_path / "tables", rows_of(synthetic_images))
    s3fs.S3FileSystem().put(str(source), "shards/tables", recursive=True)
    rules = SourceRules(given_split=False)
    build_dataset(source, tmp_path / "local", SETTINGS, progress=False, rules=rules)
    store.share, store.kinds = 0.1, ("unavailable", "short")
    build_dataset("s3://shards/tables", tmp_path / "out", SETTINGS, 2, progress=False, rules=rules)
    assert sum(store.broken.values())
    assert_same_files(tmp_path / "out", tmp_path / "local")
