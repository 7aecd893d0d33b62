"""Writes one page and one JSON document about evaluated runs, side by side.

glass report OUT --run glass=runs/glass --run single_view=runs/single_view --data DATA

Each run must have been evaluated on the split (glass evaluate). The first run is
compared with each of the others. Writes OUT/report.html, self-contained, and OUT/report.json. Replaces a
report there only if it is on the same split of the same data set, and the runs given now include all of its runs.
"""

import json
import re
from pathlib import Path

from shards.cli.command import CommandParser, printable, run_command
from shards.errors import InputError
from shards.files.json_file import read_json
from shards.files.outputs import check_output, holds_mark, is_json_with

from .arguments import script_parser

MARK = 'name="generator" content="glass-hires report"'
"""Text that every page written by this command contains. An existing page is replaced only if it contains this text."""


def main(argv: list[str] | None = None) -> int:
    """Reads the runs and writes both files; returns exit code 0."""
    arguments = parser().parse_args(argv)
    folders = _named_runs(arguments.run)
    page, data = arguments.output / "report.html", arguments.output / "report.json"
    _check_outputs(arguments.output, page, data)
    from shards.manifest.dataset import ShardDataset

    dataset = ShardDataset.open(arguments.data)
    dataset.require_local()
    dataset.split_rows(arguments.split)
    _check_earlier(data, dataset.root, arguments.split, set(folders))
    from glass.report import build_gallery, load_run, render_html, report_document
    from shards.files.atomic import write_text_atomic

    runs = [load_run(name, folder, arguments.split, dataset) for name, folder in folders.items()]
    note = arguments.note
    if note is not None:  # command-line bytes that are not UTF-8 cannot be written as such
        note = note.encode("utf-8", "backslashreplace").decode("utf-8")
    document = report_document(runs, dataset, arguments.split, note)
    html = render_html(document, runs, build_gallery(runs, dataset))
    verb = "rewrote" if page.exists() else "wrote"
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
        text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        write_text_atomic(data, text)
        write_text_atomic(page, html)
    except OSError as error:
        raise InputError(f"cannot write into {arguments.output}: {error.strerror or error}") from error
    print(printable(f"{verb} {page} ({len(html) / 1e6:.1f} MB) and {data}"))
    return 0


def parser() -> CommandParser:
    """The command-line parser."""
    parser = script_parser("report", __doc__)
    parser.add_argument("output", type=Path, metavar="OUT", help="folder for report.html and .json")
    parser.add_argument(
        "--run",
        action="append",
        required=True,
        metavar="NAME=FOLDER",
        help="a run and its name in the report; the first is compared with the others",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of shards")
    parser.add_argument("--split", default="test", help="split of the evaluations; default test")
    parser.add_argument("--note", help="a note that the report shows at its top")
    return parser


def _named_runs(texts: list[str]) -> dict[str, Path]:
    """Maps each run's name to its folder, in the order given. Raises ``InputError`` for a wrong or repeated name."""
    folders: dict[str, Path] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not equals or not folder:
            raise InputError(f"--run {text!r} must be NAME=FOLDER, as in glass=runs/glass")
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]{0,39}", name):
            raise InputError(
                f"--run name {name!r} must begin with a letter and hold at most 40 letters, digits and _ . -"
            )
        if name in folders:
            raise InputError(f"--run name {name!r} is given twice: give each run its own name")
        if not Path(folder).is_dir():
            raise InputError(f"run folder {folder} does not exist: give the folder of a run (glass train --output)")
        folders[name] = Path(folder)
    return folders


def _check_outputs(folder: Path, page: Path, data: Path) -> None:
    """Raises ``InputError`` if a file that would be replaced is not a report that this command wrote."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give a folder for the report")
    remedy = "give another folder"
    check_output(page, holds_mark(MARK), remedy, folder_is_made=True)
    ours = is_json_with("format_version", "split", "dataset", "comparisons")
    check_output(data, ours, remedy, folder_is_made=True)


def _check_earlier(data: Path, root: Path, split: str, names: set[str]) -> None:
    """Raises ``InputError`` if ``data`` is a report on another data set, on another split, or on runs that are not in
    ``names``, since these results would be lost.
    """
    from glass.config.dataset_digest import dataset_json_sha256

    try:
        before = read_json(data)
        same = before["dataset"]["dataset_json_sha256"] == dataset_json_sha256(root)
        lost = sorted(name for name, part in before.items() if name not in names and _is_of_a_run(part))
        split_before = before["split"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{data} is damaged ({error}): give another folder, or move the file away") from error
    if not same:
        raise InputError(f"{data} is a report on another data set: give another folder")
    if split_before != split:
        raise InputError(f"{data} is a report on the split {split_before}: give another folder")
    if lost:
        raise InputError(
            f"{data} holds results of {', '.join(lost)}, which would be lost: give another folder, or these runs, too"
        )


def _is_of_a_run(part: object) -> bool:
    """Whether ``part``, a field of a report, is the entry for a run."""
    return isinstance(part, dict) and "training" in part


if __name__ == "__main__":
    run_command(main)
