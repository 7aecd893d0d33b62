"""Makes demo images: real ones by a camera model, generated ones by simulated generators.

    glass make-demo OUT [--images 600] [--seed 0] [--photos DIR] [--workers N]
    glass make-demo OUT --photos DIR --networks [NAME,…] [--unseen NAME,…]

Writes OUT/real/*, OUT/generated/<generator>/*, OUT/images.csv (path, label, generator, group), OUT/README.txt, and
OUT/dataset_note.txt, which is shown with every verdict from a model trained on these images. The same seed gives the
same bytes, for any number of workers. The images are a simulation: a detector's scores on them say nothing about its
scores on images from real generators.

With --networks, real images are parts of the photographs. Generated images are parts that were shrunk and then enlarged
again by published networks (extra `networks`). In this case, images.csv has another column, split (train or test),
which is the same for all images cut from a picture. OUT/control.csv lists images enlarged without a network, to be
scored separately. The --unseen networks make images for the test split only. If the command was interrupted, run it
again to continue; the file OUT/finished marks a folder with all images.
"""

import argparse
import csv
import hashlib
import io
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from shards.build.workers import obey_parent
from shards.cli.command import CommandParser, printable, run_command
from shards.cli.progress import progress_bar
from shards.cli.wording import counted
from shards.errors import InputError
from shards.files.atomic import write_text_atomic
from shards.files.outputs import refuse_address
from shards.sources.note_file import NOTE_NAME

from .arguments import script_parser, thread_count
from .demo_images.networks import DEFAULT_NETWORKS, NETWORKS, require_networks
from .demo_images.photos import MIN_PIXELS, Photo, find_photos, fingerprint, group_pictures
from .demo_images.plan import MIN_IMAGES, Job, Rendition, plan_drawn, plan_photos
from .demo_images.randomness import Stream, stream
from .demo_images.readmes import NETWORKS_NOTE, SIMULATION_NOTE, of_networks, of_simulation
from .demo_images.render import render_job
from .demo_images.rerendering import CONTROLS, Cutting, PhotoJob, plan_rerendered, render_photo

__all__ = ["main", "parser"]

LIST_NAME = "images.csv"
UNFINISHED = "unfinished"
"""Name of the file that marks the folder as unfinished until all images are there. It holds the plan's digest."""
FINISHED = "finished"
"""The new name of this file when all images are there."""
MAX_PHOTOS = 400  # all pairs are compared; more would only lengthen the start
MIN_PICTURES = 3  # one for each of train, valid and test

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


def main(argv: list[str] | None = None) -> int:
    """Makes the images; returns exit code 0."""
    args = _parse(argv)
    start = time.perf_counter()
    if args.networks:
        require_networks((*args.networks, *args.unseen))
    refuse_address(args.out)
    _require_free(args.out)
    with _mapping(args.workers) as parallel_map:
        jobs, render_one = _plan(args, parallel_map)
        if _is_made(args.out, jobs, args.seed):
            print(f"{args.out} is already made, nothing to do")
            return 0
        _begin(args.out, jobs, args.seed)
        megapixels = _render(jobs, render_one, args, parallel_map) / 1e6
    renditions = sorted((r for job in jobs for r in job.renditions), key=lambda r: r.number)
    _write_lists(args, renditions)
    counts = Counter(rendition.path.parts[-2] for rendition in renditions)
    print(
        f"{counted(len(renditions), 'image')}, {megapixels / len(renditions):.2f} megapixels on average, of "
        f"{len({r.group for r in renditions})} groups in {time.perf_counter() - start:.0f} s: "
        + ", ".join(f"{count} {name}" for name, count in counts.items())
    )
    print(
        f"{_note(args)} ({args.out / NOTE_NAME}, which is shown with every verdict of a model trained on these images)"
    )
    print(f"List with labels and groups: {args.out / LIST_NAME}")
    return 0


