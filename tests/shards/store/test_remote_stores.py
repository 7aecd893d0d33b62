"""Builds into an S3 server and batches from it and from nginx, both on loopback."""

import hashlib
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from loaders import LoaderConfig, build_loader
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from shards.sources.source_list import SourceRules
from shards.store.settings import RemoteSettings
from tests.images.image_tables import rows_of, write_tables

pytest.importorskip("fsspec", reason="the extra [remote] is not installed")

SETTINGS = BuildSettings(split_shares={"train": 0.5, "valid": 0.25, "test": 0.25}, samples_per_shard=5, global_size=64)
CONFIG = LoaderConfig(global_batch_size=4, num_crops=2, crop_size=48, global_size=64, decode="window", seed=5)


class FaultyStore:
    """A WSGI application that breaks a share of the requests, uploads among them.

    Whether it breaks a request depends on the address and the number of attempts, so that every run breaks the same
    ones.
    """

    slow_s = 1.5

    def __init__(self, store: Any) -> None:
        self.store, self.share = store, 0.0
        self.kinds: tuple[str, ...] = ("unavailable", "short")
        self.broken: Counter[str] = Counter()
        self._tries: Counter[str] = Counter()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        method = environ["REQUEST_METHOD"]
        request = f"{method} {environ['PATH_INFO']} {environ.get('HTTP_RANGE', '')}"
        self._tries[request] += 1
        digest = hashlib.sha256(f"{request} {self._tries[request]}".encode()).digest()
        draw = int.from_bytes(digest[:4], "big") / 2**32
        if draw >= self.share:
            return self.store(environ, start_response)
        kind = self.kinds[digest[4] % len(self.kinds)]
        if method != "GET" and kind in ("short", "slow"):  # those are of bodies
            kind = "reset" if "reset" in self.kinds else "unavailable"
        self.broken[f"{method} {kind}"] += 1
        if kind == "reset" and digest[5] % 2:
            list(self.store(environ, lambda *_: lambda _: None))  # done, and nobody hears of it
        else:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if kind == "unavailable":
            start_response("503 Slow Down", [("Content-Length", "0"), ("Retry-After", "0")])
            return []
        if kind == "reset":
            return self._reset(environ)
        start_response("206 Partial Content", [("Content-Length", "1000")])
        return [b"cut off"] if kind == "short" else self._slow()

    def _slow(self) -> Iterator[bytes]:
        """Yields a response body that stalls for longer than the timeout."""
        yield b"slow"
        time.sleep(self.slow_s)

    def _reset(self, environ: dict[str, Any]) -> list[bytes]:
        """Resets the connection, as a server that crashes does."""
        connection = environ["werkzeug.socket"]
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        raise ConnectionResetError


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


@pytest.fixture
def bucket(store: FaultyStore) -> str:
    """Returns the URL of a folder in the empty bucket."""
    return "s3://shards/set"


def assert_same_batches(first: str | Path, second: str | Path, config: LoaderConfig) -> None:
    with build_loader(first, "train", config) as one, build_loader(second, "train", config) as two:
        for a, b in zip(one, two, strict=True):
            assert a["sample_key"] == b["sample_key"]
            assert torch.equal(a["local_crops"], b["local_crops"])
            assert torch.equal(a["global_view"], b["global_view"])


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
    import s3fs

    build_dataset(synthetic_images, bucket, SETTINGS, progress=False)
    store = s3fs.S3FileSystem()
    names = sorted(path.rpartition("/")[2] for path in store.ls("shards/set"))
    assert names == sorted(path.name for path in synthetic_shards.iterdir())
    for name in names:
        if name != ".build_plan.parquet":  # it knows the times of the sources
            assert store.cat_file(f"shards/set/{name}") == (synthetic_shards / name).read_bytes()
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
    import s3fs

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
    store = s3fs.S3FileSystem()
    for path in synthetic_shards.iterdir():
        if path.name != ".build_plan.parquet":  # it knows the times of the sources
            assert store.cat_file(f"shards/set/{path.name}") == path.read_bytes(), path.name
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
    client = s3fs.S3FileSystem()
    for path in synthetic_shards.iterdir():
        if path.name != ".build_plan.parquet":  # it knows the times of the sources
            assert client.cat_file(f"shards/set/{path.name}") == path.read_bytes(), path.name


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
    for path in synthetic_shards.iterdir():
        if path.name != ".build_plan.parquet":  # it knows the times of the sources
            assert client.cat_file(f"shards/set/{path.name}") == path.read_bytes(), path.name
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


