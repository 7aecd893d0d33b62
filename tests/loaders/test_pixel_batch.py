"""Batches made from decoded images equal the loader's batches from the files that hold these images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from loaders import LoaderConfig, build_loader
from loaders.decode.pixel_batch import pixel_batch
from shards.images.pixels import decode_rgb
from shards.manifest.dataset import ShardDataset

CONFIG = LoaderConfig(
    backend="turbo", global_batch_size=6, num_crops=3, crop_size=48, global_size=64, seed=11, shuffle=False
)


def sources(root, keys):
    """Returns the pixels of the stored images of ``keys``, decoded by the oracle (Pillow)."""
    dataset = ShardDataset.open(root)
    places = {key: row for row, key in enumerate(dataset.column("sample_key"))}
    names = ("shard", "image_offset", "image_length")
    shard, offset, length = (dataset.column(name) for name in names)
    images = []
    for key in keys:
        row = places[key]
        data = dataset.shard_path(shard[row]).read_bytes()
        images.append(decode_rgb(data[offset[row] : offset[row] + length[row]]))
    return images


@pytest.mark.parametrize("sampling", ["stratified_grid", "uniform"])
def test_equals_the_loaders_batch(synthetic_shards, sampling):
    """Every tensor of every batch equals the loader's bit for bit, with images of mixed sizes and formats."""
    config = replace(CONFIG, sampling=sampling)
    with build_loader(synthetic_shards, "train+test", config) as loader:
        for expected in loader:
            images = sources(synthetic_shards, expected["sample_key"])
            got = pixel_batch(images, expected["content_id"].tolist(), config, labels=expected["label"].tolist())
            for name, value in expected.items():
                if name not in ("sample_key", "is_valid"):
                    assert torch.equal(got[name], value), name
                    assert got[name].stride() == value.stride(), name
            assert set(got) == set(expected)


def test_windows_depend_on_content_and_appearance(coded_image):
    """The windows do not depend on the pixels or the position in the batch, and each appearance draws new ones."""
    images = [coded_image(k, 400, 300) for k in range(3)]
    ids = [7, -9, 2**63 - 1]
    first = pixel_batch(images, ids, CONFIG)["crop_windows"]
    turned = pixel_batch([image[::-1] for image in images[::-1]], ids[::-1], CONFIG)
    assert torch.equal(first, turned["crop_windows"].flip(0))
    second = pixel_batch(images, ids, CONFIG, appearance=1)["crop_windows"]
    assert (first != second).any(dim=2).float().mean() > 0.9


def test_what_it_refuses(coded_image):
    """An empty batch, wrong shapes, wrong types and wrong lengths raise ``ValueError``."""
    image = coded_image(1, 60, 50)
    for images, ids in (([], []), ([image[..., 0]], [1]), ([image.astype(float)], [1]), ([image], [1, 2])):
        with pytest.raises(ValueError, match="image"):
            pixel_batch(images, ids, CONFIG)
    with pytest.raises(ValueError, match="labels"):
        pixel_batch([image], [1], CONFIG, labels=[1, 0])
    assert pixel_batch([image], np.array([1]), CONFIG)["label"].tolist() == [0]
