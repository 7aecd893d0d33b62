"""Packs images into shards: ``glass build SRC OUT``.

SRC is a folder with subfolders named by class, split and generator, such as real/ and generated/GENERATOR/, at any
depth; an archive of such a folder; a list in CSV, JSON lines or Parquet with columns
path,label[,generator,group,split]; or Parquet with the images inside, as on the Hugging Face hub. Except an archive,
each of these may be in a store: s3://…, gs://…, http(s)://…, hf://…. --dry-run shows how SRC is understood. An
interrupted build continues when the same command is run again.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from shards.build.build import ENGINES, BuildReport, build_dataset, drawn_again
from shards.build.equalise import METHODS
from shards.build.settings import DEFAULT_SPLIT, LOSSLESS_FORMS, LOSSY_FORMS, BuildSettings
from shards.build.split import parse_shares
from shards.cli.command import CommandParser, one_line, run_command
from shards.cli.shown_url import as_url, shown_url
from shards.cli.wording import counted
from shards.dry_run.description import describe_sources
from shards.errors import InputError
from shards.images.rejection import REASONS
from shards.images.stored_form import STORED_FORMATS
from shards.manifest.group_list import read_group_list
from shards.manifest.schema import SPLITS
from shards.manifest.tiled_bytes import describe_price
from shards.sources.note_file import NOTE_NAME
from shards.sources.read import read_sources
from shards.sources.source_list import SourceRules, lacking_classes
from shards.sources.words import Words, parse_labels

from .arguments import (
    add_groups,
    add_note,
    add_skip,
    add_workers,
    at_least_one,
    given_note,
    script_parser,
    skipped_names,
)

__all__ = ["main", "summary"]


def parser() -> CommandParser:
    """The command-line parser."""
    parser = script_parser("build_shards", description=__doc__.split("\n\n")[1])
    parser.add_argument("source", metavar="SRC", help="folder or list of images: a path or a URL")
    parser.add_argument("out", metavar="OUT", nargs="?", help="folder for the data set, or s3://… or gs://…")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print how SRC is understood (classes, generators, splits, formats, skipped files), and build nothing",
    )
    _add_understanding(parser)
    parser.add_argument(
        "--split",
        default=DEFAULT_SPLIT,
        metavar="TRAIN,VALID,TEST[,CALIBRATION]",
        help="shares of the splits, which add up to 1; a list may name the split of each image in a column split "
        "instead (default %(default)s)",
    )
    parser.add_argument(
        "--split-seed",
        type=int,
        default=606,
        metavar="N",
        help="seed of the splits and of the order within shards (default %(default)s)",
    )
    add_groups(parser)
    add_note(parser, f" (default: the text of a file {NOTE_NAME} in SRC or beside a list)")
    parser.add_argument(
        "--samples-per-shard", type=int, default=1000, metavar="N", help="most samples in a shard; default %(default)s"
    )
    add_workers(parser)
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="local",
        help="local: processes on this machine; ray: the cluster at RAY_ADDRESS, which needs SRC and OUT at the same "
        "paths on all machines, or in a store (default %(default)s)",
    )
    _add_stored_form(parser)
    parser.add_argument(
        "--reject-unreadable",
        action="store_true",
        help="continue without files that cannot be read from the disk or the network file system even after several "
        "tries (reason io in rejected.parquet); by default, such a file ends the build",
    )
    return parser


def _add_understanding(parser: CommandParser) -> None:
    """Adds the arguments that control how the source's names and labels are interpreted."""
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="WORD=real|generated",
        help="which class a folder name or a label stands for, such as 0=real (repeatable); overrides the known "
        "words, such as real, nature, fake, ai",
    )
    add_skip(parser)
    parser.add_argument(
        "--generator-level",
        type=at_least_one,
        metavar="N",
        help="which level of folders below SRC names the generator, 1 for the first (default: the first folder whose "
        "name stands for neither a class nor a split)",
    )
    parser.add_argument(
        "--no-given-split",
        dest="given_split",
        action="store_false",
        help="draw all splits, and ignore those given by a list or by folders such as train/ and test/",
    )