@pytest.fixture
def nginx(synthetic_shards: Path, tmp_path: Path) -> Iterator[str]:
    """The URL of an nginx that serves the shards."""
    with nginx_serving(synthetic_shards, tmp_path) as url:
        yield url


@contextmanager
def nginx_serving(root: Path, tmp_path: Path, settings: str = "", outside: str = "") -> Iterator[str]:
    """Yields the URL of an nginx that serves ``root``. ``settings`` go into its server block, ``outside`` beside it."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = " ".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; user root; pid {tmp_path}/pid; error_log {tmp_path}/errors; events {{}}\n"
        f"http {{ access_log off; {outside} {paths} server {{ listen 127.0.0.1:{port}; "
        f"root {root}; {settings} }} }}"
    )
    process = subprocess.Popen([program, "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)])
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("reads", ["range", "whole"])
def test_nginx_gives_the_batches_of_the_disk(
    nginx: str, synthetic_shards: Path, reads: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLASS_CACHE_DIR", str(tmp_path / "cache"))
    config = LoaderConfig(**{**vars(CONFIG), "remote_reads": reads})
    assert_same_batches(nginx, synthetic_shards, config)


@pytest.mark.slow
@pytest.mark.parametrize("reads", ["range", "whole"])
def test_an_nginx_that_fails_costs_no_sample(
    synthetic_shards: Path, reads: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of nginx's responses fail, with status 503 and a ``Retry-After`` header or by a closed connection. All
    samples arrive."""
    monkeypatch.setenv("GLASS_CACHE_DIR", str(tmp_path / "cache"))
    config = LoaderConfig(**{**vars(CONFIG), "remote_reads": reads})
    faults = (
        "add_header Retry-After 0 always; limit_rate 2m; "
        "if ($fault = busy) { return 503; } if ($fault = gone) { return 444; }"
    )
    choice = 'split_clients "$request_id" $fault { 15% busy; 10% gone; * none; }'
    with nginx_serving(synthetic_shards, tmp_path, faults, choice) as url:
        dataset = ShardDataset.open(url)
        with build_loader(dataset, "train+valid+test", config) as loader:
            found = [batch["sample_key"] for batch in loader]
    with build_loader(synthetic_shards, "train+valid+test", config) as loader:
        assert found == [batch["sample_key"] for batch in loader]
        assert loader.bad_samples() == []
    assert dataset.remote is not None
    assert dataset.remote.counts["retries"] > 0


@pytest.mark.slow
def test_nginx_lists_the_images_of_a_build(
    synthetic_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build finds the images through nginx's index pages, also where a name needs quoting."""
    monkeypatch.setenv("GLASS_CACHE_DIR", str(tmp_path / "cache"))
    images = tmp_path / "images"
    shutil.copytree(synthetic_images, images)
    (images / "real/01.jpg").rename(images / "real/a #1 50%20 é?.jpg")
    build_dataset(images, tmp_path / "near", SETTINGS, progress=False)
    with nginx_serving(tmp_path, tmp_path, "autoindex on;") as url:
        build_dataset(f"{url}/images", tmp_path / "far", SETTINGS, progress=False)
    for path in (tmp_path / "near").iterdir():
        if path.name != ".build_plan.parquet":
            assert (tmp_path / "far" / path.name).read_bytes() == path.read_bytes(), path.name


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
    names = sorted(path.name for path in (tmp_path / "local").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "out").iterdir())
    for name in names:
        if name != ".build_plan.parquet":  # it knows the times of the sources
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "local" / name).read_bytes(), name
