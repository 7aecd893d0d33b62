"""Would results on this data set mislead? Looks for properties that give the classes away, and for leaks.

    python -m scripts.audit DATA [--json FILE] [--html FILE] [--no-near] [--threads N]

Measures how well size, format and compression alone separate the classes, names those that do, and
finds pictures that come twice, also re-saved, resized or cropped. Writes DATA/audit.json, which
reports show on top. The exit code is 1 where something is serious.
"""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.arguments import script_parser, thread_count
from shards.cli.command import printable, run_command
from shards.cli.wording import counted
from shards.errors import InputError
from shards.files.atomic import write_text_atomic
from shards.files.outputs import check_output, holds_mark, is_json_with

if TYPE_CHECKING:
    from glass.auditing.audit import Audit

__all__ = ["main"]

EXIT_SERIOUS = 1
_OURS = {".json": is_json_with("severity", "findings"), ".html": holds_mark('content="glass-hires audit"')}
"""Only a file of ours, of the same kind, is replaced."""


def main(argv: list[str] | None = None) -> int:
    """Audits, writes, prints; 1 where a finding is serious, else 0."""
    arguments = _parse(argv)
    from shards.manifest.dataset import ShardDataset

    dataset = ShardDataset.open(arguments.data)
    if arguments.near:
        dataset.require_local()  # before a bar begins
    outputs = {kind: path for kind in (".json", ".html") if (path := getattr(arguments, kind[1:]))}
    from glass.auditing.audit import AUDIT_NAME, audit_dataset

    own = dataset.root / AUDIT_NAME
    _check_outputs(outputs, own)
    from glass.report.audit import audit_sentence, render_audit_html
    from shards.cli.progress import progress_bar

    total = len(dataset) if arguments.near else 0
    with progress_bar(total, "reading views", arguments.near) as bar:
        document = audit_dataset(dataset, arguments.near, arguments.threads, advance=bar.update)
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    for line in _lines(document):
        print(printable(line))
    print(audit_sentence(document))
    texts = {".json": text, ".html": render_audit_html(document) if arguments.html else ""}
    for kind, path in outputs.items():
        _write(path, texts[kind])
    _write(own, text, required=False)
    return EXIT_SERIOUS if document["severity"] == "serious" else 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser("audit", __doc__)
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of shards")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings here, too")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page for people")
    parser.add_argument(
        "--no-near",
        dest="near",
        action="store_false",
        help="leave out near duplicates, for which all global views are read",
    )
    parser.add_argument("--threads", type=thread_count, default=os.cpu_count() or 1, metavar="N")
    return parser.parse_args(argv)


def _check_outputs(outputs: dict[str, Path], own: Path) -> None:
    """``own`` is the file that reports look at."""
    for kind, path in outputs.items():
        check_output(path, _OURS[kind])
    same = {kind: os.path.realpath(path) for kind, path in outputs.items()}
    if len(same) > len(set(same.values())):
        raise InputError(f"--json and --html are both {outputs['.html']}: give each its own file")
    if same.get(".html") == os.path.realpath(own):
        raise InputError(f"{own} is for the findings as JSON: give --html another name")
    if own.exists():  # else a data set that cannot be written to is audited all the same
        check_output(own, _OURS[".json"], "move it away: the findings are written there")


def _write(path: Path, text: str, required: bool = True) -> None:
    try:
        write_text_atomic(path, text)
    except OSError as error:
        if required:
            raise InputError(f"cannot write {path}: {error.strerror or error}") from error
        print(printable(f"note: {path} cannot be written, so reports will not show the findings"))
    else:
        print(printable(f"wrote {path}"))


def _lines(document: "Audit") -> list[str]:
    """The findings for a terminal."""
    samples, lines = document["samples"], []
    lines.append(
        f"{document['dataset']['name']}: {counted(samples['all'], 'image')}, {samples['real']:,}"
        f" real and {samples['generated']:,} generated"
    )
    if document["equalised"]:
        lines.append(f"equalised when it was built: {document['equalised']}")
    findings = document["findings"]
    for place, finding in enumerate(findings):
        lines.append(f"[{finding['severity']}] {finding['text']}")
        lines += [f"    such as {' and '.join(names)}" for names in finding["examples"][:2]]
        following = findings[place + 1]["advice"] if place + 1 < len(findings) else ""
        if finding["advice"] and finding["advice"] != following:  # once for findings in a row
            lines.append(f"    what to do: {finding['advice']}")
    return lines


if __name__ == "__main__":
    run_command(main)