def parser() -> CommandParser:
    """The command-line parser."""
    parser = script_parser("make_demo", __doc__)
    parser.add_argument("out", metavar="OUT", type=Path, help="new folder for the images")
    parser.add_argument(
        "--images",
        type=int,
        default=600,
        help="number of images, half of them real (default: 600); --networks adds further real ones, most of them "
        "enlarged by a filter",
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (default: 0)")
    parser.add_argument("--photos", metavar="DIR", type=Path, help="cut the scenes from the photographs in DIR")
    parser.add_argument(
        "--networks",
        metavar="NAME,…",
        nargs="?",
        type=_names,
        const=DEFAULT_NETWORKS,
        help="with --photos: make the generated images by published networks, instead of simulated generators: "
        f"{', '.join(NETWORKS)} (default: {','.join(DEFAULT_NETWORKS)})",
    )
    parser.add_argument(
        "--unseen",
        metavar="NAME,…",
        type=_names,
        default=(),
        help="with --networks: further networks, used for the test split only",
    )
    parser.add_argument(
        "--workers", type=thread_count, default="auto", help="number of processes (default: one per usable core)"
    )
    return parser


def _parse(argv: list[str] | None) -> argparse.Namespace:
    command = parser()
    args = command.parse_args(argv)
    for name, least in (("images", MIN_IMAGES), ("seed", 0)):
        if getattr(args, name) < least:
            command.error(f"--{name} must be at least {least}, not {getattr(args, name)}")
    if args.networks and not args.photos:
        command.error("--networks re-renders photographs: give a folder of them with --photos DIR")
    if args.unseen and not args.networks:
        command.error("--unseen adds networks to those of --networks: give --networks, too")
    if both := [name for name in args.unseen if name in args.networks]:
        command.error(f"--unseen {both[0]}: --networks has this network already: leave it out of one of the two")
    return args


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.split(",")))


def _require_free(out: Path) -> None:
    """Raises ``InputError`` if ``out`` is a file, or a folder with the user's own files, which must not be overwritten
    or mixed with demo images.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: give the name of a new folder")
    marked = any((out / name).is_file() for name in (UNFINISHED, FINISHED))
    if out.is_dir() and any(out.iterdir()) and not marked:
        raise _not_empty(out)


def _not_empty(out: Path) -> InputError:
    return InputError(f"{out} is not empty: give a new folder")


def _digest(jobs: Sequence[Job | PhotoJob], seed: int) -> str:
    return hashlib.sha256(repr((seed, jobs)).encode()).hexdigest()


def _is_made(out: Path, jobs: Sequence[Job | PhotoJob], seed: int) -> bool:
    """Whether the plan's images have all been made in ``out``. Raises ``InputError`` if other images have, or if some
    were removed since.
    """
    mark = out / FINISHED
    if (out / UNFINISHED).is_file() or not mark.is_file():
        return False
    whole = all((out / rendition.path).is_file() for job in jobs for rendition in job.renditions)
    if not whole or mark.read_bytes() != _digest(jobs, seed).encode():
        raise _not_empty(out)
    return True


def _begin(out: Path, jobs: Sequence[Job | PhotoJob], seed: int) -> None:
    """Marks ``out`` as unfinished, with the plan's digest. Raises ``InputError`` if it is already marked with another
    plan's digest.
    """
    plan = _digest(jobs, seed)
    mark = out / UNFINISHED
    try:
        if mark.is_file():
            if mark.read_text(encoding="utf-8", errors="replace") != plan:
                raise InputError(
                    f"{out} holds the unfinished images of another command: repeat that command, or give a new folder"
                )
            print(f"continuing in {out}: existing images are kept")
        else:
            out.mkdir(parents=True, exist_ok=True)
            write_text_atomic(mark, plan)
    except OSError as error:
        raise InputError(f"cannot write into {out}: {error}.") from error


@contextmanager
def _mapping(workers: int) -> Iterator[Map]:
    """Context manager: a ``map`` over ``workers`` processes that keeps results in order. If there is only one worker,
    this process does the work itself.
    """
    if workers == 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")  # a forked copy of a threaded process can hang
    executor = ProcessPoolExecutor(workers, context, initializer=obey_parent)
    try:
        yield executor.map
    finally:
        executor.shutdown(cancel_futures=True)


def _plan(args: argparse.Namespace, parallel_map: Map) -> tuple[Sequence[Job | PhotoJob], Callable[..., int]]:
    """The jobs, and the function that makes a job's images."""
    if not args.photos:
        return plan_drawn(args.images, args.seed), render_job
    photos, pictures = _photos(args, parallel_map)
    if args.networks:
        jobs = plan_rerendered(args.images, args.seed, photos, pictures, args.networks, args.unseen)
        return jobs, render_photo
    return plan_photos(args.images, args.seed, photos, pictures), render_job


