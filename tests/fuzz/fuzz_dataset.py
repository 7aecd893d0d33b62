"""Fuzzes ``dataset.json``, ``samples.arrow`` and shard manifests: opening and loading must work or raise
``InputError``."""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from loaders import LoaderConfig, build_loader
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.build.writer import read_record
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from tests.fuzz.fuzz_harness import JSON_WORDS, mutated, run_main
from tests.images.coded_images import write_images

__all__ = ["DatasetTarget"]

WORDS = (*JSON_WORDS, b'"../../x"', b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\xff\xff\xff\x7f")
CONFIG = LoaderConfig(global_batch_size=4, num_crops=1, crop_size=16, global_size=32, num_threads=1, shuffle=False)


class DatasetTarget:
    """Mutates the files of a data set of 8 small images, one file at a time."""

    def __init__(self, folder: Path) -> None:
        write_images(folder / "images", 8)
        self._out = folder / "out"
        settings = BuildSettings(split_shares={"train": 0.5, "test": 0.5}, samples_per_shard=8, global_size=32)
        build_dataset(folder / "images", self._out, settings, progress=False)
        self._record = sorted(self._out.glob("train-*.parquet"))[0]
        self._files = {
            name: (self._out / name).read_bytes() for name in ("dataset.json", "samples.arrow", self._record.name)
        }

    def run(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        name = list(self._files)[int(rng.choice(3, p=[0.3, 0.5, 0.2]))]
        path = self._out / name
        path.unlink()  # the file of the last mutation may still be mapped
        path.write_bytes(mutated(rng, self._files[name], WORDS))
        try:
            if name == self._record.name:
                read_record(self._record)
            else:
                self._load(rng, counts)
            counts[f"{name.split('-')[0]}: taken"] += 1
        except InputError:
            counts[f"{name.split('-')[0]}: refused"] += 1
        finally:
            path.unlink()
            path.write_bytes(self._files[name])

    def _load(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        dataset = ShardDataset.open(self._out)
        dataset.table.to_pylist()
        with build_loader(dataset, "train", CONFIG) as loader:
            for batch in loader:
                counts["samples"] += int(batch["is_valid"].sum())
            counts["bad samples"] += len(loader.bad_samples())
            for bad in loader.bad_samples():
                assert bad.reason != "unforeseen error", bad
        json.dumps(dataset.info.to_json())


if __name__ == "__main__":
    sys.exit(run_main(DatasetTarget, __doc__ or ""))
