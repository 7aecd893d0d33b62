"""``python -m bench report``: results of several machines and commits side by side.

Reads lines of ``bench/results/*.jsonl``, and writes OUT/bench.md and OUT/bench.html with plots.
Rows are set side by side where they were measured alike: the same method, crops, data, settings,
threads, batch and so on (``bench.corpora.identity``). What has no partner is left out and counted. Results
of a bench without a single common row, and lines that another version of a bench wrote, are not
compared, and a note says so; the other benches are.

    python -m bench report OUT bench/results/*.jsonl --bench loader
"""

import argparse
import html
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench.corpora.identity import IDENTITY, METRICS
from bench.harness.arguments import bench_parser
from bench.harness.schemas import SCHEMAS, check_line, print_result
from bench.report_pages import Comparison, Result, html_section, markdown_section, page
from shards.cli.command import printable
from shards.errors import InputError
from shards.files.atomic import write_text_atomic
from shards.files.json_file import parse_json, read_json_bytes
from shards.files.outputs import cannot_write, check_output, holds_mark, make_folder, starts_with

__all__ = ["compare", "main", "read_results"]

BENCH = "report"


class NotAlike(Exception):
    """Results that have no row in common; the message names them."""


def main(argv: list[str] | None = None) -> int:
    """Returns 0."""
    options = _parse(argv)
    results, left_out = read_results(options.files)
    names = _names(results, options.bench, left_out)
    compared: list[Comparison] = []
    refused: dict[str, str] = {}
    for name in names:
        try:
            compared.append(compare([result for result in results if result.bench == name]))
        except NotAlike as error:
            refused[name] = str(error)
    if not compared:
        raise InputError("; ".join(refused.values()))
    for bench, number in Counter(r.bench for r in results if r.bench not in METRICS).items():
        left_out.append(f"{number} of {bench} are left out: no figures to set side by side")
    notes = [*refused.values(), *left_out]
    _write(options.output, compared, notes)
    for note in notes:
        print(printable(f"NOTE {note}"))
    print(printable(f"wrote {options.output}/bench.md and bench.html"))
    counts = {comparison.bench: len(comparison.results) for comparison in compared}
    document = {"bench": BENCH, "compared": counts, "refused": refused, "left_out": left_out}
    print_result(document, None, BENCH)
    return 0


def read_results(files: Sequence[Path]) -> tuple[list[Result], list[str]]:
    """(All results of this version of the benches, a sentence for every other line).

    ``InputError`` names the file and line that is no result at all.
    """
    results: list[Result] = []
    left_out: list[str] = []
    for path in files:
        try:
            lines = read_json_bytes(path).decode("utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read ({error})") from error
        for number, text in enumerate(lines, 1):
            try:
                results.append(_result(f"{path} line {number}", text))
            except ValueError as error:
                left_out.append(f"{path} line {number} is left out: another version of the bench measured it ({error})")
    return results, left_out


def _result(where: str, text: str) -> Result:
    """``InputError`` for what is no result, ``ValueError`` for one of another version."""
    try:
        line = parse_json(text.encode("utf-8"))
        bench, document = line["bench"], line["document"]
        if bench not in SCHEMAS or not isinstance(document, dict) or "environment" not in document:
            raise ValueError(f"it has no document of {', '.join(SCHEMAS)}")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where} is no bench result ({error})") from error
    check_line(line)
    return Result(bench, line["machine"], document, line["exit_code"])


def compare(results: Sequence[Result]) -> Comparison:
    """Results of one bench; ``NotAlike`` where they have no row that was measured alike."""
    bench = results[0].bench
    common = [key for key in results[0].rows if all(key in other.rows for other in results)]
    if not common:
        names = "; ".join(result.label for result in results)
        raise NotAlike(
            f"the results of {bench} ({names}) have no row in common that was measured alike (same"
            f" {', '.join(IDENTITY[bench])}): report them apart"
        )
    everything = {key for result in results for key in result.rows}
    return Comparison(bench, tuple(results), tuple(common), len(everything) - len(common))


def _names(results: Sequence[Result], asked: str | None, left_out: Sequence[str]) -> list[str]:
    """The benches to report on. Raises ``InputError`` where there is none."""
    names = sorted({result.bench for result in results if result.bench in METRICS})
    if not names:
        raise InputError("; ".join([f"the files hold no results of {', '.join(METRICS)}", *left_out]))
    if asked is None:
        return names
    if asked not in names:
        raise InputError(f"--bench {asked}: there are results of {', '.join(names)}")
    return [asked]


def _write(output: Path, compared: Sequence[Comparison], notes: Sequence[str]) -> None:
    make_folder(output, "OUT")
    check_output(output / "bench.md", starts_with("## "), "give another OUT")
    check_output(output / "bench.html", holds_mark("<title>Benchmarks</title>"), "give another OUT")
    texts = [*map(markdown_section, compared)]
    sections = [*map(html_section, compared)]
    if notes:
        texts.append("\n".join(["## Not compared", "", *(f"- {printable(n)}" for n in notes)]))
        items = "".join(f"<li>{html.escape(printable(note))}</li>" for note in notes)
        sections.append(f"<h2>Not compared</h2><ul>{items}</ul>")
    try:
        write_text_atomic(output / "bench.md", "\n\n".join(texts) + "\n")
        write_text_atomic(output / "bench.html", page(sections))
    except OSError as error:
        raise InputError(cannot_write(output, error)) from error


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = bench_parser(BENCH, "Results of machines and commits side by side.")
    parser.add_argument("output", type=Path, metavar="OUT", help="folder for bench.md and .html")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="bench/results/*.jsonl")
    parser.add_argument("--bench", help="only this one")
    return parser.parse_args(argv)
