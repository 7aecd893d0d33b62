"""Images stored as tiles: windows read only their tiles, pixels equal the source's, and damage affects one sample."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loaders import LoaderConfig, build_loader
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.build.split import parse_shares
from shards.images.pixels import decode_rgb
from shards.manifest.dataset import ShardDataset

CONFIG = LoaderConfig(global_batch_size=2, num_crops=2, crop_size=40, global_size=32)
SIDE = 600


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four PNGs of noise: two are large enough for 16 tiles, one is smaller than a crop."""
    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for name, side in (("real/a", SIDE), ("real/b", 100), ("generated/c", SIDE), ("generated/d", 9)):
        path = root / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 64, (side, side + 5, 3), np.uint8)).save(path)
    return root


@pytest.fixture(scope="module")
def dataset(images: Path, tmp_path_factory: pytest.TempPathFactory) -> ShardDataset:
    settings = BuildSettings(split_shares=parse_shares("1,0,0"), global_size=32)
    out = tmp_path_factory.mktemp("tiles") / "shards"
    build_dataset(images, out, settings, progress=False)
    return ShardDataset.open(out)


@pytest.mark.parametrize(
    ("backend", "decode"),
    [
        ("turbo", "auto"),
        ("reference", "full"),
        ("dali", "window"),
        *(
            pytest.param(backend, decode, marks=pytest.mark.slow)  # each of both is in one of those
            for backend in ("reference", "turbo", "dali")
            for decode in ("window", "auto", "full")
            if (backend, decode) not in {("turbo", "auto"), ("reference", "full"), ("dali", "window")}
        ),
    ],
)
def test_crops_are_slices_of_the_source(dataset: ShardDataset, images: Path, backend: str, decode: str) -> None:
    assert set(dataset.column("stored_as")) == {"tiled"}
    sources = dict(zip(dataset.column("sample_key"), dataset.column("source_path"), strict=True))
    with build_loader(dataset, "train", replace(CONFIG, backend=backend, decode=decode)) as loader:
        batches = list(loader)
        stats = loader.stats()
    counted = {name: stats.get(name, 0) for name in ("windowed", "full")}
    windowed = 0 if decode == "full" else 4
    assert counted == {"windowed": windowed, "full": 4 - windowed}
    assert not stats["fallback"]
    for batch in batches:
        for place, key in enumerate(batch["sample_key"]):
            image = decode_rgb((images / sources[key]).read_bytes())
            for crop, window in zip(batch["local_crops"][place], batch["crop_windows"][place].tolist(), strict=True):
                top, left, height, width = window
                expected = np.zeros((40, 40, 3), np.uint8)
                expected[:height, :width] = image[top : top + height, left : left + width]
                assert np.array_equal(crop.permute(1, 2, 0).numpy(), expected)


def test_fewer_bytes_are_read(dataset: ShardDataset) -> None:
    read = {}
    for decode in ("window", "full"):
        with build_loader(dataset, "train", replace(CONFIG, decode=decode)) as loader:
            list(loader)
            read[decode] = loader.stats()["bytes_read"]
    assert read["window"] < 0.6 * read["full"]


@pytest.mark.parametrize("what", ["directory", "tiles"])
@pytest.mark.parametrize("decode", ["window", "full"])
def test_a_damaged_image_costs_one_sample(dataset: ShardDataset, what: str, decode: str, tmp_path: Path) -> None:
    dataset = ShardDataset.open(shutil.copytree(dataset.root, tmp_path / "shards"))
    row = int(np.flatnonzero(dataset.column("source_path") == "real/a.png")[0])
    path = dataset.shard_path(dataset.column("shard")[row])
    start, length = (int(dataset.column(f"image_{n}")[row]) for n in ("offset", "length"))
    data = bytearray(path.read_bytes())
    begin = 10 if what == "directory" else 1000
    data[start + begin : start + (200 if what == "directory" else length)] = bytes(
        (200 if what == "directory" else length) - begin
    )
    path.write_bytes(data)
    with build_loader(dataset, "train", replace(CONFIG, decode=decode, verify="off")) as loader:
        valid = {
            key: bool(good)
            for batch in loader
            for key, good in zip(batch["sample_key"], batch["is_valid"], strict=True)
        }
        assert loader.stats()["failed"] == {"undecodable": 1}
    assert [key for key, good in valid.items() if not good] == [dataset.column("sample_key")[row]]
