"""``glass bench decode``: compares this loader with other ways to make a global view and N crops of each image.

Question: how does the time per sample depend on the method, the number of crops, the image size and the number of
threads? Method: shards are built from the photographs, and all methods work on the same files, which are in the page
cache. Each method runs in its own process, pinned to one core per thread. Methods take turns (A B C A B C …). A turn
consists of whole passes over all files; it starts with empty queues and ends when the last result is available. The
bench reports the median, minimum and maximum over the rounds, and computes ratios round by round. Below the table, one
line per method states which work it includes and which it omits.

    glass bench decode --photos DIR --crops 1,2,4,8,16 --threads 1,2 --output runs/bench
    glass bench decode --megapixels 1,3,12,48 --crops 4 --cache runs/synthetic

If ``--formats`` is given, the photographs are shrunk to each size and encoded in each format. The loader reads two data
sets: shards of these files unchanged, and shards for which the build converted the files so that single crops can be
read. Pillow, OpenCV and torchvision read the files.

    glass bench decode --formats --photos DIR --images 16 --output runs/bench
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.corpora.corpus import CROP_SIZE
from bench.corpora.encoded import FORMATS
from bench.corpora.image_sets import (
    SYNTHETIC,
    ImageSet,
    add_images,
    build_image_sets,
    entry_point_ratios,
    reference_set,
)
from bench.formats.methods import METHODS as FORMAT_METHODS
from bench.formats.run import SECONDS_PER_CELL, SIZES, measure_formats
from bench.harness.arguments import (
    add_measuring,
    bench_parser,
    check_measuring,
    names_among,
    progress,
    scratch_folder,
    whole_numbers,
)
from bench.harness.environment import environment, warn_if_busy
from bench.harness.harness import Measurement, Outcome, Ratio, alternate, ratio
from bench.harness.result import method_ratios, ratio_fields, reference_crops, row_of, thread_ratios
from bench.harness.schemas import print_result
from bench.harness.table import print_about, print_image_sets, print_ratios, print_rows, print_skipped
from bench.harness.task import MethodInfo, Task
from bench.methods import LABELS, METHODS
from bench.peers import PEERS
from bench.plots import plot_rows
from shards.cli.command import CommandParser
from shards.errors import InputError

__all__ = ["main", "parser"]

BENCH = "decode"
SIZE_METHOD = "window"
"""The method whose speed is compared across image sizes and numbers of threads."""


def main(argv: list[str] | None = None) -> int:
    """Runs the bench. Returns 0, or 1 if a method crashed."""
    options = parser().parse_args(argv)
    if options.formats is None and options.seconds_per_cell is not None:
        raise InputError(
            "--seconds-per-cell works with --formats only: give --formats, too, or leave out --seconds-per-cell"
        )
    crop_counts = whole_numbers("--crops", options.crops)
    cores = check_measuring(options)
    found = environment(cores[max(cores)])
    warn_if_busy(found)
    measure = _measure if options.formats is None else measure_formats
    run = measure(BENCH, options, crop_counts, cores)
    document: dict[str, Any] = {
        "bench": BENCH,
        "rows": run.rows,
        **ratio_fields(run.ratios),
        "environment": found,
        "image_sets": [image_set.describe() for image_set in run.sets],
        "methods": {name: info.about for name, info in run.methods.items()},
        "skipped": run.skipped,
        "failed": run.failed,
    }
    print(f"{found['cpu']}, cores {found['cores_used']}, commit {found['commit']}, {found['date']}")
    print("files in the page cache; each turn is timed from empty queues to the last result\n")
    run.show()
    print_about(document["methods"])
    print_ratios(document["ratios"], document["ratio_ranges"], "\nratios, round by round")
    print_skipped(document["skipped"], document["failed"])
    print_result(document, options.output, BENCH, run.draw)
    return 1 if run.failed else 0


def parser() -> CommandParser:
    """The command-line parser."""
    parser = bench_parser(BENCH, "Decoding images into a global view and N crops: our loader and alternatives.")
    add_images(parser)
    parser.add_argument("--crops", default="4", metavar="N,…", help="crops per image")
    parser.add_argument(
        "--methods", metavar="NAME,…", help=f"only these methods (default: all of {', '.join(METHODS)})"
    )
    parser.add_argument(
        "--peers",
        action="store_true",
        help=f"also measure other libraries on the same work, if installed: {', '.join(PEERS)}",
    )
    parser.add_argument(
        "--formats",
        nargs="?",
        const="",
        metavar="NAME,…",
        help="instead measure the photographs of --photos in these formats (without NAME in all: "
        f"{', '.join(FORMATS)}) and in the sizes --megapixels (then by default {SIZES}), by the loader, Pillow, "
        f"OpenCV and torchvision; --methods then chooses from {', '.join(FORMAT_METHODS)}",
    )
    parser.add_argument(
        "--seconds-per-cell",
        type=float,
        metavar="S",
        help="with --formats: take as many photographs for each format and size as all methods together can decode "
        f"whole in about this time, over all rounds, but at least two (default: {SECONDS_PER_CELL})",
    )
    add_measuring(parser, threads="1")
    return parser


def _measure(
    bench: str, options: argparse.Namespace, crop_counts: Sequence[int], cores: Mapping[int, list[int]]
) -> "_Run":
    """Measures all methods on all sets of images. Raises ``InputError`` naming the argument at fault."""
    run = _Run(bench, options.rounds, options.seconds_per_round, _chosen(options), cores)
    with scratch_folder() as folder:
        run.sets = build_image_sets(options, folder, crop_counts)
        for image_set in run.sets:
            for num_crops in crop_counts:
                run.measure_cell(image_set, num_crops)
        run.compare(run.sets, reference_crops(crop_counts))
    return run


def _chosen(options: argparse.Namespace) -> dict[str, MethodInfo]:
    """The selected methods, in registry order."""
    known = {**METHODS, **PEERS}
    if options.methods is None:
        return {**METHODS, **(PEERS if options.peers else {})}
    names = names_among("--methods", options.methods, known)
    return {name: info for name, info in known.items() if name in names or (options.peers and name in PEERS)}


@dataclass
class _Run:
    """Measures cells (combinations of an image set and a crop count) one by one.

    Collects the table's rows, and the ratios between the speeds of two methods.
    """

    bench: str
    rounds: int
    seconds_per_round: float
    methods: Mapping[str, MethodInfo]
    cores: Mapping[int, list[int]]
    sets: list[ImageSet] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    ratios: dict[str, Ratio] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    _cells: dict[tuple[str, int], list[Measurement]] = field(default_factory=dict)

    def measure_cell(self, image_set: ImageSet, num_crops: int) -> None:
        """Measures every combination of method and thread count on one image set. The combinations take turns."""
        progress(f"measuring {image_set.suffix[1:]} with {num_crops} crops")
        tasks = [
            self._task(name, image_set, num_crops, threads)
            for threads in self.cores
            for name in self.methods
            if name not in self.skipped
        ]
        measured = self._alternate(tasks)
        self._cells[image_set.suffix, num_crops] = measured
        fields = {**image_set.row_fields, "crop_size": CROP_SIZE}
        self.rows += [row_of(self.bench, one, image_set.corpus.megapixels, **fields) for one in measured]

    def compare(self, sets: Sequence[ImageSet], num_crops: int) -> None:
        """Computes the ratios at ``num_crops`` crops. Ratio names end with the image set's suffix, except for the
        reference set."""
        reference = reference_set(sets)
        self._add_ratios(reference, num_crops, "")
        for image_set in sets:
            if image_set is not reference:
                self._add_ratios(image_set, num_crops, image_set.suffix)
        by_size = [image_set for image_set in sets if image_set.kind == SYNTHETIC]
        if len(by_size) > 1 and SIZE_METHOD in self.methods:
            self.ratios.update(self._size_ratios(by_size, num_crops))

    def show(self) -> None:
        """Prints the results in human-readable form."""
        print_image_sets([image_set.describe() for image_set in self.sets])
        print_rows(self.rows, "medians over alternated rounds")
        for row in self.rows:
            if row["method"] == SIZE_METHOD and row["windowed_share"] < 1:
                print(
                    f"{row['images']} {row['megapixels']} megapixels: only {row['windowed_share']:.0%} of the images "
                    "could be read by windows; the others were decoded whole"
                )

    def draw(self, output: Path) -> list[Path]:
        """Writes the plots to the folder ``output``."""
        return plot_rows(self.rows, LABELS, output)

    def _add_ratios(self, image_set: ImageSet, num_crops: int, suffix: str) -> None:
        measured = self._cells[image_set.suffix, num_crops]
        one_cell = [m for m in measured if m.task.threads == min(self.cores)]
        found = {
            **method_ratios(one_cell, PEERS),
            **thread_ratios(measured, SIZE_METHOD),
            **entry_point_ratios(image_set),
        }
        self.ratios.update({name + suffix: value for name, value in found.items()})

    def _size_ratios(self, sets: Sequence[ImageSet], num_crops: int) -> dict[str, Ratio]:
        """Measures all image sizes again, in interleaved rounds. Returns ``SIZE_METHOD``'s images per second at the
        larger size ÷ those at the smaller, for each pair of sizes. Empty if the method failed at any size."""
        progress(f"measuring {SIZE_METHOD} on all sizes in turn")
        ordered = sorted(sets, key=lambda image_set: image_set.corpus.megapixels)
        tasks = [self._task(SIZE_METHOD, s, num_crops, min(self.cores)) for s in ordered]
        measured = self._alternate(tasks)
        if len(measured) < len(ordered):
            return {}
        names = [image_set.suffix[1:] for image_set in ordered]
        return {
            f"{SIZE_METHOD}_{names[above]}_over_{names[below]}": ratio(measured[above], measured[below])
            for below in range(len(ordered))
            for above in range(below + 1, len(ordered))
        }

    def _task(self, name: str, image_set: ImageSet, num_crops: int, threads: int) -> Task:
        info = self.methods[name]
        return Task(
            method=name,
            where=info.where,
            data=str(image_set.corpus.root),
            num_crops=num_crops,
            threads=threads,
            cores=self.cores[threads],
            seconds_per_round=self.seconds_per_round,
            options=info.options,
        )

    def _alternate(self, tasks: Sequence[Task]) -> list[Measurement]:
        outcome: Outcome = alternate(tasks, self.rounds, progress)
        for name, reason in outcome.skipped.items():
            hint = "; pip install -e '.[peers]' in its own environment" if name in PEERS else ""
            self.skipped[name] = reason + hint
        self.failed.update(outcome.failed)
        return outcome.measurements
