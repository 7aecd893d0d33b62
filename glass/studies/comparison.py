"""GLASS against its baseline, seed by seed."""

from collections.abc import Sequence
from typing import Any

from glass.config.documents import Maybe
from glass.studies.seed_results import student_interval, summary

__all__ = ["COMPARISON_ROW", "comparisons"]

COMPARED = ("accuracy", "auroc")

COMPARISON_ROW: dict[str, Any] = {
    "family": str,
    "terms": str,
    "compute_share": Maybe(float),  # of GLASS's search, that the baseline's used
    "metric": str,
    "glass": Maybe(float),
    "baseline": Maybe(float),
    "difference": Maybe(float),
    "interval": Maybe([float]),  # Student's, over the seeds, paired
}


def comparisons(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """GLASS minus baseline, seed by seed, for every family, terms and metric."""
    rows = []
    ours = {row["family"]: row for row in results if row["kind"] == "glass"}
    for other in (row for row in results if row["kind"] != "glass" and row["family"] in ours):
        glass = ours[other["family"]]
        for metric in COMPARED:
            a, b = ({seed["seed"]: seed["metrics"][metric] for seed in row["final"]["seeds"]} for row in (glass, other))
            differences = [a[seed] - b[seed] for seed in a if a[seed] is not None and b.get(seed) is not None]
            rows.append(
                {
                    "family": other["family"],
                    "terms": other["terms"],
                    "compute_share": other["compute_share"],
                    "metric": metric,
                    "glass": glass["final"]["summary"][metric]["mean"],
                    "baseline": other["final"]["summary"][metric]["mean"],
                    "difference": summary(differences)["mean"],
                    "interval": student_interval(differences),
                }
            )
    return rows
