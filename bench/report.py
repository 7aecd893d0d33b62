"""``python -m bench report``: results of several machines and commits side by side.

Reads lines of ``bench/results/*.jsonl``, and writes OUT/bench.md and OUT/bench.html with plots.
Rows are set side by side where they were measured alike: the same method, crops, images, threads,
batch, precision and so on. What has no partner is left out and counted; two results of a bench
without a single common row are refused, since nothing could be said about them.

    python -m bench report OUT bench/results/*.jsonl --bench loader
"""

import argparse
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.arguments import bench_parser
from bench.environment import QUIET_LOAD
from bench.schemas import check_result
from shards.atomic import write_text_atomic
from shards.command import InputError, printable

__all__ = ["Result", "compare", "main", "read_results"]

IDENTITY = (
    "method", "preset", "num_crops", "crop_chunk", "batch_size", "images", "megapixels", "samples",
    "threads", "device", "precision",
)  # fmt: skip
"""Fields that must be equal for two rows to be measured alike."""
METRICS = {
    "decode": ("images_per_s",), "loader": ("images_per_s",), "build": ("images_per_s",),
    "train": ("images_per_s", "share_of_loader"),
    "scale": ("open_s", "first_batch_s", "order_s", "resume_s", "peak_rss_mib"),
}  # fmt: skip
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Benchmarks</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto;
padding: 0 1rem }}
table {{ border-collapse: collapse }} th, td {{ padding: .2rem .7rem; text-align: right;
border-bottom: 1px solid #ccc }} th:first-child, td:first-child {{ text-align: left }}
svg {{ max-width: 100%; height: auto }}</style></head><body>{body}</body></html>
"""


@dataclass(frozen=True)
class Result:
    """One line of a file of results."""

    bench: str
    label: str
    """Machine, commit and day, for the head of a column."""
    document: dict[str, Any]

    @property
    def rows(self) -> dict[tuple[Any, ...], dict[str, Any]]:
        """What was measured → the row."""
        return {tuple(row.get(name) for name in IDENTITY): row for row in self.document["rows"]}

    @property
    def busy(self) -> bool:
        """Whether other programs computed when it was measured."""
        return bool(self.document["environment"]["load_average_1m"] > QUIET_LOAD)


@dataclass(frozen=True)
class Comparison:
    """Results of one bench whose common rows stand side by side."""

    bench: str
    results: tuple[Result, ...]
    common: tuple[tuple[Any, ...], ...]
    left_out: int
    """Rows that not every result has."""


def main(argv: list[str] | None = None) -> int:
    """Returns 0."""
    options = _parse(argv)
    results = read_results(options.files)
    names = sorted({result.bench for result in results if result.bench in METRICS})
    if options.bench is not None:
        if options.bench not in names:
            raise InputError(f"--bench {options.bench}: there are results of {', '.join(names)}")
        names = [options.bench]
    compared = [compare([r for r in results if r.bench == name]) for name in names]
    if not compared:
        raise InputError("the files hold no results of decode, loader, build, train or scale")
    options.output.mkdir(parents=True, exist_ok=True)
    write_text_atomic(options.output / "bench.md", "\n\n".join(map(_markdown, compared)) + "\n")
    page = PAGE.format(body="".join(map(_html, compared)))
    write_text_atomic(options.output / "bench.html", page)
    print(printable(f"wrote {options.output}/bench.md and bench.html"))
    print(json.dumps({"bench": "report", "compared": {c.bench: len(c.results) for c in compared}}))
    return 0


def read_results(files: Sequence[Path]) -> list[Result]:
    """All lines; ``InputError`` names the file and line that is not a result."""
    results = []
    for path in files:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read ({error})") from error
        for number, text in enumerate(lines, 1):
            try:
                line = json.loads(text)
                document = line["document"]
                check_result(line["bench"], document)
                found = document["environment"]
                label = f"{line['machine']}, {found['commit'][:20]}, {found['date'][:10]}"
                results.append(Result(line["bench"], label, document))
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path} line {number} is no bench result ({error})") from error
    return results


def compare(results: Sequence[Result]) -> Comparison:
    """Results of one bench; ``InputError`` where they have no row that was measured alike."""
    common = [key for key in results[0].rows if all(key in other.rows for other in results)]
    if not common:
        names = "; ".join(result.label for result in results)
        raise InputError(
            f"the results of {results[0].bench} ({names}) have no row in common that was measured"
            f" alike (same {', '.join(IDENTITY)}): report them apart"
        )
    everything = {key for result in results for key in result.rows}
    return Comparison(
        results[0].bench, tuple(results), tuple(common), len(everything) - len(common)
    )


def _table(compared: Comparison) -> tuple[list[str], list[list[str]]]:
    head = ["measured", "figure"]
    head += [r.label + (" (busy!)" if r.busy else "") for r in compared.results]
    rows = []
    for key in compared.common:
        for metric in METRICS[compared.bench]:
            cells = [_with_range(result.rows[key], metric) for result in compared.results]
            rows.append([_name(key), metric, *cells])
    return head, rows


def _name(key: tuple[Any, ...]) -> str:
    return ", ".join(
        str(value) if name in ("method", "images", "device", "precision")
        else f"{name.replace('num_', '').replace('_', ' ')} {value}"
        for name, value in zip(IDENTITY, key, strict=True)
        if value is not None and name != "preset"
    )  # fmt: skip


def _with_range(row: Mapping[str, Any], metric: str) -> str:
    span = row.get("ranges", {}).get(metric) or (row.get("spread") if metric == "images_per_s"
                                                 else None)  # fmt: skip
    text = f"{row[metric]:.4g}"
    return f"{text} ({span[0]:.3g} – {span[1]:.3g})" if span else text


def _notes(compared: Comparison) -> list[str]:
    notes = []
    if compared.left_out:
        notes.append(f"{compared.left_out} rows that not every result has are left out.")
    if any(result.busy for result in compared.results):
        notes.append("Measured while other programs computed (busy!): not to be relied on.")
    return notes


def _markdown(compared: Comparison) -> str:
    head, rows = _table(compared)
    lines = [head, ["---"] * len(head), *rows]
    table = "\n".join(
        "| " + " | ".join(printable(c).replace("|", "\\|") for c in line) + " |" for line in lines
    )
    return "\n\n".join([f"## {compared.bench}", *_notes(compared), table])


def _html(compared: Comparison) -> str:
    head, rows = _table(compared)

    def line(cells: Sequence[str], tag: str) -> str:
        return (
            "<tr>" + "".join(f"<{tag}>{html.escape(printable(c))}</{tag}>" for c in cells) + "</tr>"
        )

    table = line(head, "th") + "".join(line(row, "td") for row in rows)
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in _notes(compared))
    return f"<h2>{compared.bench}</h2>{notes}<table>{table}</table>{_plot(compared)}"


def _plot(compared: Comparison) -> str:
    """Bars of the first figure of each common row, a colour per result."""
    from matplotlib.figure import Figure

    metric = METRICS[compared.bench][0]
    count, results = len(compared.common), compared.results
    figure = Figure(figsize=(9, 0.9 + 0.3 * count * len(results)), layout="constrained")
    axes = figure.subplots()
    for number, result in enumerate(results):
        places = [k + 0.8 * number / len(results) for k in range(count)]
        values = [result.rows[key][metric] for key in compared.common]
        axes.barh(places, values, height=0.75 / len(results), align="edge", label=result.label)
    axes.set_yticks([k + 0.4 for k in range(count)], [_name(key) for key in compared.common])
    axes.tick_params(labelsize=7)
    axes.invert_yaxis()
    axes.set(xlabel=metric)
    axes.legend(fontsize=7)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = bench_parser("report", "Results of machines and commits side by side.")
    parser.add_argument("output", type=Path, metavar="OUT", help="folder for bench.md and .html")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="bench/results/*.jsonl")
    parser.add_argument("--bench", help="only this one")
    return parser.parse_args(argv)
