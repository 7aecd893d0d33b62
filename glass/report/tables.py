"""Formats a report document's metrics as text rows, for both the HTML page and the terminal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from glass.measure.generators import PerGenerator
from glass.report.document import SplitResults

__all__ = [
    "METRIC_ROWS",
    "Cell",
    "GeneratorRow",
    "cell",
    "duration",
    "generator_rows",
    "interval_text",
    "named_interval",
    "number",
    "three_digits",
    "verdict_counts",
    "weakest_generator",
]

METRIC_ROWS = (
    ("auroc", "AUROC", "chance that a random generated image scores higher than a random real one; 0.5 is guessing"),
    ("ap", "average precision", "area under the precision-recall curve"),
    ("accuracy", "accuracy", "share of images on the correct side of the threshold"),
    ("balanced_accuracy", "balanced accuracy", "mean of the next two rows"),
    ("accuracy_real", "accuracy on real", "share of real images below the threshold"),
    ("accuracy_generated", "accuracy on generated", "share of generated images called generated"),
    ("precision", "precision", "share of generated images among those called generated"),
    ("weighted_f1", "weighted F1", "F1 of both classes, weighted by their numbers of images"),
    ("eer", "equal error rate", "rate at which misses equal false alarms; lower is better"),
    (
        "tpr_at_fpr_1",
        "detected at ≤ 1 % false alarms",
        "share of generated images detected with at most 1 % false alarms",
    ),
    ("tpr_at_fpr_5", "detected at ≤ 5 % false alarms", "the same with at most 5 %"),
    ("tpr_at_fpr_10", "detected at ≤ 10 % false alarms", "the same with at most 10 %"),
    ("ece", "calibration error (ECE)", "mean gap between confidence and accuracy; lower is better"),
    ("brier", "Brier score", "mean squared error of the score as a probability; lower is better"),
    ("nll", "negative log-likelihood", "in nats; lower is better"),
    ("mean_confidence", "mean confidence", "mean probability of the predicted class"),
    ("mean_confidence_correct", "… if correct", "of correct verdicts; should be high"),
    ("mean_confidence_wrong", "… if wrong", "of wrong verdicts; should be low"),
)
"""For each metric: (metric, display name, how to read it)."""


NO_INTERVAL = "too few to tell"
"""Shown instead of an interval that is missing, or has no width because all bootstrap draws agree."""


class Cell(NamedTuple):
    """A number and its interval, as text; ``str()`` returns e.g. "0.912 (0.871–0.953)"."""

    value: str
    interval: str = ""

    def __str__(self) -> str:
        return f"{self.value} ({self.interval})" if self.interval else self.value


@dataclass(frozen=True)
class GeneratorRow:
    """A row of the per-generator results table, as text."""

    name: str
    images: str
    cells: tuple[Cell, ...]
    """AUROC; AP; detection rates at ≤ 1 %, 5 % and 10 % false alarms; and the detection rate at the threshold."""
    kind: str
    """"generator", "summary" or "real"."""


def number(value: float | None, digits: int = 3) -> str:
    """Formats ``value`` with ``digits`` decimals; None becomes an en dash."""
    return "–" if value is None else f"{value:z.{digits}f}"  # z: no -0.000


def weakest_generator(result: PerGenerator) -> str | None:
    """Returns the name of the generator with the lowest AUROC, or None if all AUROCs are equal as shown."""
    shown = {number(row["auroc"]) for row in result["generators"].values() if row["auroc"] is not None}
    return result["worst"] if len(shown) > 1 else None


def three_digits(value: float) -> str:
    """Formats ``value`` with three significant digits, or as a whole number if it is 100 or more."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def duration(seconds: float | None) -> str:
    """Formats seconds as "1 h 05 min", "3 min 20 s" or "12.3 s"; None becomes an en dash."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def interval_text(
    value: float | None, interval: Sequence[float] | None, show: Callable[[float], str] = number, between: str = "–"
) -> str:
    """Formats the ``interval`` around ``value``, using ``show`` for both ends; returns an empty string if the value is
    None.

    Both ends are formatted like the value, so rounding cannot put the value outside the interval. If a bootstrap
    percentile interval excludes the value, it is extended to include it. If there is no interval, or if all draws
    agree, the text is ``NO_INTERVAL``; see ``glass.measure.bootstrap.LEAST_SCENES``.
    """
    if value is None:
        return ""
    low, high = interval or (value, value)
    if abs(high - low) < 1e-9:  # equal draws may be summed up in different orders
        return NO_INTERVAL
    return f"{show(min(low, value))}{between}{show(max(high, value))}"


def named_interval(value: float | None, interval: Sequence[float] | None, show: Callable[[float], str] = number) -> str:
    """As :func:`interval_text`, with the words "95 % interval" before it, for sentences."""
    text = interval_text(value, interval, show)
    return "95 % interval: too few scenes to tell" if text == NO_INTERVAL else f"95 % interval {text}"


def cell(value: float | None, interval: Sequence[float] | None) -> Cell:
    """A cell with ``value`` and ``interval`` to three decimals; an en dash if the value is None."""
    return Cell(number(value), interval_text(value, interval))


def generator_rows(table: PerGenerator) -> list[GeneratorRow]:
    """Returns rows for a result of ``glass.measure.generators.per_generator``: one per generator, then their mean,
    their minimum, and the real images.
    """
    columns = ("auroc", "ap", "tpr_at_fpr_1", "tpr_at_fpr_5", "tpr_at_fpr_10", "recall")
    rows = [
        GeneratorRow(
            name, str(row["images"]), tuple(cell(row[c], row["intervals"].get(c)) for c in columns), "generator"
        )
        for name, row in table["generators"].items()
    ]
    for summary, values in (("mean", table["mean"]), ("minimum", table["minimum"])):
        cells = tuple(Cell(number(values[c])) for c in columns)
        rows.append(GeneratorRow(f"{summary} over generators", "", cells, "summary"))
    real = table["real"]
    rate = cell(real["false_positive_rate"], real["intervals"]["false_positive_rate"])
    blank = (Cell(""),) * (len(columns) - 1)
    rows.append(GeneratorRow("real: false alarms", str(real["images"]), (*blank, rate), "real"))
    return rows


def verdict_counts(results: SplitResults) -> tuple[list[str], list[list[str]]]:
    """Returns a table of verdict counts as (column headings except the first, rows); each row starts with a class name.

    If the calibration has a band of doubt, there is also a column for the verdict ``uncertain``.
    """
    calibration, counts, samples = results["calibration"], results["confusion"], results["samples"]
    shares = calibration.get("uncertain") if calibration else None  # absent in documents of earlier versions
    has_band = shares is not None and calibration and calibration.get("real_below") != results["threshold"]["value"]
    generated = round(((shares and shares["generated"]) or 0) * samples["generated"])
    real = round(((shares and shares["real"]) or 0) * samples["real"])
    rows = [
        ["generated images", counts["hits"], generated, counts["misses"] - generated],
        ["real images", counts["false_alarms"], real, counts["real_passed"] - real],
    ]
    shown = slice(None) if has_band else slice(None, None, 2)
    heads = ["called generated", "uncertain", "called real"][shown]
    return heads, [[str(row[0]), *(f"{count:,}" for count in row[1:][shown])] for row in rows]
