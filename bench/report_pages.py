"""Results of one bench side by side, as Markdown and as HTML with a plot."""

import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.corpora.identity import IDENTITY, METRICS, Key, row_key
from bench.harness.environment import QUIET_CORES
from shards.cli.command import printable
from shards.cli.wording import counted

__all__ = ["Comparison", "Result", "html_section", "markdown_section", "page"]

SPREAD_OF = ("images_per_s", "step_time_s")
"""Figures whose range lies in the row's ``spread``, not in its ``ranges``."""
TEXTS = ("preset", "method", "backbone", "images", "device", "precision", "counted_by")
"""Fields whose values speak for themselves, without the field's name."""
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
    machine: str
    document: dict[str, Any]
    exit_code: int = 0

    @property
    def label(self) -> str:
        """Machine, commit and day, for the head of a column."""
        found = self.document["environment"]
        return f"{self.machine}, {found['commit'][:20]}, {found['date'][:10]}"

    @property
    def rows(self) -> dict[Key, dict[str, Any]]:
        """What was measured → the row."""
        return {row_key(self.bench, row): row for row in self.document["rows"]}

    @property
    def busy(self) -> bool:
        """Whether other programs computed when it was measured."""
        return bool(self.document["environment"]["busy_cores"] > QUIET_CORES)


@dataclass(frozen=True)
class Comparison:
    """Results of one bench whose common rows stand side by side."""

    bench: str
    results: tuple[Result, ...]
    common: tuple[Key, ...]
    left_out: int
    """Rows that not every result has."""

    @property
    def shared(self) -> dict[str, Any]:
        """Fields that have one value in all common rows; said once, above the table."""
        columns = zip(IDENTITY[self.bench], zip(*self.common, strict=True), strict=True)
        return {name: column[0] for name, column in columns if len(set(column)) == 1}

    def row_name(self, key: Key) -> str:
        """The first field, and what tells the row from the others."""
        fields = dict(zip(IDENTITY[self.bench], key, strict=True))
        first = IDENTITY[self.bench][0]
        return _words({n: v for n, v in fields.items() if n == first or n not in self.shared})

    def table(self) -> list[list[str]]:
        """The head, and a line per common row and figure."""
        head = ["measured", "figure"]
        head += [r.label + (" (busy!)" if r.busy else "") for r in self.results]
        lines = [head]
        for key in self.common:
            for metric in METRICS[self.bench]:
                cells = [_with_range(result.rows[key], metric) for result in self.results]
                lines.append([self.row_name(key), metric.replace("_bytes", "_mib"), *cells])
        return lines

    def notes(self) -> list[str]:
        """What to know before reading the table."""
        shared = {n: v for n, v in self.shared.items() if n != IDENTITY[self.bench][0]}
        notes = [f"All rows: {_words(shared)}."] if shared else []
        if self.left_out:
            rows = counted(self.left_out, "row")
            notes.append(f"Left out: {rows} that not every result has.")
        if any(result.busy for result in self.results):
            notes.append("Measured while other programs computed (busy!): not to be relied on.")
        ended = [f"{r.label} with {r.exit_code}" for r in self.results if r.exit_code]
        if ended:
            notes.append(f"Ended with another exit code than 0, as after a missed goal: {ended}.")
        return notes


def _words(fields: Mapping[str, Any]) -> str:
    return ", ".join(
        str(value) if name in TEXTS else f"{name.replace('num_', '').replace('_', ' ')} {value}"
        for name, value in fields.items()
        if value is not None
    )


def _with_range(row: Mapping[str, Any], metric: str) -> str:
    """The figure with its range; bytes as MiB; "–" where it was not measured."""
    if row[metric] is None:
        return "–"
    unit = 2**20 if metric.endswith("_bytes") else 1
    spread = row.get("spread") if metric in SPREAD_OF else None
    span = row.get("ranges", {}).get(metric) or spread
    text = f"{row[metric] / unit:.4g}"
    return f"{text} ({span[0] / unit:.3g} – {span[1] / unit:.3g})" if span else text


def page(sections: Sequence[str]) -> str:
    """A whole HTML page, with nothing that it loads from elsewhere."""
    return PAGE.format(body="".join(sections))


def markdown_section(compared: Comparison) -> str:
    """Heading, notes and table."""
    head, *rows = compared.table()
    lines = [head, ["---"] * len(head), *rows]
    table = "\n".join("| " + " | ".join(printable(c).replace("|", "\\|") for c in line) + " |" for line in lines)
    return "\n\n".join([f"## {compared.bench}", *map(printable, compared.notes()), table])


def html_section(compared: Comparison) -> str:
    """Heading, notes, table and plot."""
    head, *rows = compared.table()

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(printable(c))}</{tag}>" for c in cells) + "</tr>"

    table = line(head, "th") + "".join(line(row, "td") for row in rows)
    notes = "".join(f"<p>{html.escape(printable(note))}</p>" for note in compared.notes())
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
    names = [compared.row_name(key) for key in compared.common]
    axes.set_yticks([k + 0.4 for k in range(count)], names)
    axes.tick_params(labelsize=7)
    axes.invert_yaxis()
    axes.set(xlabel=metric)
    axes.legend(fontsize=7)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
