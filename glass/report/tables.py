"""Numbers of a report document as rows of text, the same for the page and for the terminal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from glass.config.learnt_ids import Overlap
from glass.measure.applied_calibration import AppliedCalibration
from glass.measure.evaluation_schema import Samples
from glass.measure.generators import PerGenerator
from glass.measure.weighted_metrics import NUM_ECE_BINS
from glass.report.document import Comparison
from shards.cli.wording import counted

__all__ = [
    "IN_SAMPLE_WARNING",
    "METRIC_ROWS",
    "Cell",
    "GeneratorRow",
    "calibration_sentences",
    "cell",
    "comparison_sentence",
    "duration",
    "few_for_reliability",
    "few_for_roc",
    "generator_rows",
    "interval_text",
    "learnt_sentence",
    "number",
    "percent",
    "score_word",
    "three_digits",
]

METRIC_ROWS = (
    ("auroc", "AUROC", "chance that a generated image scores above a real one; 0.5 is guessing"),
    ("ap", "average precision", "area under precision against recall"),
    ("accuracy", "accuracy", "share of right verdicts"),
    ("balanced_accuracy", "balanced accuracy", "mean of the two accuracies below"),
    ("accuracy_real", "accuracy on real", "share of real images called real"),
    ("accuracy_generated", "accuracy on generated", "share of generated images called generated"),
    ("precision", "precision", "share of “generated” verdicts that are right"),
    ("weighted_f1", "weighted F1", "F1 of both classes, weighted by their images"),
    ("eer", "equal error rate", "where misses and false alarms are equally frequent; low is good"),
    ("tpr_at_fpr_1", "detected at ≤ 1 % false alarms", "the most that keeps that promise here"),
    ("tpr_at_fpr_5", "detected at ≤ 5 % false alarms", "likewise"),
    ("tpr_at_fpr_10", "detected at ≤ 10 % false alarms", "likewise"),
    ("ece", "calibration error (ECE)", "distance of confidence from accuracy; low is good"),
    ("brier", "Brier score", "mean squared error of the score as a probability; low is good"),
    ("nll", "negative log-likelihood", "in nats; low is good"),
    ("mean_confidence", "mean confidence", "in the likelier class"),
    ("mean_confidence_correct", "… where right", "should be high"),
    ("mean_confidence_wrong", "… where wrong", "should be low"),
)
"""Metric, its name for people, how to read it."""


IN_SAMPLE_WARNING = (
    "The threshold was chosen on these very images: accuracy, false alarms and calibration here are"
    " no test results. Evaluate on another split."
)


NO_INTERVAL = "too few to tell"
"""In place of an interval of width zero: no resampling differed, which bounds nothing."""


class Cell(NamedTuple):
    """A number with its interval, as text; ``str()`` gives "0.912 (0.871–0.953)"."""

    value: str
    interval: str = ""

    def __str__(self) -> str:
        return f"{self.value} ({self.interval})" if self.interval else self.value


@dataclass(frozen=True)
class GeneratorRow:
    """One row of a per-generator table, all text."""

    name: str
    images: str
    cells: tuple[Cell, ...]
    """AUROC, AP, detected at ≤ 1 %, 5 % and 10 % false alarms, detected at the threshold."""
    kind: str
    """"generator", "summary" or "real"."""


FEW_PER_POINT = 100
"""With fewer real images, one false alarm is more than the 1 % that the left ROC plot is about."""
FEW_PER_BIN = 20
"""With fewer images per bar, chance moves a point of the reliability diagram by a fifth and more."""


def few_for_roc(samples: Sequence[Samples]) -> str | None:
    """A note where the ROC curves stand on few real images; None where they do not."""
    real = min(one["real"] for one in samples)
    if not 0 < real < FEW_PER_POINT:
        return None
    share = f"one false alarm among {counted(real, 'real image')} is {100 / real:.0f} %"
    return f"Few images: {share}, so read the intervals below, and not single steps of a curve."


def few_for_reliability(samples: Sequence[Samples]) -> str | None:
    """A note where the reliability diagram stands on few images; None where it does not."""
    scored = min(one["scored"] for one in samples)
    if scored >= FEW_PER_BIN * NUM_ECE_BINS:
        return None
    return (
        f"Few images: {counted(scored, 'image')} in up to {NUM_ECE_BINS} bins, so a zigzag is chance; judge by the"
        " calibration error and its interval."
    )


def number(value: float | None, digits: int = 3) -> str:
    """A fixed number of digits; an en dash for what is undefined."""
    return "–" if value is None else f"{value:.{digits}f}"


def three_digits(value: float) -> str:
    """A measured figure: further digits are noise, but all before the point stand there."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percent(value: float | None) -> str:
    """0.034 as "3.4 %"."""
    return "–" if value is None else f"{100 * value:.1f} %"


