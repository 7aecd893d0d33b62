"""Batches and builds from an nginx on loopback, which may fail."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loaders import LoaderConfig, build_loader
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.manifest.dataset import ShardDataset
from tests.machine.folder_contents import assert_same_files
from tests.runs.equal_batches import assert_same_batches

pytest.importorskip("fsspec", reason="the extra [remote] is not installed")

SETTINGS = BuildSettings(split_shares={"train": 0.5, "valid": 0.25, "test": 0.25}, samples_per_shard=5, global_size=64)
CONFIG = LoaderConfig(global_batch_size=4, num_crops=2, crop_size=48, global_size=64, decode="window", seed=5)


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
    assert_same_files(tmp_path / "far", tmp_path / "near")