def _photos(args: argparse.Namespace, parallel_map: Map) -> tuple[list[Photo], list[int]]:
    """Returns the usable photographs, and the index of the picture in each."""
    paths = find_photos(args.photos)
    if len(paths) > MAX_PHOTOS:
        chosen = stream(args.seed, Stream.PHOTOS).choice(len(paths), MAX_PHOTOS, replace=False)
        print(f"using {MAX_PHOTOS} of the {len(paths)} photographs, chosen by the seed")
        paths = [paths[index] for index in sorted(chosen.tolist())]
    found = list(progress_bar(len(paths), "reading photographs", over=parallel_map(fingerprint, paths), unit=" files"))
    photos = [photo for photo in found if isinstance(photo, Photo)]
    reasons = [reason for reason in found if isinstance(reason, str)]
    for reason, count in Counter(reasons).most_common():
        print(f"left out {count} of {counted(len(paths), 'file')}: {printable(reason)}")
    pictures = group_pictures(photos)
    if len(set(pictures)) < MIN_PICTURES:
        raise InputError(
            f"--photos {args.photos} holds {len(set(pictures))} usable pictures that differ, but at least "
            f"{MIN_PICTURES} are needed: give more photographs of {MIN_PIXELS / 1e6} megapixels or more."
        )
    return photos, pictures


def _render(
    jobs: Sequence[Job | PhotoJob], render_one: Callable[..., int], args: argparse.Namespace, parallel_map: Map
) -> int:
    """Makes and writes the images. Returns their total number of pixels."""
    pixels = 0
    renditions = [rendition for job in jobs for rendition in job.renditions]
    try:
        for folder in sorted({rendition.path.parent for rendition in renditions}):
            (args.out / folder).mkdir(parents=True, exist_ok=True)
        make = partial(render_one, out=args.out, seed=args.seed)
        with progress_bar(len(renditions), "making images") as progress:
            for job, made in zip(jobs, parallel_map(make, jobs), strict=True):
                pixels += made
                progress.update(len(job.renditions))
    except OSError as error:
        raise InputError(f"cannot make the images in {args.out}: {error}.") from error
    return pixels


def _write_lists(args: argparse.Namespace, renditions: Sequence[Rendition | Cutting]) -> None:
    cuttings = [rendition for rendition in renditions if isinstance(rendition, Cutting)]
    control = [cutting for cutting in cuttings if cutting.maker in CONTROLS]
    of_a_class = [rendition for rendition in renditions if rendition not in control]
    if args.networks:
        readme = of_networks(args.networks, args.unseen)
    else:
        readme = of_simulation("parts of photographs" if args.photos else "drawn scenes")
    try:
        write_text_atomic(args.out / "README.txt", readme)
        write_text_atomic(args.out / NOTE_NAME, f"{_note(args)}\n")
        if control:
            write_text_atomic(args.out / "control.csv", _list(control))
        write_text_atomic(args.out / LIST_NAME, _list(of_a_class))  # after everything it lists
        (args.out / UNFINISHED).replace(args.out / FINISHED)
    except OSError as error:
        raise InputError(f"cannot write into {args.out}: {error}.") from error


def _note(args: argparse.Namespace) -> str:
    return NETWORKS_NOTE if args.networks else SIMULATION_NOTE


def _list(renditions: Sequence[Rendition | Cutting]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    with_split = isinstance(renditions[0], Cutting)
    writer.writerow(["path", "label", "generator", "group", *(["split"] if with_split else [])])
    for rendition in renditions:
        label = "generated" if rendition.generator else "real"
        split = [rendition.split] if isinstance(rendition, Cutting) else []
        writer.writerow([rendition.path, label, rendition.generator, rendition.group, *split])
    return text.getvalue()


if __name__ == "__main__":
    run_command(main)
