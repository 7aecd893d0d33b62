"""Fuzzes the ``dataset.json`` of a data set in a store, through opening the data set, the cache and the loader."""

import os
import shutil
import sys
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import numpy as np

from loaders import LoaderConfig, build_loader
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.errors import InputError
from shards.manifest import fetch as remote_dataset
from tests.fuzz.fuzz_harness import JSON_WORDS, mutated, mutated_json, run_main
from tests.fuzz.fuzz_ranges import stored_copy
from tests.images.coded_images import write_images

__all__ = ["RemoteTarget"]

WORDS = (*JSON_WORDS, b'"../../theirs"', b'"../theirs"', b"../../", b"\\u0000", b"\\ud800", b"0", b"9000000000")
CONFIG = LoaderConfig(global_batch_size=4, num_crops=1, crop_size=16, global_size=32, num_threads=1, shuffle=False)

READS = ("whole", "range", "auto")


class RemoteTarget:
    """Mutates the ``dataset.json`` of a data set in a store. Files outside the cache's own folders must neither appear
    nor disappear."""

    def __init__(self, folder: Path) -> None:
        import fsspec

        write_images(folder / "images", 8)
        settings = BuildSettings(split_shares={"train": 0.5, "test": 0.5}, samples_per_shard=8, global_size=32)
        build_dataset(folder / "images", folder / "out", settings, progress=False)
        shutil.rmtree(folder / "images")
        self._url = stored_copy(folder / "out")
        self._store = fsspec.filesystem("memory")
        self._path = f"/{self._url.partition('://')[2]}/dataset.json"
        self._description = self._store.cat_file(self._path)
        shutil.rmtree(folder / "out")
        self._cache, self._folder = folder / "cache", folder
        self._cache.mkdir()
        for place in (folder, self._cache, self._cache.parent):
            for name in ("theirs", "theirs.tar", "theirs.part", "x.tar", "x.part"):
                (place / name).write_text("years of work")
        self._theirs = self._beside()
        self._environment = {
            "GLASS_CACHE_DIR": str(self._cache),
            "GLASS_REMOTE_ATTEMPTS": "1",
            "GLASS_REMOTE_CONNECTIONS": "2",
            "GLASS_CACHE_GB": "0.002",
        }
        for reads in READS:  # each compiles kernels of its own, outside the time of a mutation
            with patch.dict(os.environ, self._environment):
                self._load(reads, Counter())
        self._forget()

    def _beside(self) -> list[str]:
        """Returns the paths of the files outside the cache's own folders."""
        ours = (self._cache / "shards", self._cache / "datasets")
        found = (path for path in self._folder.rglob("*") if path.is_file())
        return sorted(str(p) for p in found if not any(o in p.parents for o in ours))

    def run(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        change = mutated_json if rng.random() < 0.6 else mutated
        words = (WORDS,) if change is mutated else ()
        self._store.pipe_file(self._path, change(rng, self._description, *words))  # type: ignore[operator]
        reads = READS[int(rng.integers(len(READS)))]
        try:
            with patch.dict(os.environ, self._environment):
                self._load(reads, counts)
            counts["taken"] += 1
            words = ""
        except InputError as error:
            words = str(error)
            counts["refused"] += 1
        finally:
            self._forget()
        assert str(self._cache / "datasets") not in words
        assert self._beside() == self._theirs

    def _load(self, reads: str, counts: Counter[str]) -> None:
        config = LoaderConfig(**{**vars(CONFIG), "remote_reads": reads})
        with build_loader(self._url, "train", config) as loader:
            for batch in loader:
                counts["samples"] += int(batch["is_valid"].sum())
            counts["bad samples"] += len(loader.bad_samples())
            for bad in loader.bad_samples():
                assert bad.reason != "unforeseen error", bad

    def _forget(self) -> None:
        """Closes and deletes the cached descriptions of data sets. Each mutation opens one, which would otherwise stay
        in use."""
        for folder, descriptor in list(remote_dataset._in_use.items()):
            if self._cache in folder.parents:
                os.close(descriptor)
                del remote_dataset._in_use[folder]
        shutil.rmtree(self._cache / "datasets", ignore_errors=True)


if __name__ == "__main__":
    sys.exit(run_main(RemoteTarget, __doc__ or ""))