def duration(seconds: float | None) -> str:
    """Seconds as "1 h 05 min", "3 min 20 s" or "12.3 s"."""
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
    """The ``interval`` of ``value``, both ends as ``show`` prints the value; "" for none.

    With as many digits as the value has, rounding never puts the value outside. Percentiles of the
    bootstrap may leave out the value itself, which the interval then is extended to; where all
    draws agree they say nothing, and neither does this.
    """
    if value is None or interval is None:
        return ""
    low, high = interval
    if low == high:
        return NO_INTERVAL
    return f"{show(min(low, value))}{between}{show(max(high, value))}"


def cell(value: float | None, interval: Sequence[float] | None = None) -> Cell:
    """``value`` and ``interval`` to three digits; an en dash for what is undefined."""
    return Cell(number(value), interval_text(value, interval))


def score_word(calibration: AppliedCalibration | None) -> str:
    """What the scores of an evaluation with this ``calibration`` entry are."""
    return "raw score" if calibration is None else "probability"


def generator_rows(table: PerGenerator) -> list[GeneratorRow]:
    """Rows of ``glass.measure.generators.per_generator``: generators, their mean and minimum, real images."""
    columns = ("auroc", "ap", "tpr_at_fpr_1", "tpr_at_fpr_5", "tpr_at_fpr_10", "recall")
    rows = [
        GeneratorRow(
            name, str(row["images"]), tuple(cell(row[c], row["intervals"].get(c)) for c in columns), "generator"
        )
        for name, row in table["generators"].items()
    ]
    for summary, values in (("mean", table["mean"]), ("minimum", table["minimum"])):
        cells = tuple(cell(values[c]) for c in columns)
        rows.append(GeneratorRow(f"{summary} over generators", "", cells, "summary"))
    real = table["real"]
    rate = cell(real["false_positive_rate"], real["intervals"]["false_positive_rate"])
    blank = (Cell(""),) * (len(columns) - 1)
    rows.append(GeneratorRow("real: false alarms", str(real["images"]), (*blank, rate), "real"))
    return rows


_PROMISES = {
    "kept": "so the promise may hold",
    "fewer than promised": "so there are fewer than promised",
    "not kept": "so the promise is not kept",
}
"""Verdict of a document → its words. A measured rate above the promised one may be chance, which "kept" hides."""


def calibration_sentences(calibration: AppliedCalibration | None) -> list[str]:
    """What ``calibration`` of an evaluation says: the promise beside what was measured, and how
    much is left undecided. Documents of before have neither."""
    if calibration is None:
        return []
    if calibration.get("in_sample"):
        return [IN_SAMPLE_WARNING]
    sentences = []
    if promise := calibration.get("promise"):
        on, (low, high) = promise["calibrated_on"], promise["expected"]
        between = interval_text(promise["rate"], promise["interval"], percent)
        sentences.append(
            f"Promised: at most {percent(promise['max_fpr'])} false alarms"
            f" ({on['false_alarms']} of {on['images']} real images calibrated on). Measured:"
            f" {percent(promise['rate'])}, {promise['false_alarms']} of {promise['images']} real"
            f" images (95 % interval {between}), where {low} to {high} were to be expected,"
            f" {_PROMISES.get(promise['verdict'], promise['verdict'])}."
        )
    uncertain, decided = calibration.get("uncertain"), calibration.get("decided")
    if uncertain and decided:
        sentences.append(
            f"Uncertain: {percent(uncertain['real'])} of the real and"
            f" {percent(uncertain['generated'])} of the generated images. Accuracy on the"
            f" {decided['images']} decided: {cell(decided['accuracy'], decided['interval'])}."
        )
    return sentences


def learnt_sentence(learnt: Overlap | None) -> str | None:
    """A warning where images were learnt from (``glass.config.learnt_ids.overlap``), or where that is not
    known; None where no image was."""
    if learnt is None:
        return (
            "Whether the model was trained on any of these images is not known: nothing says which"
            " images it learnt from."
        )
    images = learnt["images"]
    parts = [
        f"{number:,} of these {counted(images, 'image')} {what}"
        for number, what in ((learnt["train"], "were trained on"), (learnt["valid"], "chose the epoch of this model"))
        if number
    ]
    if not parts:
        return None
    return f"WARNING: {' and '.join(parts)}: these figures are no test results."


def comparison_sentence(comparison: Comparison) -> str:
    """What the paired difference in AUROC says, and what it does not."""
    run, baseline = comparison["run"], comparison["baseline"]
    difference, interval = comparison["difference"], comparison["interval"]
    if difference is None or interval is None:
        return f"{run} and {baseline} cannot be compared: one class only, or no images in common."
    low, high = interval
    where = f"on the same {comparison['images']} images (95 % interval {low:+.3f} to {high:+.3f})"
    if low <= 0 <= high:
        return (
            f"The AUROC of {run} differs from that of {baseline} by {difference:+.3f} {where}: "
            "these images do not show which of the two is better."
        )
    direction = "higher" if difference > 0 else "lower"
    return f"The AUROC of {run} is {abs(difference):.3f} {direction} than that of {baseline} {where}."