def _add_stored_form(parser: CommandParser) -> None:
    """Adds the arguments that control how images are stored."""
    parser.add_argument(
        "--global-size",
        type=int,
        default=224,
        metavar="PIXELS",
        help="side of the stored global views (default %(default)s)",
    )
    parser.add_argument(
        "--lossless",
        choices=LOSSLESS_FORMS,
        default="tile",
        help="tile: PNG, BMP, TIFF and lossless WebP become tiled TIFF with the same pixels, whose crops are read "
        "many times faster; keep: they stay as they are (default %(default)s)",
    )
    parser.add_argument(
        "--lossy",
        choices=LOSSY_FORMS,
        default="keep",
        help="tiles: lossy WebP, AVIF, HEIC, JPEG XL, JPEG 2000, GIF, palettes and JPEGs in CMYK or with arithmetic "
        "coding also become tiled TIFF with the same pixels, whose crops are read many times faster but which "
        "take many times the space (docs/data.md); --dry-run estimates both sizes (default %(default)s)",
    )
    parser.add_argument(
        "--lossy-over",
        type=float,
        default=0.0,
        metavar="MP",
        help="with --lossy tiles: only images of more than MP megapixels",
    )
    parser.add_argument(
        "--keep-progressive",
        action="store_true",
        help="keep progressive JPEGs as they are; by default they become baseline JPEGs with the same pixels",
    )
    parser.add_argument(
        "--equalise",
        choices=METHODS,
        default="none",
        help="match: leave out images until the files of both classes look alike in all that shows in the pixels "
        "(rejected.parquet lists the images left out); recompress: re-encode all images as JPEG of one quality, "
        "which changes their pixels (default %(default)s)",
    )


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns exit code 0. Raises ``InputError`` for a user error."""
    arguments = parser().parse_args(argv)
    settings = BuildSettings(
        split_shares=parse_shares(arguments.split),
        split_seed=arguments.split_seed,
        samples_per_shard=arguments.samples_per_shard,
        global_size=arguments.global_size,
        lossless=arguments.lossless,
        lossy=arguments.lossy,
        lossy_over=arguments.lossy_over,
        keep_progressive=arguments.keep_progressive,
        equalise=arguments.equalise,
        note=given_note(arguments),
    )
    rules = SourceRules(
        Words(parse_labels(arguments.label), frozenset(skipped_names(arguments))),
        generator_level=arguments.generator_level,
        given_split=arguments.given_split,
    )
    if arguments.dry_run:
        sources = read_sources(arguments.source, rules)
        if arguments.groups is not None:
            listed = counted(len(read_group_list(arguments.groups).groups), "image")
            sources.notes.append(
                f"{arguments.groups} groups {listed}, but a dry run does not match them with those of SRC"
            )
        sources.notes.extend(drawn_again(sources, settings))
        if note := settings.note or sources.dataset_note():
            sources.notes.append(f"note: {note}")
        shown = shown_url(as_url(arguments.source) or arguments.source)
        for line in describe_sources(sources, shown, settings.lossy_over):
            print(one_line(line))
        return 0
    if arguments.out is None:
        raise InputError("OUT is missing: give a folder for the data set, or --dry-run to see what SRC holds")
    report = build_dataset(
        arguments.source,
        arguments.out,
        settings,
        arguments.workers,
        engine=arguments.engine,
        on_note=lambda note: print(one_line(note), flush=True),
        reject_unreadable=arguments.reject_unreadable,
        rules=rules,
        groups=arguments.groups,
    )
    for line in summary(replace(report, notes=[]), arguments.out):
        print(one_line(line))
    return 0


def summary(report: BuildReport, out: str | Path) -> list[str]:
    """Returns lines that tell the user the result of ``glass build`` or ``glass index``."""
    info, out = report.info, shown_url(as_url(out) or str(out))
    if report.finished_before:
        return [f"{out} is already built, nothing to do: {counted(info.num_samples, 'sample')}"]
    lines = list(report.notes)
    one_class: list[str] = []
    verb = "continued and finished" if report.continued else "built"
    lines.append(f"{verb} {out}: {counted(info.num_samples, 'sample')} in {counted(len(info.shards), 'shard')}")
    for split in SPLITS:
        if split in info.counts:
            counts = info.counts[split]
            labels = [0] * bool(counts.real) + [1] * bool(counts.generated)
            one_class += lacking_classes([split] * len(labels), labels)
            lines.append(
                f"  {split:<12}{counts.samples:>10,}  real {counts.real:,}, "
                f"generated {counts.generated:,}{_in_brackets(counts.generators)}"
            )
    lines += one_class
    if info.note:
        lines.append(f"  note: {info.note}")
    if info.equalised:
        lines.append(f"  equalised: {info.equalised}")
    same_pixels = [name for name in STORED_FORMATS if name != "recompressed"]
    converted = {name: info.stored_as[name] for name in same_pixels if name in info.stored_as}
    if converted:
        listed = ", ".join(f"{count:,} {name}" for name, count in converted.items())
        lines.append(f"  stored in another format, with the same pixels: {listed}")
    if info.tiled:
        lines.append(f"  size as tiles ÷ size before: {describe_price(info.tiled)}")
    if info.not_indexable:
        listed = ", ".join(f"{count:,} ({reason})" for reason, count in info.not_indexable.items())
        lines.append(f"  stored without entry points: {listed}")
    if info.rejected:
        lines.append(f"rejected {counted(sum(info.rejected.values()), 'image')}, listed in {out}/rejected.parquet:")
        lines += [f"  {count:>10,}  {name}: {REASONS[name]}" for name, count in info.rejected.items()]
    return lines


def _in_brackets(counts: Mapping[str, int]) -> str:
    listed = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return f" ({listed})" if listed else ""


if __name__ == "__main__":
    run_command(main)
