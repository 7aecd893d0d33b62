"""Builds the tables for crop studies and baselines, with every measured figure."""

from collections.abc import Sequence

from glass.report.tables import number, three_digits
from glass.studies.crop_documents import CropStudy, InferenceRow, TrainingRow
from glass.studies.study_documents import StudyDocument
from shards.cli.wording import counted

__all__ = [
    "BASELINE_HEAD",
    "FIT_HEAD",
    "baseline_rows",
    "fit_rows",
    "inference_table",
    "interval",
    "not_fitting",
    "training_table",
]

MIB = 2**20
FIT_HEAD = ("model", "slope per crop", "intercept (no crops)", "per crop", "95 % interval", "R²")
BASELINE_HEAD = ("baseline", "batch", "peak memory of a step", "step", "epoch")

Rows = list[list[str]]


def training_table(study: CropStudy) -> tuple[list[str], Rows]:
    """Returns the training-cost table as (column headings, rows), with one row per number of crops."""
    memory = _memory_names(study["training"])
    head = [
        "crops",
        "step",
        "epoch",
        "data wait of an epoch",
        *memory.values(),
        "validation accuracy",
        "images without a full grid",
    ]
    rows = [
        [
            str(row["num_crops"]),
            f"{1e3 * row['step_time_s']:.0f} ms",
            f"{row['epoch_time_s']:.2f} s",
            f"{row['data_wait_s']:.2f} s",
            *(f"{three_digits(row['memory'][name] / MIB)} MiB" for name in memory),
            number(row["accuracy"]),
            f"{row['images_without_grid']} of {study['train_images']}",
        ]
        for row in study["training"]
    ]
    return head, rows


def inference_table(study: CropStudy) -> tuple[list[str], Rows]:
    """Returns the table of prediction quality and cost as (column headings, rows), with one row per number of crops."""
    found = study["inference"]["rows"]
    memory = _memory_names(found)
    head = ["crops", "accuracy", "95 % interval", "ECE", "latency of an image", "images/s", *memory.values()]
    rows = [
        [
            str(row["num_crops"]),
            number(row["metrics"]["accuracy"]),
            interval(row["intervals"]["accuracy"], ".3f"),
            number(row["metrics"]["ece"]),
            f"{three_digits(1e3 * row['latency_s'])} ms",
            three_digits(row["images_per_s"]),
            *(f"{three_digits(row['memory'][name] / MIB)} MiB" for name in memory),
        ]
        for row in found
    ]
    return head, rows


def not_fitting(study: CropStudy) -> list[str]:
    """Returns one sentence for each number of crops that did not fit into memory."""
    return [f"{counted(row['num_crops'], 'crop')}, {row['part']}: {row['why']}" for row in study["did_not_fit"]]


def fit_rows(document: StudyDocument) -> Rows:
    """Returns the table rows for the lines fitted in all crop studies in ``document``."""
    rows = []
    for name, study in document["crop_studies"].items():
        for what, fit in study["fits"].items():
            scale, unit = (MIB, "MiB") if what.endswith("_bytes") else (1e-3, "ms")
            rows.append(
                [
                    name,
                    what.removesuffix("_bytes").removesuffix("_s").replace("_", " "),
                    f"{three_digits(fit['intercept'] / scale)} {unit}",
                    f"{three_digits(fit['slope'] / scale)} {unit}",
                    _three_digits_between(fit["slope_interval"], scale),
                    "–" if fit["r2"] is None else f"{fit['r2']:.3f}",
                ]
            )
    return rows


def baseline_rows(document: StudyDocument) -> Rows:
    """Returns table rows with the memory and time needed to train each baseline."""
    rows = []
    for row in document["baseline_memory"]:
        memory = ", ".join(
            f"{name.removesuffix('_bytes')} {size / MIB:.0f} MiB" for name, size in row["memory"].items()
        )
        step, epoch = row["step_time_s"], row["epoch_time_s"]
        rows.append(
            [
                row["name"],
                str(row["batch"]),
                memory or row["why"] or "–",
                "–" if step is None else f"{1e3 * step:.0f} ms",
                "–" if epoch is None else f"{epoch:.2f} s",
            ]
        )
    return rows


def interval(values: Sequence[float] | None, form: str, scale: float = 1.0) -> str:
    """Formats an interval as ``low to high``, in units of ``scale`` and with format ``form``; a dash for None."""
    if values is None:
        return "–"
    return f"{values[0] / scale:{form}} to {values[1] / scale:{form}}"


def _three_digits_between(values: Sequence[float] | None, scale: float) -> str:
    return "–" if values is None else " to ".join(three_digits(value / scale) for value in values)


def _memory_names(rows: Sequence[TrainingRow] | Sequence[InferenceRow]) -> dict[str, str]:
    """Maps the name of each memory measurement to its column heading."""
    names = rows[0]["memory"] if rows else ()
    return {name: f"{name.removesuffix('_bytes')} memory" for name in names}
