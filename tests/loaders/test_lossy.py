"""Lossy images that are kept as files and those that are stored as tiles give the same batches.

Windows, pixels and global views are equal, through every decoder.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from loaders import LoaderConfig, build_loader
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.build.split import parse_shares
from shards.manifest.dataset import ShardDataset
from tests.images.jpeg_variants import photograph
from tests.images.lossy_files import KEPT, WRITERS

CONFIG = LoaderConfig(global_batch_size=4, num_crops=3, crop_size=40, global_size=32)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> list[ShardDataset]:
    """Two data sets of the same images, first with ``lossy="keep"``, then with ``lossy="tiles"``. The images have all
    formats, and sizes from several tiles down to less than a crop."""
    root = tmp_path_factory.mktemp("lossy")
    random = np.random.default_rng(11)
    for number, (name, write) in enumerate((WRITERS | KEPT).items()):
        height, width = random.integers(20, 220, 2).tolist()
        folder = root / "images" / ("real" if number % 2 else "generated")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(write(Image.fromarray(photograph(height, width, number))))
    for lossy in ("keep", "tiles"):
        build = BuildSettings(split_shares=parse_shares("1,0,0"), global_size=32, lossless="keep", lossy=lossy)
        build_dataset(root / "images", root / lossy, build, progress=False)
    return [ShardDataset.open(root / lossy) for lossy in ("keep", "tiles")]


@pytest.mark.parametrize(
    ("backend", "decode"),
    [
        ("turbo", "auto"),
        ("reference", "window"),
        ("dali", "auto"),
        # Each backend is above by itself, and test_golden compares all ways.
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in (
                ("turbo", "full"),
                ("turbo", "window"),
                ("reference", "auto"),
                ("reference", "full"),
                ("dali", "window"),
                ("dali", "full"),
            )
        ),
    ],
)
def test_batches_are_equal_to_the_bit(sets: list[ShardDataset], backend: str, decode: str) -> None:
    config = replace(CONFIG, backend=backend, decode=decode)
    with build_loader(sets[0], "train", config) as kept, build_loader(sets[1], "train", config) as tiled:
        num_images = 0
        for before, after in zip(kept, tiled, strict=True):
            for name, value in before.items():
                if isinstance(value, torch.Tensor):
                    assert torch.equal(value, after[name]), name
            num_images += int(before["is_valid"].sum())  # the last batch is filled up
        assert num_images == len(sets[0])
        assert tiled.stats()["windowed"] >= (0 if decode == "full" else len(WRITERS))


def test_every_kind_is_stored_as_tiles(sets: list[ShardDataset]) -> None:
    paths, forms = (sets[1].table.column(name).to_pylist() for name in ("source_path", "stored_as"))
    names = {path.partition("/")[2]: form for path, form in zip(paths, forms, strict=True)}
    assert {name for name, form in names.items() if form == "tiled"} == set(WRITERS)
    assert set(names) == set(WRITERS | KEPT)


def test_pixels_are_read_window_by_window(sets: list[ShardDataset]) -> None:
    """With ``decode="window"``, only the tiles that a window touches are read and not the whole file."""
    read = []
    for decode in ("window", "full"):
        with build_loader(sets[1], "train", replace(CONFIG, num_crops=1, decode=decode)) as loader:
            list(loader)
            read.append(loader.stats()["bytes_read"])
    assert read[0] < 0.8 * read[1]


@pytest.mark.parametrize("sampling", [pytest.param("uniform", marks=pytest.mark.slow), "stratified_grid"])
def test_rules_that_go_by_pixels_place_the_same_windows(sets: list[ShardDataset], sampling: str) -> None:
    windows = []
    for dataset in sets:
        with build_loader(dataset, "train", replace(CONFIG, sampling=sampling, shuffle=True)) as loader:
            loader.set_epoch(3)
            windows.append(torch.cat([batch["crop_windows"] for batch in loader]))
    assert torch.equal(*windows)
