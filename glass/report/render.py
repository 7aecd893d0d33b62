"""Renders a report document as a single-file HTML page."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from glass.measure.robustness_schema import Robustness
from glass.report import sentences as said
from glass.report import tables
from glass.report.audit import audit_sentence
from glass.report.heat_map import heat_map_svg
from glass.report.plots import NUM_RUN_COLOURS, reliability_svg, roc_svg, training_svg
from glass.report.robustness import robustness_table
from glass.report.run_data import RunData
from glass.report.template import render
from glass.report.windows import Gallery

__all__ = ["render_html"]


def render_html(document: Mapping[str, Any], runs: Sequence[RunData], gallery: Gallery) -> str:
    """Renders the page for ``document``, which :func:`glass.report.data.report_document` built from ``runs``; see
    :func:`glass.report.template.render`."""
    split = document["split"]
    names = [run.name for run in runs]
    return render(
        "report.html.j2",
        document=document,
        split=split,
        names=names,
        in_sample_warning=said.IN_SAMPLE_WARNING,
        data_sentences=_data_sentences(document, names),
        score_words={name: said.score_word(document[name][split]["calibration"]) for name in names},
        learnt_sentences={name: said.learnt_sentence(document[name][split]["learnt"]) for name in names},
        calibration_sentences={
            name: said.calibration_sentences(document[name][split]["calibration"]) for name in names
        },
        why_worse={name: said.why_calibration_is_worse(document[name][split]["calibration"]) for name in names},
        results={name: document[name][split] for name in names},
        training={name: document[name]["training"] for name in names},
        audit_sentence=document["audit"] and audit_sentence(document["audit"]),
        sentences=[said.comparison_sentence(c) for c in document["comparisons"]],
        verdict_counts={name: tables.verdict_counts(document[name][split]) for name in names},
        metric_rows=_metric_rows(document, names),
        generator_tables={name: tables.generator_rows(document[name][split]["per_generator"]) for name in names},
        robustness={run.name: _robustness(run.robustness) for run in runs if run.robustness},
        settings=_settings_rows(document, names),
        plots={
            "roc": [Markup(svg) for svg in roc_svg(runs)],
            "reliability": [Markup(svg) for svg in reliability_svg(runs)],
            "training": [Markup(svg) for svg in training_svg(runs)],
        },
        few={
            "roc": said.few_for_roc([document[name][split]["samples"] for name in names]),
            "reliability": said.few_for_reliability([document[name][split]["samples"] for name in names]),
        },
        gallery=gallery,
        num_colours=NUM_RUN_COLOURS,
    )


def _data_sentences(document: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Returns the distinct sentences about the runs' data. A sentence that does not apply to every run starts with the
    names of those it applies to.
    """
    whose: dict[str, list[str]] = {}
    for name in names:
        for sentence in said.data_sentences(document[name]["model"], document["dataset"]):
            whose.setdefault(sentence, []).append(name)
    return [sentence if len(of) == len(names) else f"{', '.join(of)}: {sentence}" for sentence, of in whose.items()]


def _robustness(document: Robustness) -> dict[str, Any]:
    """Returns one table per model, and one heat map for all models."""
    tables_of = {name: robustness_table(document, name) for name in document["models"]}
    return {"tables": tables_of, "heat_map": Markup(heat_map_svg(document))}


def _metric_rows(document: Mapping[str, Any], names: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for metric, title, reading in tables.METRIC_ROWS:
        results = [document[name][document["split"]] for name in names]
        cells = [tables.cell(r[metric], r["intervals"][metric]) for r in results]
        rows.append({"title": title, "reading": reading, "cells": cells})
    return rows


def _settings_rows(document: Mapping[str, Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns one row for each setting of any run. Settings in which the runs differ come first."""
    settings = [document[name]["settings"] for name in names]
    keys = list(dict.fromkeys(key for one in settings for key in one))
    rows = []
    for key in keys:
        cells = [str(one[key]) if key in one else "–" for one in settings]
        rows.append({"name": key, "cells": cells, "differs": len(set(cells)) > 1})
    return sorted(rows, key=lambda row: not row["differs"])
