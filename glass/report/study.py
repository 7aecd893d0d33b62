"""Renders a study's document as a page and as Markdown, and builds the tables for both."""

from collections.abc import Sequence

from markupsafe import Markup

from glass.auditing.document import AuditSummary
from glass.report.audit import audit_sentence
from glass.report.crop_plots import crop_svgs
from glass.report.crop_tables import (
    BASELINE_HEAD,
    FIT_HEAD,
    baseline_rows,
    fit_rows,
    inference_table,
    interval,
    not_fitting,
    training_table,
)
from glass.report.plots import add_legend, as_svg, end_at_one, panel, run_style
from glass.report.search_plots import search_svgs
from glass.report.study_results import result_tables, result_title, spread, terms_phrase
from glass.report.tables import METRIC_ROWS, number
from glass.report.template import render
from glass.studies.search_records import best_trial
from glass.studies.study_documents import StudyDocument, StudyResult
from shards.cli.command import markdown_text

__all__ = ["study_html", "study_markdown"]

SHOWN = ("accuracy", "auroc", "weighted_f1", "ece")
RESULT_HEAD = ("model", "terms", "trials", "accuracy", "AUROC", "weighted F1", "ECE")
COMPARISON_HEAD = ("backbone", "terms", "metric", "GLASS", "baseline", "difference", "95 % interval")
SEARCH_HEAD = ("search", "complete", "pruned", "failed", "operations", "best validation", "best settings")

Rows = list[list[str]]


def study_html(document: StudyDocument) -> str:
    """Renders the page of a study; see :func:`glass.report.template.render`."""
    results = document["results"]
    searches = {s["name"]: search_svgs(s["tuning"]) for s in document["searches"]}
    return render(
        "study.html.j2",
        document=document,
        seeds=len(results[0]["final"]["seeds"]) if results else 0,
        crop_batch=document["baseline_memory"][0]["batch"] if document["baseline_memory"] else "–",
        result_head=RESULT_HEAD,
        result_rows=[
            {"kind": row["kind"], "cells": cells} for row, cells in zip(results, _result_rows(document), strict=True)
        ],
        audit_sentence=document["audit"] and audit_sentence(document["audit"]),
        result_tables=result_tables(results),
        result_names=[result_title(row) for row in results],
        metric_rows=_metric_rows(results),
        comparison_head=COMPARISON_HEAD,
        comparison_rows=_comparison_rows(document),
        search_head=SEARCH_HEAD,
        search_rows=_search_rows(document),
        fit_head=FIT_HEAD,
        fit_rows=fit_rows(document),
        baseline_head=BASELINE_HEAD,
        baseline_rows=baseline_rows(document),
        crop_tables={
            name: {
                "training": training_table(study),
                "inference": inference_table(study),
                "not_fitting": not_fitting(study),
            }
            for name, study in document["crop_studies"].items()
        },
        plots={
            "results": Markup(_results_svg(results)),
            "searches": {
                name: {
                    "narrow": [Markup(svg) for kind, svg in svgs.items() if kind != "parallel"],
                    "wide": [Markup(svg) for kind, svg in svgs.items() if kind == "parallel"],
                }
                for name, svgs in searches.items()
            },
            "crops": {
                name: [Markup(svg) for svg in crop_svgs(study).values()]
                for name, study in document["crop_studies"].items()
            },
        },
    )


def study_markdown(document: StudyDocument) -> str:
    """Returns the page's tables as Markdown, for a README or an issue."""
    dataset, data_note = document["dataset"]["name"], document["dataset"].get("note")
    parts = [
        f"# GLASS against the resize-only baseline on {markdown_text(dataset)}",
        f"Budget {document['budget']}, {document['device']}, {document['created'][:16].replace('T', ' ')} UTC.",
        *([f"> Note on the data: {markdown_text(data_note)}"] if data_note else []),
        *([f"> {document['note']}"] if document["note"] else []),
        *_audit_parts(document["audit"]),
        "## Test results, mean ± sd over the seeds",
        _table(RESULT_HEAD, _result_rows(document)),
        "## Differences, seed by seed",
        _table(COMPARISON_HEAD, _comparison_rows(document)),
        *(
            part
            for title, reading, head, rows in result_tables(document["results"])
            for part in (f"### {title}", reading, _table(head, rows))
        ),
        "## Tuning",
        _table(SEARCH_HEAD, _search_rows(document)),
        "## What a crop costs and gains",
        f"Memory is {document['memory_is']}.",
        _table(FIT_HEAD, fit_rows(document)),
        *_crop_parts(document),
        "## Baselines",
        _table(BASELINE_HEAD, baseline_rows(document)),
    ]
    return "\n\n".join(parts) + "\n"


