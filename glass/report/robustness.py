"""Formats the table from ``glass.measure.robustness`` as text, for the terminal and for reports."""

from pathlib import Path

from glass.measure.bootstrap import Difference
from glass.measure.evaluation_schema import Evaluation
from glass.measure.result_files import ROBUSTNESS, found_of, read_robustness
from glass.measure.robustness_schema import ContenderResults, Robustness
from glass.report.document import RobustnessSummary, SummaryRowModel
from glass.report.tables import cell, interval_text, number, weakest_generator
from shards.cli.command import printable
from shards.cli.wording import percent

__all__ = ["own_robustness", "robustness_summary", "robustness_table"]

HEAD = ("images", "AUROC", "detected at ≤ 1 % false alarms", "worst generator")
DIFFERENCE = "AUROC minus the first model's"


def own_robustness(run: Path, evaluation: Evaluation) -> Robustness | None:
    """The robustness table in ``run`` measured with the same weights and data as ``evaluation``; None if there is none.

    Raises ``InputError`` if the file is damaged.
    """
    split, digest = evaluation["split"], evaluation["dataset"]["dataset_json_sha256"]
    document = read_robustness(run, split, found_of(run, ROBUSTNESS, split, digest))
    if document is None:
        return None
    weights = {model["weights_sha256"] for model in document["models"].values()}
    same_data = document["dataset"]["dataset_json_sha256"] == digest
    same_weights = evaluation["model"]["weights_sha256"] in weights
    return document if same_data and same_weights else None


def robustness_table(document: Robustness, model: str) -> tuple[list[str], list[list[str]]]:
    """Returns the table for ``model`` as (column headings, rows), with one row per perturbation.

    The heading of the false alarms names their threshold, because the model may have been calibrated since.
    """
    alarms = f"false alarms at the threshold {document['models'][model]['threshold']['value']:.4g}"
    several = len(document["models"]) > 1
    rows = []
    for row in document["rows"]:
        result = row["models"][model]
        metrics, intervals = result["metrics"], result["intervals"]
        generators = result["per_generator"]
        lowest, weakest = number(generators["minimum"]["auroc"]), weakest_generator(generators)
        cells = [
            row["title"],
            *(str(cell(metrics[name], intervals[name])) for name in ("auroc", "tpr_at_fpr_1")),
            lowest if weakest is None else f"{lowest} {printable(weakest)}",
            percent(generators["real"]["false_positive_rate"]),
        ]
        rows.append([*cells, *([_difference(row["differences"].get(model))] if several else [])])
    return [*HEAD, alarms, *([DIFFERENCE] if several else [])], rows


def robustness_summary(document: Robustness) -> RobustnessSummary:
    """Returns the part of the robustness table that is stored in ``report.json``."""
    return {
        "worst": document["worst"],
        "rows": [
            {
                "name": row["name"],
                "title": row["title"],
                "models": {name: _numbers(result) for name, result in row["models"].items()},
                "differences": row["differences"],
            }
            for row in document["rows"]
        ],
    }


def _numbers(result: ContenderResults) -> SummaryRowModel:
    generators, intervals = result["per_generator"], result["intervals"]
    return {
        "auroc": result["metrics"]["auroc"],
        "tpr_at_fpr_1": result["metrics"]["tpr_at_fpr_1"],
        "intervals": {"auroc": intervals["auroc"], "tpr_at_fpr_1": intervals["tpr_at_fpr_1"]},
        "minimum": generators["minimum"]["auroc"],
        "worst": generators["worst"],
        "false_positive_rate": generators["real"]["false_positive_rate"],
    }


def _difference(value: Difference | None) -> str:
    if value is None or value["difference"] is None:
        return ""
    signed = "{:+z.3f}".format
    between = interval_text(value["difference"], value["interval"], signed, " to ")
    return f"{signed(value['difference'])} ({between})"
