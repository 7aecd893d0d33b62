"""Indexes tars made elsewhere: ``glass index TAR… [--out DIR]``.

TAR is a plain WebDataset tar, or a folder of such tars. The tars stay unchanged. Beside them, or in DIR, the command
writes a sidecar for each tar (global views and entry points) and the other files that a data set needs. Labels come
from samples' members, from folder or tar names, or from a list; if no rules are given, they are guessed from the first
samples and printed.
"""

from pathlib import Path

from shards.adopt.adopt import index_tars
from shards.adopt.dry_run import describe_tars
from shards.adopt.settings import IndexSettings, parse_values
from shards.build.settings import DEFAULT_SPLIT
from shards.cli.command import CommandParser, one_line, run_command

from .arguments import add_groups, add_note, add_skip, add_workers, given_note, script_parser, skipped_names
from .build_shards import summary

__all__ = ["main", "parser"]


def parser() -> CommandParser:
    """The command-line parser."""
    parser = script_parser("index_shards", description=__doc__.split("\n\n")[1])
    parser.add_argument(
        "tars", metavar="TAR", nargs="+", type=Path, help="tar, pattern, or folder that contains tars at any depth"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print how the tars are understood (classes and by which rule, generators, splits, what is left out), "
        "and write nothing",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of the data set (default: the folder given, or the one that contains the tars)",
    )
    _add_meaning(parser)
    parser.add_argument(
        "--image-ext",
        default="",
        metavar="EXT,…",
        help="extensions of the images in order of preference, such as png,jpg or input.jpg",
    )
    parser.add_argument(
        "--last-dot",
        action="store_true",
        help="a sample's key ends at the last dot of a name, so that sd1.5_0001.jpg is a sample of its own; by "
        "default it ends at the first dot, as in WebDataset",
    )
    parser.add_argument(
        "--split",
        default="auto",
        metavar="SHARES|name",
        help="TRAIN,VALID,TEST[,CALIBRATION], or name: each tar's name begins with its split (default: name if all "
        f"do, else {DEFAULT_SPLIT})",
    )
    parser.add_argument(
        "--split-seed", type=int, default=606, metavar="N", help="seed of the splits; default %(default)s"
    )
    parser.add_argument(
        "--global-size", type=int, default=224, metavar="PIXELS", help="side of the global views (default %(default)s)"
    )
    add_workers(parser)
    return parser


def _add_meaning(parser: CommandParser) -> None:
    """Adds the arguments that say where to find labels, generators and groups, and what the words there mean."""
    parser.add_argument(
        "--label-from",
        metavar="RULE",
        help="where labels come from; cls or txt: that member; json:KEY: a field of the .json member; folder: the "
        "folders in the names of members; tar: the name of the tar or of its folder; or a .csv or .parquet list "
        "with the columns key,label[,tar,generator,group,split] (default: guessed from the first samples)",
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="WORD=real|generated",
        help="which class a label, or a word in the name of a folder or tar, stands for, such as 1=real (repeatable); "
        "overrides the known words, such as real, nature, fake, ai, and 0 (real) and 1 (generated)",
    )
    add_skip(parser)
    for name in ("real", "generated"):
        parser.add_argument(f"--{name}", default="", metavar="VALUES", help=f"--label VALUE={name} for each VALUE")
    parser.add_argument(
        "--generator-from",
        metavar="RULE",
        help="where generators come from: json:KEY or txt (default: the folder below the label's, or json:generator)",
    )
    parser.add_argument(
        "--group-from",
        metavar="RULE",
        help="where groups come from: json:KEY or txt; samples of a group share a split (default: json:group)",
    )
    add_groups(parser)
    add_note(parser)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns exit code 0. Raises ``InputError`` for a user error."""
    arguments = parser().parse_args(argv)
    settings = IndexSettings(
        split=arguments.split,
        split_seed=arguments.split_seed,
        label_from=arguments.label_from,
        generator_from=arguments.generator_from,
        group_from=arguments.group_from,
        values=parse_values(_listed(arguments.real), _listed(arguments.generated), arguments.label),
        skip=tuple(skipped_names(arguments)),
        image_ext=tuple(e.lower().removeprefix(".") for e in _listed(arguments.image_ext)),
        last_dot=arguments.last_dot,
        global_size=arguments.global_size,
        note=given_note(arguments),
    )
    if arguments.dry_run:
        for line in describe_tars(arguments.tars, arguments.out, settings, arguments.workers, groups=arguments.groups):
            print(one_line(line))
        return 0
    report = index_tars(arguments.tars, arguments.out, settings, arguments.workers, groups=arguments.groups)
    for line in summary(report, arguments.out or _folder_of(arguments.tars)):
        print(one_line(line))
    return 0


def _folder_of(tars: list[Path]) -> Path:
    return tars[0] if tars[0].is_dir() else tars[0].parent


if __name__ == "__main__":
    run_command(main)
