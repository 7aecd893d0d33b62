"""Decoding on a GPU. This file imports only what a rented GPU machine has installed."""

import importlib.util
import io

import numpy as np
import pytest
import torch
from PIL import Image

from loaders import LoaderConfig
from loaders.decode.choose import choose_decoder
from loaders.decode.jobs import WholeJob
from loaders.decode.reference import ReferenceDecoder
from loaders.stats import LoaderStats

CROP, NUM_CROPS, IMAGES = 48, 3, 4


def has_dali() -> bool:
    return importlib.util.find_spec("nvidia") is not None and importlib.util.find_spec("nvidia.dali") is not None


def whole_jobs(subsampling):
    """Returns jobs for four copies of one picture, with windows in two corners and in the middle."""
    rows, columns = np.mgrid[:300, :400]
    noise = np.random.default_rng(7).integers(0, 256, (300, 400))
    pixels = np.stack([columns * 255 // 400, rows * 255 // 300, noise], -1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=92, subsampling=subsampling)
    data = np.frombuffer(file.getvalue(), np.uint8)
    windows = np.array([[0, 0, CROP, CROP], [252, 352, CROP, CROP], [126, 176, CROP, CROP]], np.int32)
    slots = [np.arange(k * NUM_CROPS, (k + 1) * NUM_CROPS) for k in range(IMAGES)]
    return [WholeJob(data, 300, 400, windows, slots[k], k, "JPEG", "RGB") for k in range(IMAGES)]


@pytest.mark.gpu
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4"])
@pytest.mark.parametrize("backend", ["nvjpeg", "dali"])
def test_gpu_decode_is_close_to_the_oracle(backend, subsampling):
    """nvJPEG may round its transform differently: no value differs by more than 3 levels, and the mean difference is
    below 0.5."""
    if backend == "dali" and not has_dali():
        pytest.skip("DALI is not installed")
    config = LoaderConfig(backend=backend, device="cuda", num_crops=NUM_CROPS, crop_size=CROP, global_batch_size=IMAGES)
    stats, jobs = LoaderStats(), whole_jobs(subsampling)
    decoder = choose_decoder(config, IMAGES, stats)
    crops = torch.zeros((IMAGES * NUM_CROPS, CROP, CROP, 3), dtype=torch.uint8, device="cuda")
    assert decoder.decode(jobs, crops) == []
    assert stats.snapshot()["on_host"] == {}
    expected = torch.zeros((IMAGES * NUM_CROPS, CROP, CROP, 3), dtype=torch.uint8)
    assert ReferenceDecoder().decode(jobs, expected) == []
    difference = np.abs(crops.cpu().numpy().astype(int) - expected.numpy())
    assert difference.max() <= 3
    assert difference.mean() < 0.5
