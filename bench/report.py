"""``glass bench report``: shows the results of several machines and commits side by side.

Reads lines of ``bench/results/*.jsonl``, and writes OUT/bench.md, and OUT/bench.html with plots. Rows are compared if
they were measured under the same conditions: same method, crops, data, settings, threads, batch size and so on (see
``bench.comparison``). Rows that are missing from at least one result are left out, and the report states their number.
The report also lists what else was left out: benches whose results have no row in common, benches without figures to
compare, and lines written by another version of the benches.

    glass bench report OUT bench/results/*.jsonl --bench loader
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from bench.comparison import METRICS, Comparison, NotAlike, Result, compare, read_results
from bench.harness.arguments import bench_parser
from bench.harness.schemas import print_result
from glass.report.plots import as_svg, panel, run_style
from glass.report.template import render
from shards.cli.command import CommandParser, printable
from shards.errors import InputError
from shards.files.atomic import write_text_atomic
from shards.files.outputs import cannot_write, check_output, holds_mark, make_folder, starts_with

__all__ = ["main", "parser"]

BENCH = "report"
FIGURES = {
    "images_per_s": ("images per second", 1),
    "peak_bytes": ("peak memory (MiB)", 1 << 20),
    "open_s": ("time to open (s)", 1),
}
"""Maps each figure to plot to (axis label, divisor that converts its values to the unit in the label)."""


def main(argv: list[str] | None = None) -> int:
    """Runs the bench. Returns 0."""
    options = parser().parse_args(argv)
    results, left_out = read_results(options.files)
    compared: list[Comparison] = []
    refused: dict[str, str] = {}
    for name in _names(results, options.bench, left_out):
        try:
            compared.append(compare([result for result in results if result.bench == name]))
        except NotAlike as error:
            refused[name] = str(error)
    if not compared:
        raise InputError("; ".join(refused.values()))
    for bench, number in Counter(r.bench for r in results if r.bench not in METRICS).items():
        left_out.append(f"{number} of {bench} left out: that bench has no figures to compare")
    notes = [printable(note) for note in (*refused.values(), *left_out)]
    _write(options.output, compared, notes)
    for note in notes:
        print(f"NOTE {note}")
    print(printable(f"wrote {options.output}/bench.md and bench.html"))
    counts = {comparison.bench: len(comparison.results) for comparison in compared}
    document = {"bench": BENCH, "compared": counts, "refused": refused, "left_out": left_out}
    print_result(document, None, BENCH)
    return 0


def _names(results: Sequence[Result], asked: str | None, left_out: Sequence[str]) -> list[str]:
    """The benches to report on. Raises ``InputError`` if there is none."""
    names = sorted({result.bench for result in results if result.bench in METRICS})
    if not names:
        raise InputError("; ".join([f"the files contain no results of {', '.join(METRICS)}", *left_out]))
    if asked is None:
        return names
    if asked not in names:
        raise InputError(f"--bench {asked}: the files have no results of it, but of {', '.join(names)}")
    return [asked]


def _write(output: Path, compared: Sequence[Comparison], notes: Sequence[str]) -> None:
    make_folder(output, "OUT")
    check_output(output / "bench.md", starts_with("## "), "give another OUT")
    check_output(output / "bench.html", holds_mark("<title>Benchmarks</title>"), "give another OUT")
    texts = [*map(_markdown, compared)]
    if notes:
        texts.append("\n".join(["## Not compared", "", *(f"- {note}" for note in notes)]))
    page = render("bench.html.j2", sections=[*map(_section, compared)], left_out=notes)
    try:
        write_text_atomic(output / "bench.md", "\n\n".join(texts) + "\n")
        write_text_atomic(output / "bench.html", page)
    except OSError as error:
        raise InputError(cannot_write(output, error)) from error


def _markdown(compared: Comparison) -> str:
    """A comparison as Markdown: heading, notes and table."""
    head, *rows = compared.table()
    lines = [head, ["---"] * len(head), *rows]
    table = "\n".join("| " + " | ".join(printable(c).replace("|", "\\|") for c in line) + " |" for line in lines)
    return "\n\n".join([f"## {compared.bench}", *map(printable, compared.notes()), table])


def _section(compared: Comparison) -> dict[str, Any]:
    """A comparison for the HTML page: heading, notes, table and plot."""
    head, *rows = compared.table()
    return {"bench": compared.bench, "notes": compared.notes(), "head": head, "rows": rows, "plot": _plot(compared)}


def _plot(compared: Comparison) -> Markup:
    """A bar chart of the first figure for each common row, with one colour per result."""
    metric = METRICS[compared.bench][0]
    words, unit = FIGURES[metric]
    count, results = len(compared.common), compared.results
    figure, axes = panel(9, 1.2 + 0.3 * count * len(results))
    for number, result in enumerate(results):
        places = [k + 0.8 * number / len(results) for k in range(count)]
        values = [result.rows[key][metric] / unit for key in compared.common]
        colour = run_style(number)["color"]
        axes.barh(places, values, height=0.75 / len(results), align="edge", label=result.label, color=colour)
    axes.set_yticks([k + 0.4 for k in range(count)], [printable(compared.row_name(key)) for key in compared.common])
    axes.invert_yaxis()
    axes.set(xlabel=words)
    if len(results) > 1:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.5 / (0.3 * count * len(results) + 0.4)))
    return Markup(as_svg(figure, f"{compared.bench}: {words}"))


def parser() -> CommandParser:
    """The command-line parser."""
    parser = bench_parser(BENCH, "Compares results of machines and commits side by side.")
    parser.add_argument("output", type=Path, metavar="OUT", help="folder for bench.md and .html")
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="files of results, such as bench/results/*.jsonl"
    )
    parser.add_argument("--bench", help="only this bench")
    return parser
