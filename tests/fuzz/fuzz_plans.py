"""Fuzzes the plan from which an unfinished build or index continues: it must continue, or raise ``InputError``.

In both cases, the finished files must not change.
"""

import io
import os
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np

from shards.adopt.adopt import PLAN_NAME as INDEX_PLAN_NAME
from shards.adopt.adopt import index_tars
from shards.adopt.settings import IndexSettings
from shards.build.build import build_dataset
from shards.build.plan import PLAN_NAME
from shards.build.settings import BuildSettings
from shards.errors import InputError
from tests.fuzz.fuzz_harness import JSON_WORDS, mutated, mutated_json, run_main
from tests.images.coded_images import write_images

__all__ = ["PlanTarget"]

WORDS = (*JSON_WORDS, b"../", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\x80\x80\x80\x80\x10")
SETTINGS = BuildSettings(split_shares={"train": 0.5, "test": 0.5}, samples_per_shard=8, global_size=32)


class PlanTarget:
    """Mutates the plan of a finished build or of a finished index, and runs the same build or index again."""

    def __init__(self, folder: Path) -> None:
        self._images, self._built, self._index = (folder / n for n in ("images", "out", "index"))
        write_images(self._images, 8)
        for path in self._images.rglob("*.*"):
            os.utime(path, (0, 0))  # plans hold the times of files, and a seed must mean the same again
        build_dataset(self._images, self._built, SETTINGS, progress=False)
        self._tar = folder / "a.tar"
        with tarfile.open(self._tar, "w") as tar:
            for number, path in enumerate(sorted(self._images.rglob("*.jpg"))[:6]):
                label = b"%d" % (number % 2)
                for name, data in ((path.name, path.read_bytes()), (f"{path.stem}.cls", label)):
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        os.utime(self._tar, (0, 0))
        self._go_on("index")
        self._plans = {"build": self._built / PLAN_NAME, "index": self._index / INDEX_PLAN_NAME}
        self._originals = {what: path.read_bytes() for what, path in self._plans.items()}
        self._contents = {what: self._content(what) for what in self._plans}

    def _go_on(self, what: str) -> None:
        if what == "build":
            build_dataset(self._images, self._built, SETTINGS, progress=False)
        else:
            index_tars([self._tar], self._index, IndexSettings(global_size=32), progress=False)

    def _content(self, what: str) -> dict[str, bytes]:
        plan = self._plans[what]
        files = (path for path in plan.parent.iterdir() if path != plan)
        return {path.name: path.read_bytes() for path in files}

    def run(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        what = ("build", "index")[int(rng.integers(2))]
        path, original = self._plans[what], self._originals[what]
        if what == "index" and rng.random() < 0.6:
            path.write_bytes(mutated_json(rng, original))
        else:
            path.write_bytes(mutated(rng, original, WORDS))
        try:
            self._go_on(what)
            counts[f"{what}: taken"] += 1
        except InputError:
            counts[f"{what}: refused"] += 1
        finally:
            path.write_bytes(original)
        now, before = self._content(what), self._contents[what]
        changed = [name for name in now | before if now.get(name) != before.get(name)]
        assert not changed, f"{what}: {changed}"


if __name__ == "__main__":
    sys.exit(run_main(PlanTarget, __doc__ or ""))
