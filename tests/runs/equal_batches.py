"""Checks that two data sets give the same batches."""

from pathlib import Path

import torch

from loaders import LoaderConfig, build_loader

__all__ = ["assert_same_batches"]


def assert_same_batches(first: str | Path, second: str | Path, config: LoaderConfig) -> None:
    """Asserts that the split ``train`` gives equal keys and pixels, in equal order, from both data sets."""
    with build_loader(first, "train", config) as one, build_loader(second, "train", config) as two:
        for a, b in zip(one, two, strict=True):
            assert a["sample_key"] == b["sample_key"]
            assert torch.equal(a["local_crops"], b["local_crops"])
            assert torch.equal(a["global_view"], b["global_view"])
