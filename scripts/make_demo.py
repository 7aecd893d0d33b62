"""Makes demo images: real ones by a camera model, generated ones by simulated generators.

    python -m scripts.make_demo OUT [--images 600] [--seed 0] [--photos DIR] [--workers N]

Writes OUT/real/*, OUT/generated/<generator>/*, OUT/images.csv (path, label, generator, group) and
OUT/README.txt. Same seed, same bytes, for any number of workers. It is a simulation: the scores of
a detector here are no evidence of its scores on the images of real generators.
"""

import argparse
import csv
import io
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from shards.cli.command import CommandParser, printable, run_command
from shards.cli.wording import counted
from shards.errors import InputError
from shards.files.atomic import write_text_atomic

from .arguments import script_parser
from .demo_images.generators import GENERATORS
from .demo_images.photos import MIN_PIXELS, Photo, find_photos, fingerprint, group_pictures
from .demo_images.plan import MIN_IMAGES, Job, Rendition, plan_drawn, plan_photos
from .demo_images.randomness import Stream, stream
from .demo_images.render import render_job

__all__ = ["main", "parser"]

LIST_NAME = "images.csv"
MAX_PHOTOS = 400  # all pairs are compared; more would only lengthen the start
MIN_PICTURES = 3  # one for each of train, valid and test

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]

README = """\
These images are a simulation, made by `python -m scripts.make_demo`.

real/       {scenes} seen by a camera model: colour mosaic, sensor noise, demosaic, sharpening.
generated/  {scenes} of the same kind, made anew by the last stage of {count} simulated generators:
            {names}.
images.csv  path, label, generator, group; renditions of one scene share a group, which must never
            be spread over training and test.

The classes differ at native resolution only, by how neighbouring pixels are correlated. Sizes,
formats and qualities are drawn alike for both. A detector that separates them shows that the
software works. It does not show how well the detector does on images of real generators.
"""


def main(argv: list[str] | None = None) -> int:
    """Makes the images; returns the exit code."""
    args = _parse(argv)
    start = time.perf_counter()
    _require_new(args.out)
    with _mapping(args.workers) as parallel_map:
        if args.photos:
            jobs = _plan_photos(args, parallel_map)
        else:
            jobs = plan_drawn(args.images, args.seed)
        megapixels = _render(jobs, args, parallel_map) / 1e6
    renditions = sorted((r for job in jobs for r in job.renditions), key=lambda r: r.number)
    _write_list(args.out, renditions, "parts of photographs" if args.photos else "drawn scenes")
    counts = Counter(rendition.generator or "real" for rendition in renditions)
    print(f"{counted(len(renditions), 'image')}, {megapixels / len(renditions):.2f} megapixels on average, of")
    print(f"{len({r.group for r in renditions})} groups in {time.perf_counter() - start:.0f} s:", end="")
    print("", ", ".join(f"{count} {name}" for name, count in counts.items()))
    print("A simulation: scores on these images say nothing about real generators.")
    print(f"List with labels and groups: {args.out / LIST_NAME}")
    return 0


def parser() -> CommandParser:
    """The command line."""
    parser = script_parser("make_demo", __doc__)
    parser.add_argument("out", metavar="OUT", type=Path, help="new folder for the images")
    parser.add_argument("--images", type=int, default=600, help="how many, half of them real (default: 600)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default: 0)")
    parser.add_argument("--photos", metavar="DIR", type=Path, help="cut the scenes from the photographs in DIR")
    parser.add_argument("--workers", type=int, default=_usable_cores(), help="processes (default: one per core)")
    return parser


def _parse(argv: list[str] | None) -> argparse.Namespace:
    command = parser()
    args = command.parse_args(argv)
    for name, least in (("images", MIN_IMAGES), ("seed", 0), ("workers", 1)):
        if getattr(args, name) < least:
            command.error(f"--{name} must be at least {least}, not {getattr(args, name)}")
    return args


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _require_new(out: Path) -> None:
    """Files of the user may neither be overwritten nor be mixed with those that are made."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: give the name of a new folder.")
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out} is not empty: give a new folder, or delete this one first.")


@contextmanager
def _mapping(workers: int) -> Iterator[Map]:
    """A ``map`` over ``workers`` processes, results in order; in this process where it is one."""
    if workers == 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")  # a forked copy of a threaded process can hang
    executor = ProcessPoolExecutor(workers, context, initializer=_ignore_interrupt)
    try:
        yield executor.map
    finally:
        executor.shutdown(cancel_futures=True)


def _ignore_interrupt() -> None:
    """Ctrl-C reaches every process; only the first one reports it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _plan_photos(args: argparse.Namespace, parallel_map: Map) -> list[Job]:
    paths = find_photos(args.photos)
    if len(paths) > MAX_PHOTOS:
        chosen = stream(args.seed, Stream.PHOTOS).choice(len(paths), MAX_PHOTOS, replace=False)
        print(f"using {MAX_PHOTOS} of the {len(paths)} photographs, chosen by the seed")
        paths = [paths[index] for index in sorted(chosen.tolist())]
    found = list(tqdm(parallel_map(fingerprint, paths), "reading photographs", len(paths), unit=" files"))
    photos = [photo for photo in found if isinstance(photo, Photo)]
    reasons = [reason for reason in found if isinstance(reason, str)]
    for reason, count in Counter(reasons).most_common():
        print(f"left out {count} of {counted(len(paths), 'file')}: {printable(reason)}")
    pictures = group_pictures(photos)
    if len(set(pictures)) < MIN_PICTURES:
        raise InputError(
            f"--photos {args.photos} holds {len(set(pictures))} usable different pictures and at "
            f"least {MIN_PICTURES} are needed: give photographs of {MIN_PIXELS / 1e6} megapixels "
            "or more."
        )
    return plan_photos(args.images, args.seed, photos, pictures)


def _render(jobs: Sequence[Job], args: argparse.Namespace, parallel_map: Map) -> int:
    """Makes and writes the images; returns how many pixels they have together."""
    pixels = 0
    try:
        for folder in ("real", *(f"generated/{name}" for name in GENERATORS)):
            (args.out / folder).mkdir(parents=True, exist_ok=True)
        render_one = partial(render_job, out=args.out, seed=args.seed)
        with tqdm(desc="making images", total=args.images, unit=" images") as progress:
            for job, made in zip(jobs, parallel_map(render_one, jobs), strict=True):
                pixels += made
                progress.update(len(job.renditions))
    except OSError as error:
        raise InputError(f"cannot make the images in {args.out}: {error}.") from error
    return pixels


def _write_list(out: Path, renditions: Sequence[Rendition], scenes: str) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "generator", "group"])
    for rendition in renditions:
        label = "generated" if rendition.generator else "real"
        writer.writerow([rendition.path, label, rendition.generator, rendition.group])
    readme = README.format(scenes=scenes, count=len(GENERATORS), names=", ".join(GENERATORS))
    try:
        write_text_atomic(out / "README.txt", readme)
        write_text_atomic(out / LIST_NAME, text.getvalue())  # last: its presence means "complete"
    except OSError as error:
        raise InputError(f"cannot write into {out}: {error}.") from error


if __name__ == "__main__":
    run_command(main)
