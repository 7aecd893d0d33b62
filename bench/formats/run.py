"""Measures the cells of ``glass bench decode --formats``, each of which is an image format at one size. For each cell,
writes the image files, builds shards from them, and runs all methods in alternating rounds."""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from bench.corpora.corpus import CROP_SIZE, build_corpus
from bench.corpora.encoded import FORMATS, encode, shrink_photographs, why_not, write_photographs
from bench.corpora.image_sets import ImageSet, spread
from bench.corpora.photographs import find_photographs
from bench.formats.methods import LABELS, METHODS, STORED, methods_of
from bench.harness.arguments import check_at_least, names_among, numbers, progress, scratch_folder
from bench.harness.harness import Measurement, Ratio, alternate, ratio
from bench.harness.result import row_of
from bench.harness.table import print_formats
from bench.harness.task import MethodInfo, Task
from bench.plots import plot_formats
from shards.build.settings import BuildSettings
from shards.errors import InputError
from shards.images.pixels import decode_rgb
from shards.optional import is_installed

__all__ = ["SECONDS_PER_CELL", "SIZES", "FormatsRun", "measure_formats"]

SIZES = "0.25,1,8"
SECONDS_PER_CELL = 60.0
KEPT = BuildSettings(lossless="keep", keep_progressive=True)
BUILT = BuildSettings(lossy="tiles")
PAIRS = (("kept", "decode_only"), ("tiles", "kept"), ("tiles", "decode_only"), ("baseline", "kept"))
FORMAT_LABELS = {name: one.label for name, one in FORMATS.items()}
WARM_UP_PASSES = 2
LEAST_IMAGES = 2


@dataclass
class FormatsRun:
    """Measures cells (image formats, each at one size) one by one, and collects their rows and ratios."""

    bench: str
    methods: Mapping[str, MethodInfo]
    num_crops: int
    cores: list[int]
    """The cores to which the processes are pinned, one per thread."""
    rounds: int
    seconds_per_round: float
    seconds_per_cell: float
    """Time budget in seconds for each cell, shared by all methods that decode whole files. A cell that would take
    longer uses fewer photographs, but at least two."""
    photographs_skipped: dict[str, int]
    rows: list[dict[str, Any]] = field(default_factory=list)
    ratios: dict[str, Ratio] = field(default_factory=dict)
    sets: list[ImageSet] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """Maps what was left out (a format, a method, or ``METHOD of FORMAT``) to the reason."""
    failed: dict[str, str] = field(default_factory=dict)

    def measure_cell(self, name: str, megapixels: float, images: Sequence[Path]) -> None:
        """Writes the images in the format ``name``, builds shards from them and measures all methods on them."""
        images = spread([*images], self._affordable(name, images[0]))
        with scratch_folder() as folder:
            progress(f"{FORMATS[name].label}, {megapixels:g} MP: writing {len(images)} images, building shards")
            paths = write_photographs(images, name, folder / "written")

            def image_set(settings: BuildSettings, place: str) -> ImageSet:
                corpus = build_corpus(folder / place, paths, [], settings)
                return ImageSet(name, corpus, self.photographs_skipped, megapixels)

            kept = image_set(KEPT, "kept")
            built = image_set(BUILT, "built") if FORMATS[name].stored_as in self.methods else None
            outcome = alternate([*self._tasks(name, kept, built)], self.rounds, progress)
            self._add(kept, built, outcome.measurements)
        self.skipped.update({f"{method} of {name}": why for method, why in outcome.skipped.items()})
        self.failed.update({f"{method} of {name}": why for method, why in outcome.failed.items()})

    def show(self) -> None:
        """Prints the table."""
        if not self.sets:
            print("none of the formats can be written here: give other --formats")
        for reason, number in self.photographs_skipped.items():
            print(f"  left out {number}: {reason}")
        photographs = {(one.kind, round(one.corpus.megapixels, 2)): len(one.corpus) for one in self.sets}
        print_formats(self.rows, LABELS, FORMAT_LABELS, photographs)

    def draw(self, output: Path) -> list[Path]:
        """Writes the plots to the folder ``output``."""
        return plot_formats(self.rows, LABELS, FORMAT_LABELS, output)

    def _affordable(self, name: str, image: Path) -> int:
        """Returns the number of images to use for a cell, at least two. With this number, the methods that decode whole
        files should together take at most ``seconds_per_cell``, including warm-up. Their time is estimated from one
        decode of ``image``.

        Without this limit, slow formats would take too long, because every round passes over all images at least once.
        For example, one pass over 16 HEIC files of 8 megapixels takes seven seconds per method.
        """
        whole = sum(method not in (*STORED, *self.skipped) and method in self.methods for method, _ in methods_of(name))
        with Image.open(image) as opened:
            data = encode(opened, name)
        start = time.perf_counter()
        decode_rgb(data)
        per_image = (time.perf_counter() - start) * whole * (self.rounds + WARM_UP_PASSES)
        return max(LEAST_IMAGES, int(self.seconds_per_cell / max(per_image, 1e-9)))

    def _tasks(self, format_name: str, kept: ImageSet, built: ImageSet | None) -> Iterator[Task]:
        for name, info in methods_of(format_name):
            read = built if name in STORED else kept
            if read is not None and name in self.methods and name not in self.skipped:
                yield Task(
                    method=name,
                    where=info.where,
                    data=str(read.corpus.root),
                    num_crops=self.num_crops,
                    threads=len(self.cores),
                    cores=self.cores,
                    seconds_per_round=self.seconds_per_round,
                    options=info.options or {"format": format_name},
                )

    def _add(self, kept: ImageSet, built: ImageSet | None, measured: Sequence[Measurement]) -> None:
        self.sets.append(kept)
        by_method = {one.task.method: one for one in measured}
        for name, one in by_method.items():
            read = built if built is not None and name in STORED else kept
            fields = {**read.row_fields, "crop_size": CROP_SIZE}
            self.rows.append(row_of(self.bench, one, read.corpus.megapixels, **fields))
        for above, below in PAIRS:
            if above in by_method and below in by_method:
                name = f"{above}_over_{below}@{kept.kind}{kept.suffix}"
                self.ratios[name] = ratio(by_method[above], by_method[below])


