"""``glass bench build``: measures the per-image cost of building shards, relative to one full decode of the same image.

Question: how much longer does it take to build a sample than to decode the image once with Pillow, and how many bytes
do the entry points add? Method: as in ``glass bench decode``, all files are in the page cache, each method has its own
process, and the methods take turns. The files are image members extracted from shards, so all JPEGs are baseline. A
progressive JPEG would cost more, because the build would have to convert it first. Writing the tar is not timed.

    glass bench build --photos DIR --rounds 5
"""

import argparse
from typing import Any

from bench.corpora.image_sets import ImageSet, add_images, build_image_sets, entry_point_ratios, reference_set
from bench.harness.arguments import add_measuring, bench_parser, check_measuring, progress, scratch_folder
from bench.harness.environment import environment, warn_if_busy
from bench.harness.harness import Measurement, Ratio, alternate, ratio
from bench.harness.result import ratio_fields, row_of
from bench.harness.schemas import print_result
from bench.harness.table import print_about, print_image_sets, print_ratios, print_rows, print_skipped
from bench.harness.task import MethodInfo, Task
from shards.cli.command import CommandParser

__all__ = ["main", "parser"]

BENCH = "build"
METHODS = {
    "pillow_decode": MethodInfo("Pillow decodes the whole image, once", "bench.methods.building:PillowDecode"),
    "entry_points": MethodInfo(
        "the pass through the scan that records entry points", "bench.methods.building:EntryPoints"
    ),
    "build_sample": MethodInfo(
        "a whole sample: decode, metadata, hashes, global view, entry points", "bench.methods.building:BuildSample"
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Runs the bench. Returns 0, or 1 if a method crashed."""
    options = parser().parse_args(argv)
    cores = check_measuring(options)
    found = environment(cores[max(cores)])
    warn_if_busy(found)
    rows: list[dict[str, Any]] = []
    ratios: dict[str, Ratio] = {}
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    with scratch_folder() as folder:
        sets = build_image_sets(options, folder, crop_counts=[])
        for image_set in sets:
            outcome = alternate(_tasks(image_set, options, cores), options.rounds, progress)
            suffix = "" if image_set is reference_set(sets) else image_set.suffix
            one_cell = [m for m in outcome.measurements if m.task.threads == min(cores)]
            found_here = {**_ratios(one_cell), **entry_point_ratios(image_set)}
            ratios.update({name + suffix: value for name, value in found_here.items()})
            skipped.update(outcome.skipped)
            failed.update(outcome.failed)
            rows += [
                row_of(BENCH, measurement, image_set.corpus.megapixels, **image_set.row_fields)
                for measurement in outcome.measurements
            ]
    document: dict[str, Any] = {
        "bench": BENCH,
        "rows": rows,
        **ratio_fields(ratios),
        "environment": found,
        "image_sets": [image_set.describe() for image_set in sets],
        "methods": {name: info.about for name, info in METHODS.items()},
        "skipped": skipped,
        "failed": failed,
    }
    print_image_sets(document["image_sets"])
    print_rows(rows, "medians over alternated rounds")
    print_about(document["methods"])
    print_ratios(document["ratios"], document["ratio_ranges"], "\nratios, round by round")
    print_skipped(skipped, failed)
    print_result(document, options.output, BENCH)
    return 1 if failed else 0


def parser() -> CommandParser:
    """The command-line parser."""
    parser = bench_parser(BENCH, "Time to build a sample and its entry points, against one full decode.")
    add_images(parser)
    add_measuring(parser, threads="1")
    return parser


def _tasks(image_set: ImageSet, options: argparse.Namespace, cores: dict[int, list[int]]) -> list[Task]:
    return [
        Task(
            method=name,
            where=info.where,
            data=str(image_set.corpus.root),
            num_crops=0,
            threads=threads,
            cores=cores[threads],
            seconds_per_round=options.seconds_per_round,
        )
        for threads in cores
        for name, info in METHODS.items()
    ]


def _ratios(measured: list[Measurement]) -> dict[str, Ratio]:
    """Returns, for each method, its time per image divided by that of ``pillow_decode``. Both times are the reciprocals
    of measured images per second."""
    by_method = {measurement.task.method: measurement for measurement in measured}
    decode = by_method.get("pillow_decode")
    return {
        f"{name}_time_over_pillow_decode": ratio(decode, measurement)
        for name, measurement in by_method.items()
        if decode is not None and measurement is not decode
    }
