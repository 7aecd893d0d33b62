"""Builds tables with a study's test results, averaged over seeds.

They show detection rates at low false-alarm rates, results by generator, false alarms on subsets of the real images,
and the effect of calibration.
"""

from collections.abc import Sequence

from glass.report.tables import interval_text, number
from glass.studies.final_documents import CalibratedSeeds, Summary
from glass.studies.study_documents import Comparison, StudyResult
from shards.cli.wording import percent

__all__ = ["Table", "result_tables", "result_title", "spread", "terms_phrase"]

Table = tuple[str, str, Sequence[str], list[list[str]]]
"""(title, explanation, column headings, rows)."""

AT_FEW = ("tpr_at_fpr_1", "tpr_at_fpr_5", "tpr_at_fpr_10")
AT_FEW_HEAD = tuple(f"detected at ≤ {limit} % false alarms" for limit in (1, 5, 10))


def result_title(row: StudyResult) -> str:
    """Returns the model's name and, for a baseline, how its settings were searched (see :func:`terms_phrase`)."""
    terms = terms_phrase(row)
    kind = "GLASS" if row["kind"] == "glass" else "resize-only"
    return f"{kind} {row['family']}" + ("" if terms == "tuned" else f", {terms}")


def terms_phrase(row: StudyResult | Comparison) -> str:
    """Describes how extensively the settings were searched: ``tuned`` for GLASS; for a baseline, ``equal trials`` or
    ``equal compute``, relative to the search for GLASS. The text also says if an equal-compute search stopped early,
    and at what fraction of GLASS's compute, or if there was no GLASS search to compare with.
    """
    share = row["compute_share"]
    if row["terms"] != "equal compute" or (share is not None and share >= 1):
        return row["terms"]
    if share is None:
        return "no search of GLASS to compare with"
    return f"stopped at {int(100 * share)} % of equal compute"  # 99.6 % is not all of it


def spread(summary: Summary) -> str:
    """Formats a value as mean ± standard deviation."""
    if summary["mean"] is None:
        return "–"
    return number(summary["mean"]) + ("" if summary["sd"] is None else f" ± {summary['sd']:.3f}")


def result_tables(results: Sequence[StudyResult]) -> list[Table]:
    """The tables for ``results``, without empty ones."""
    tables: list[Table] = [
        (
            "Detection at few false alarms",
            "Mean over the seeds, with Student's 95 % interval of the mean.",
            ("model", *AT_FEW_HEAD),
            [[result_title(r), *(_with_interval(r["final"]["summary"][m]) for m in AT_FEW)] for r in results],
        ),
        (
            "By generator",
            "Each generator's images against all real images, mean ± sd over the seeds. The minimum is the mean of "
            "each seed's worst generator.",
            ("model", "images of", "number", "AUROC", *AT_FEW_HEAD),
            [row for r in results for row in _generator_rows(r)],
        ),
        (
            "False alarms on kinds of real images",
            "Share of these real images called generated at 0.5, mean ± sd over the seeds.",
            ("model", "real images", "number", "called generated"),
            [row for r in results for row in _slice_rows(r)],
        ),
        (
            "Calibration",
            "Calibrated on the calibration split and measured on the test split: calibration error (ECE) before and "
            "after, and the false alarms promised and measured.",
            ("model", "ECE before", "ECE after", "promised at most", "false alarms", "promise"),
            [
                _calibration_row(r, r["final"]["tests"]["calibration"])
                for r in results
                if r["final"]["tests"]["calibration"] is not None
            ],
        ),
    ]
    return [table for table in tables if table[3]]


def _with_interval(summary: Summary) -> str:
    if summary["mean"] is None or summary["interval"] is None:
        return number(summary["mean"])
    between = interval_text(summary["mean"], summary["interval"], between=" to ")
    return f"{number(summary['mean'])} ({between})"


def _generator_rows(result: StudyResult) -> list[list[str]]:
    tests = result["final"]["tests"]
    rows = [(name, str(row["images"]), row) for name, row in tests["generators"].items()]
    if rows:
        rows += [
            ("mean over generators", "", tests["generators_mean"]),
            ("minimum over generators", "", tests["generators_minimum"]),
        ]
    return [
        [result_title(result), name, images, *(spread(row[m]) for m in ("auroc", *AT_FEW))]
        for name, images, row in rows
    ]


def _slice_rows(result: StudyResult) -> list[list[str]]:
    return [
        [result_title(result), row["slice"], str(row["images"]), _share(row["false_positive_rate"])]
        for row in result["final"]["tests"]["real_slices"]
    ]


def _share(summary: Summary) -> str:
    return percent(summary["mean"], deviation=summary["sd"])


def _calibration_row(result: StudyResult, calibration: CalibratedSeeds) -> list[str]:
    return [
        result_title(result),
        spread(calibration["before"]["ece"]),
        spread(calibration["after"]["ece"]),
        percent(calibration["max_fpr"]),
        _share(calibration["false_positive_rate"]),
        ", ".join(
            f"{verdict} by {seeds} of {calibration['false_positive_rate']['seeds']} seeds"
            for verdict, seeds in calibration["verdicts"].items()
        ),
    ]
