"""Builds a report's contents as data: summaries of the runs and their data set, and comparisons between the runs.

``report.json`` (:func:`report_document`, declared in ``glass.report.document``) holds the following fields, and one
entry per run, under the run's name:

``format_version``  int, 1
``created``         ISO 8601, UTC
``note``            str | null: what readers must know first (e.g. that the data are a simulation, or a subset)
``split``           str: the split on which the runs were evaluated
``dataset``         ``name``, ``dataset_json_sha256``, ``counts`` (rows of ``split``, ``class``,
                    ``generator``, ``images``), ``evaluated`` (per class of the evaluated split:
                    ``formats``, ``median_megapixels``)
``audit``           ``severity`` and ``findings`` of :class:`glass.auditing.document.Audit`; null if the data set was
                    not audited
``comparisons``     one comparison of the first run with each further run: ``run``, ``baseline`` (the further run),
                    ``metric`` "auroc", ``images`` and the fields of ``glass.measure.bootstrap.Difference``
``<run name>``      ``<split>``: every metric by its name, and ``intervals``, ``confusion``,
                    ``per_generator``, ``samples``, ``threshold``, ``settings``, ``bootstrap``,
                    ``timing``, ``calibration``, ``real_slices`` and ``learnt`` of the
                    evaluation;
                    ``training``: ``finished`` and the parts of :func:`training_summary`;
                    ``robustness``: null | :func:`robustness_summary` of the table that ``glass robustness`` wrote
                    into the run's folder;
                    ``model``; ``settings``: dotted name → value, in the form that ``--set`` takes, and also
                    ``data.*`` and ``environment.*`` from ``run.json``; ``versions``
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from glass.auditing.document import audit_summary, read_audit
from glass.config.dataset_digest import dataset_digest
from glass.config.overrides import flat_settings
from glass.config.run_folder import EpochLine, RunRecord
from glass.measure.bootstrap import paired_difference
from glass.measure.evaluation_schema import Evaluation
from glass.report.document import (
    Comparison,
    DatasetSummary,
    FileFacts,
    SplitClassCount,
    SplitResults,
    TrainingSummary,
    check_report,
)
from glass.report.robustness import robustness_summary
from glass.report.run_data import RunData
from shards.errors import InputError

if TYPE_CHECKING:
    from shards.manifest.dataset import ShardDataset, SplitCounts

__all__ = ["compare_runs", "dataset_summary", "report_document", "training_summary"]

FORMAT_VERSION = 1


def report_document(
    runs: Sequence[RunData], dataset: "ShardDataset", split: str, note: str | None = None
) -> dict[str, Any]:
    """Returns the contents of ``report.json``, described in this module's docstring. The first run is compared with
    each of the others.

    Raises ``InputError`` if a run shares its name with a document field or another run, or if a run's files contain
    invalid values.
    """
    audit = read_audit(Path(dataset.root))
    document: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "note": note,
        "split": split,
        "dataset": dataset_summary(dataset, split),
        "audit": None if audit is None else audit_summary(audit),
        "comparisons": [compare_runs(runs[0], other) for other in runs[1:]],
    }
    for run in runs:
        if run.name in document:
            raise InputError(
                f"a run cannot be called {run.name!r}: give it a name that no other run and no field of report.json has"
            )
        evaluation = run.evaluation
        document[run.name] = {
            split: {**evaluation["metrics"], **_split_results(evaluation)},
            "training": {
                "finished": run.record["finished"] is not None,
                **training_summary(run.epochs, (evaluation["model"]["chosen"] or {}).get("epoch")),
            },
            "model": evaluation["model"],
            "settings": _settings(run.record),
            "robustness": run.robustness and robustness_summary(run.robustness),
            "versions": evaluation["versions"],
        }
    try:
        check_report(document, [run.name for run in runs])
    except ValueError as error:
        raise InputError(
            f"a run or the data set has values that a report cannot show ({error}): run glass evaluate for the runs "
            "again"
        ) from error
    return document


def _split_results(evaluation: Evaluation) -> SplitResults:
    return {
        "intervals": evaluation["intervals"],
        "confusion": evaluation["confusion"],
        "per_generator": evaluation["per_generator"],
        "samples": evaluation["samples"],
        "threshold": evaluation["threshold"],
        "settings": evaluation["settings"],
        "bootstrap": evaluation["bootstrap"],
        "timing": evaluation["timing"],
        "calibration": evaluation.get("calibration"),
        "real_slices": evaluation.get("real_slices", []),
        "learnt": evaluation.get("learnt"),
    }


def compare_runs(run: RunData, baseline: RunData) -> Comparison:
    """Returns the AUROC difference, ``run`` minus ``baseline``, on the images that both scored, with its interval."""
    ours = run.predictions
    places = pc.index_in(ours["sample_key"], baseline.predictions["sample_key"].combine_chunks())
    shared = pc.is_valid(places)
    ours = ours.filter(shared)
    theirs = baseline.predictions.take(places.drop_null())
    bootstrap = run.evaluation["bootstrap"]
    result = paired_difference(
        ours["label"].to_numpy(),
        ours["probability"].to_numpy(),
        theirs["probability"].to_numpy(),
        "auroc",
        bootstrap["draws"],
        bootstrap["seed"],
        ours["group"].to_numpy(),
    )
    return {"run": run.name, "baseline": baseline.name, "metric": "auroc", "images": len(ours), **result}


def training_summary(epochs: Sequence[EpochLine], kept_epoch: int | None) -> TrainingSummary:
    """Summarises ``epochs``, the ``metrics.jsonl`` lines. ``kept_epoch`` is the epoch whose model was evaluated."""
    kept: Mapping[str, Any] = next((entry for entry in epochs if entry["epoch"] == kept_epoch), {})
    train_time_s = _total(epochs, "train_time_s")
    images, wait_s = _total(epochs, "train_images"), _total(epochs, "data_wait_s")
    return {
        "epochs": len(epochs),
        "kept_epoch": kept_epoch,
        "valid_auroc": kept.get("valid_auroc"),
        "valid_accuracy": kept.get("valid_accuracy"),
        "valid_loss": kept.get("valid_loss"),
        "time_s": _total(epochs, "epoch_time_s"),
        "images_per_s": images / train_time_s if images is not None and train_time_s else None,
        "data_wait_share": wait_s / train_time_s if wait_s is not None and train_time_s else None,
    }


def dataset_summary(dataset: "ShardDataset", split: str) -> DatasetSummary:
    """The document's ``dataset`` entry: image counts, and properties of each class's evaluated files."""
    table = dataset.table.select(["label", "format", "width", "height"])
    evaluated = table.take(pa.array(dataset.split_rows(split)))
    return {
        **dataset_digest(dataset.root),
        "counts": _counts(dataset.info.counts),
        "evaluated": {
            "real": _file_facts(evaluated.filter(pc.equal(evaluated["label"], 0))),
            "generated": _file_facts(evaluated.filter(pc.equal(evaluated["label"], 1))),
        },
    }


def _settings(record: RunRecord) -> dict[str, Any]:
    around = {"data": record["data"], "environment": record.get("environment", {})}
    settings = flat_settings(record["config"]) | flat_settings(around)
    settings.pop("data.path", None)  # it describes a machine, not a run
    settings.pop("data.note", None)  # the report shows it at its top
    return settings


def _counts(counts: "Mapping[str, SplitCounts]") -> list[SplitClassCount]:
    """One row per split, class and generator, in the order of ``dataset.json``."""
    rows: list[SplitClassCount] = []
    for split, count in counts.items():
        kinds = [("real", "", count.real)]
        kinds += [("generated", name, images) for name, images in sorted(count.generators.items())]
        rows += [
            {"split": split, "class": kind, "generator": generator, "images": images}
            for kind, generator, images in kinds
        ]
    return rows


def _file_facts(table: pa.Table) -> FileFacts:
    formats = table["format"].cast(pa.string()).value_counts().to_pylist()
    pixels = table["width"].to_numpy().astype(np.int64) * table["height"].to_numpy()
    return {
        "formats": {row["values"]: row["counts"] for row in formats},
        "median_megapixels": float(np.median(pixels)) / 1e6 if len(pixels) else None,
    }


def _total(entries: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Sum of the entries' values for ``name``; None if there are no entries, or if any of them lacks the value."""
    values = [entry[name] for entry in entries if entry.get(name) is not None]
    return float(sum(values)) if values and len(values) == len(entries) else None
