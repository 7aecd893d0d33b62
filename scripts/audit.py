"""Would results on this data set mislead? Looks for properties that give the classes away, and for leaks.

    glass audit DATA [--json FILE] [--html FILE] [--write-groups FILE] [--no-near] [--threads N]

Measures how well size, format and compression alone separate the classes, and names those that do. Finds images that
occur twice, even if one copy was re-saved, resized or cropped. Writes DATA/audit.json; ``glass report`` shows its
findings at the top of the page. With --write-groups, also lists the images that belong together, for ``glass build
--groups``. The exit code is 1 if a finding is serious.
"""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from shards.cli.command import CommandParser, printable, run_command
from shards.cli.wording import counted
from shards.errors import InputError
from shards.files.atomic import write_text_atomic
from shards.files.outputs import check_output, holds_mark, is_json_with, require_different

from .arguments import script_parser, thread_count

if TYPE_CHECKING:
    from glass.auditing.document import Audit
    from glass.auditing.duplicates import Duplicates
    from shards.manifest.dataset import ShardDataset

__all__ = ["main", "parser"]

EXIT_SERIOUS = 1
_IS_FINDINGS = is_json_with("severity", "findings")
"""Tells whether an existing file contains audit findings; any other file must not be replaced."""


def main(argv: list[str] | None = None) -> int:
    """Audits the data set, then writes and prints the findings. Returns 1 if any of them is serious, else 0."""
    arguments = parser().parse_args(argv)
    from shards.manifest.dataset import ShardDataset

    dataset = ShardDataset.open(arguments.data)
    if arguments.near:
        dataset.require_local()  # before a bar begins
    from glass.auditing.audit import audit_dataset
    from glass.auditing.document import AUDIT_NAME

    own = dataset.root / AUDIT_NAME
    _check_outputs(arguments, dataset, own)
    from glass.auditing.duplicates import find_duplicates
    from glass.report.audit import audit_sentence, pair_pictures, render_audit_html
    from shards.cli.progress import progress_bar

    total = len(dataset) if arguments.near else 0
    with progress_bar(total, "reading views", arguments.near) as bar:
        duplicates = find_duplicates(dataset, arguments.near, arguments.threads, bar.update)
    document = audit_dataset(dataset, duplicates)
    for line in _lines(document):
        print(printable(line))
    print(audit_sentence(document))
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if arguments.json:
        _write(arguments.json, text)
    if arguments.html:
        pictures = pair_pictures(dataset, duplicates) if arguments.near else []
        _write(arguments.html, render_audit_html(document, pictures))
    _write(own, text, required=False)
    if arguments.write_groups:  # last, because only now it is known whether an existing list would change
        _write_groups(arguments.write_groups, dataset, duplicates)
    return EXIT_SERIOUS if document["severity"] == "serious" else 0


def parser() -> CommandParser:
    """The command-line parser."""
    parser = script_parser("audit", __doc__)
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of shards")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the findings to this file")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write an HTML page with the findings and the worst pairs"
    )
    parser.add_argument(
        "--write-groups",
        type=Path,
        metavar="FILE",
        help="write groups of images that belong together because they show the same picture or share a group: a CSV "
        "or Parquet list for --groups of glass build and glass index",
    )
    parser.add_argument(
        "--no-near",
        dest="near",
        action="store_false",
        help="do not search for near duplicates (the search reads all global views)",
    )
    parser.add_argument(
        "--threads",
        type=thread_count,
        default="auto",
        metavar="N",
        help="number of threads (default: one per usable core)",
    )
    return parser


def _check_outputs(arguments: argparse.Namespace, dataset: "ShardDataset", own: Path) -> None:
    """Raises ``InputError`` if an output cannot be written, or would replace a file that this command did not write or
    that holds the audit of another data set.

    ``own`` is the data set's audit.json, which reports read.
    """
    from glass.config.dataset_digest import require_same_data

    named = {"--json": arguments.json, "--html": arguments.html, "--write-groups": arguments.write_groups}
    given = {option: path for option, path in named.items() if path is not None}
    require_different(given)
    for option, path in given.items():
        if option != "--json" and _is_same(path, own):
            raise InputError(f"{own} is reserved for the findings as JSON: give {option} another name")
    existing = []
    if arguments.json and check_output(arguments.json, _IS_FINDINGS) and not _is_same(arguments.json, own):
        existing.append(arguments.json)
    if arguments.html and check_output(arguments.html, holds_mark('content="glass-hires audit"')):
        existing.append(arguments.html)
    for path in existing:
        require_same_data(path, dataset.root, "the audit", "give another name, or move the file away")
    if arguments.write_groups:
        from shards.manifest.group_list import check_group_output

        check_group_output(arguments.write_groups, lambda: (row.tobytes() for row in dataset.column("sha256")))
    if own.exists():  # otherwise, a read-only data set is audited all the same
        check_output(own, _IS_FINDINGS, "move it away, because the findings are written there")


def _is_same(path: Path, other: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)


def _write_groups(path: Path, dataset: "ShardDataset", duplicates: "Duplicates") -> None:
    from glass.auditing.found_groups import found_groups
    from shards.manifest.group_list import write_group_list

    rows = found_groups(dataset, duplicates)
    verb = "rewrote" if path.exists() else "wrote"
    try:
        write_group_list(path, rows)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    num_groups = len({group for _, group, _ in rows})
    print(printable(f"{verb} {path}: {counted(len(rows), 'image')} in {counted(num_groups, 'group')}"))


def _write(path: Path, text: str, required: bool = True) -> None:
    verb = "rewrote" if path.exists() else "wrote"
    try:
        write_text_atomic(path, text)
    except OSError as error:
        if required:
            raise InputError(f"cannot write {path}: {error.strerror or error}") from error
        print(printable(f"note: {path} cannot be written, so reports will not show the findings"))
    else:
        print(printable(f"{verb} {path}"))


def _lines(document: "Audit") -> list[str]:
    """The findings, as lines for the terminal."""
    samples, lines = document["samples"], []
    lines.append(
        f"{document['dataset']['name']}: {counted(samples['all'], 'image')}, {samples['real']:,}"
        f" real and {samples['generated']:,} generated"
    )
    if document["equalised"]:
        lines.append(f"equalised when it was built: {document['equalised']}")
    if note := document["dataset"].get("note"):
        lines.append(f"note: {note}")
    findings = document["findings"]
    for place, finding in enumerate(findings):
        lines.append(f"[{finding['severity']}] {finding['text']}")
        lines += [f"    for example {' and '.join(names)}" for names in finding["examples"][:2]]
        following = findings[place + 1]["advice"] if place + 1 < len(findings) else ""
        if finding["advice"] and finding["advice"] != following:  # once for consecutive findings
            lines.append(f"    what to do: {finding['advice']}")
    return lines


if __name__ == "__main__":
    run_command(main)