def _audit_parts(audit: AuditSummary | None) -> list[str]:
    """Returns the data set's audit findings as Markdown paragraphs."""
    if audit is None:
        return ["The data set has not been audited: run glass audit."]
    lines = [f"- {finding['severity']}: {markdown_text(finding['text'])}" for finding in audit["findings"]]
    return ["## The data", f"**{audit_sentence(audit)}**", "\n".join(lines)]


def _crop_parts(document: StudyDocument) -> list[str]:
    """Returns each crop study's tables, one for training and one for prediction, as Markdown paragraphs."""
    parts = []
    for name, study in document["crop_studies"].items():
        curve = study["inference"]
        parts += [
            f"### {markdown_text(name)}, training",
            _table(*training_table(study)),
            f"### {markdown_text(name)}, prediction by the model of {curve['trained_with']} crops",
            _table(*inference_table(study)),
            *(f"- {markdown_text(sentence)}" for sentence in not_fitting(study)),
        ]
    return parts


def _table(head: Sequence[str], rows: Rows) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(markdown_text(cell) for cell in line) + " |" for line in lines)


def _result_rows(document: StudyDocument) -> Rows:
    return [
        [
            f"{'GLASS' if row['kind'] == 'glass' else 'resize-only'} {row['family']}",
            terms_phrase(row),
            str(row["trials"]),
            *(spread(row["final"]["summary"][metric]) for metric in SHOWN),
        ]
        for row in document["results"]
    ]


def _metric_rows(results: Sequence[StudyResult]) -> list[dict[str, str | list[str]]]:
    return [
        {"title": title, "cells": [spread(row["final"]["summary"][name]) for row in results]}
        for name, title, _ in METRIC_ROWS
    ]


def _comparison_rows(document: StudyDocument) -> Rows:
    return [
        [
            row["family"],
            terms_phrase(row),
            "AUROC" if row["metric"] == "auroc" else row["metric"],
            number(row["glass"]),
            number(row["baseline"]),
            "–" if row["difference"] is None else f"{row['difference']:+z.3f}",
            interval(row["interval"], "+.3f"),
        ]
        for row in document["comparisons"]
    ]


def _search_rows(document: StudyDocument) -> Rows:
    rows = []
    for search in document["searches"]:
        tuning = search["tuning"]
        best = best_trial(tuning["trials"], tuning["metric"])
        point = {} if best is None else best[1]["params"]
        settings = ", ".join(
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in point.items()
        )
        states = tuning["states"]
        rows.append(
            [
                search["name"],
                str(states["complete"]),
                str(states["pruned"]),
                str(states["failed"]),
                f"{search['flops']:.3g}",
                "–" if best is None else f"{best[0]:.3f} (trial {best[1]['number']})",
                settings,
            ]
        )
    return rows


def _results_svg(results: Sequence[StudyResult]) -> str:
    figure, axes = panel(9.0, 0.42 * max(len(results), 2) + 1.4)
    labels = {"glass": "GLASS", "single_view": "resize-only"}
    for place, row in enumerate(results):
        style = run_style(0 if row["kind"] == "glass" else 1)
        values = [seed["metrics"]["auroc"] for seed in row["final"]["seeds"]]
        known = [value for value in values if value is not None]
        label = labels.pop(row["kind"], None)
        axes.plot(known, [place] * len(known), "o", color=style["color"], markersize=5, label=label)
        if known:
            mean = sum(known) / len(known)
            axes.plot([mean, mean], [place - 0.3, place + 0.3], color=style["color"], linewidth=2)
    axes.set_yticks(range(len(results)), [result_title(row) for row in results])
    axes.invert_yaxis()
    axes.set(xlabel="AUROC on the test split", title="every seed")
    end_at_one(axes, "x")
    add_legend(axes, "best")
    return as_svg(figure, "AUROC of every seed")