def measure_formats(
    bench: str, options: argparse.Namespace, crop_counts: Sequence[int], cores: Mapping[int, list[int]]
) -> FormatsRun:
    """Measures the formats of ``--formats``. Raises ``InputError`` naming the argument at fault."""
    names = names_among("--formats", options.formats, FORMATS) if options.formats else [*FORMATS]
    methods = names_among("--methods", options.methods, METHODS) if options.methods else [*METHODS]
    sizes = _checked_sizes(options, crop_counts, cores)
    found = find_photographs(options.photos, max(*sizes, options.min_megapixels))
    photographs = spread(found.paths, options.images)
    if len(photographs) < LEAST_IMAGES:
        raise InputError(
            f"--photos {options.photos}: contains only one photograph of {max(sizes):g} megapixels, but a comparison "
            "needs two: give another folder, or smaller --megapixels"
        )
    run = FormatsRun(
        bench,
        {name: info for name, info in METHODS.items() if name in methods},
        crop_counts[0],
        next(iter(cores.values())),
        options.rounds,
        options.seconds_per_round,
        SECONDS_PER_CELL if options.seconds_per_cell is None else options.seconds_per_cell,
        found.skipped,
    )
    run.skipped = {name: why for name in names if (why := why_not(name))}
    if "opencv" in run.methods and not is_installed("cv2"):  # once, not for every format
        run.skipped["opencv"] = "OpenCV is not installed: pip install opencv-python-headless"
    for size in sizes:
        with scratch_folder() as folder:
            progress(f"shrinking {len(photographs)} photographs to {size:g} MP")
            images = shrink_photographs(photographs, size, folder / "shrunk")
            for name in names:
                if name not in run.skipped:
                    run.measure_cell(name, size, images)
    return run


def _checked_sizes(
    options: argparse.Namespace, crop_counts: Sequence[int], cores: Mapping[int, list[int]]
) -> list[float]:
    """The sizes to measure, in megapixels. Raises ``InputError`` if arguments contradict each other."""
    if options.photos is None:
        raise InputError("--formats measures photographs: give --photos DIR")
    if options.peers:
        raise InputError("--peers read JPEGs only: leave out --peers or --formats")
    if len(crop_counts) > 1 or len(cores) > 1:
        raise InputError("--formats takes one number for --crops and one for --threads")
    check_at_least(LEAST_IMAGES, options, "images")
    if options.seconds_per_cell is not None and not 0 < options.seconds_per_cell <= 86400:
        raise InputError(f"--seconds-per-cell {options.seconds_per_cell:g}: must be above 0 and at most 86400")
    text = SIZES if options.megapixels is None else options.megapixels
    sizes = numbers("--megapixels", text)
    if not 0.01 <= min(sizes) <= max(sizes) <= 200:
        raise InputError(f"--megapixels {text}: must be from 0.01 to 200 with --formats")
    return sizes
