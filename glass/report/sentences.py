"""Sentences about the results in a report, for both the page and the terminal."""

from collections.abc import Sequence

from glass.config.dataset_digest import DatasetDigest
from glass.config.learnt_ids import Overlap
from glass.measure.applied_calibration import AppliedCalibration
from glass.measure.calibration import why_worse
from glass.measure.evaluation_schema import MeasuredModel, Samples
from glass.measure.weighted_metrics import NUM_ECE_BINS
from glass.report.document import Comparison
from glass.report.tables import cell, named_interval
from shards.cli.wording import counted, percent

__all__ = [
    "IN_SAMPLE_WARNING",
    "calibration_sentences",
    "comparison_sentence",
    "data_sentences",
    "few_for_reliability",
    "few_for_roc",
    "learnt_sentence",
    "score_word",
    "why_calibration_is_worse",
]

IN_SAMPLE_WARNING = (
    "The threshold was chosen on these images, so their accuracy, false alarms and calibration are not test results: "
    "run glass evaluate on another split."
)


FEW_PER_POINT = 100
"""With fewer real images than this, a single false alarm is a rate above 1 %, which is too coarse for the left ROC
plot."""
FEW_PER_BIN = 20
"""With fewer images per bin than this, chance alone can move a point in the reliability diagram by 0.2 or more."""


def few_for_roc(samples: Sequence[Samples]) -> str | None:
    """Returns a warning if the ROC curves are based on too few real images, else None."""
    real = min(one["real"] for one in samples)
    if not 0 < real < FEW_PER_POINT:
        return None
    share = f"one false alarm among {counted(real, 'real image')} is {percent(1 / real, 0)}"
    return f"Few images: {share}, so rely on the intervals below, not on single steps of a curve."


def few_for_reliability(samples: Sequence[Samples]) -> str | None:
    """Returns a warning if the reliability diagram is based on too few images, else None."""
    scored = min(one["scored"] for one in samples)
    if scored >= FEW_PER_BIN * NUM_ECE_BINS:
        return None
    return (
        f"Few images: {counted(scored, 'image')} in up to {NUM_ECE_BINS} bins, so a zigzag curve may be due to chance; "
        "rely on the calibration error and its interval."
    )


def score_word(calibration: AppliedCalibration | None) -> str:
    """Returns what to call the scores in an evaluation with this ``calibration`` entry: ``raw score`` or
    ``probability``.
    """
    return "raw score" if calibration is None else "probability"


_PROMISES = {
    "kept": "so the promise may hold",
    "fewer than promised": "so false alarms are rarer than promised",
    "not kept": "so the promise is not kept",
}
"""Maps a document's verdict on the promised false-alarm rate to its wording in the report. "kept" is worded as "may
hold", because it includes measured rates that exceed the promised one by no more than chance can explain."""


def calibration_sentences(calibration: AppliedCalibration | None) -> list[str]:
    """Returns sentences about an evaluation's ``calibration`` entry.

    One sentence compares the promised false-alarm rate with the measured one; another states how many images are
    uncertain. If the calibration was made on the evaluated images, the only sentence is a warning. There are none if
    there is no calibration, or if the document is from an earlier version that lacks these figures.
    """
    if calibration is None:
        return []
    if calibration.get("in_sample"):
        return [IN_SAMPLE_WARNING]
    sentences = []
    if promise := calibration.get("promise"):
        on, (low, high) = promise["calibrated_on"], promise["expected"]
        between = named_interval(promise["rate"], promise["interval"], percent)
        sentences.append(
            f"Promised: at most {percent(promise['max_fpr'])} false alarms ({on['false_alarms']} of {on['images']} "
            f"real images at calibration). Measured: {percent(promise['rate'])}, "
            f"{promise['false_alarms']} of {promise['images']} real images ({between}), and {low} to "
            f"{high} were expected, {_PROMISES.get(promise['verdict'], promise['verdict'])}."
        )
    uncertain, decided = calibration.get("uncertain"), calibration.get("decided")
    if uncertain and decided:
        sentences.append(
            f"Uncertain: {percent(uncertain['real'])} of the real and {percent(uncertain['generated'])} of the "
            f"generated images. Accuracy on the {decided['images']} images with a decided verdict: "
            f"{cell(decided['accuracy'], decided['interval'])}."
        )
    return sentences


def why_calibration_is_worse(calibration: AppliedCalibration | None) -> str:
    """Explains why calibration has raised the calibration error; ``""`` if it has not, or if the reason is unknown."""
    if calibration is None or not calibration.get("cautious") or "data" not in calibration:
        return ""
    before, after = calibration["before"]["ece"], calibration["after"]["ece"]
    return why_worse(calibration["data"]) if before is not None and after is not None and after > before else ""


def learnt_sentence(learnt: Overlap | None) -> str | None:
    """Returns a warning if the model learnt from any of the evaluated images, or if that is unknown; else None.

    ``learnt`` is the result of :func:`glass.config.learnt_ids.overlap`.
    """
    if learnt is None:
        return (
            "It is unknown whether the model was trained on any of these images, because it has no record of the "
            "images it learnt from."
        )
    images = learnt["images"]
    parts = [
        f"{number:,} of these {counted(images, 'image')} {what}"
        for number, what in (
            (learnt["train"], "were used to train the model"),
            (learnt["valid"], "were used to choose its epoch"),
        )
        if number
    ]
    if not parts:
        return None
    return f"WARNING: {' and '.join(parts)}, so these figures are not test results."


def data_sentences(model: MeasuredModel, dataset: DatasetDigest) -> list[str]:
    """Returns sentences with the notes on two data sets: the one that ``model`` was trained on, and ``dataset``, on
    which it was measured.
    """
    whose: dict[str, list[str]] = {}
    for note, what in ((model.get("data_note"), "learnt from"), (dataset.get("note"), "was measured on")):
        if note:
            whose.setdefault(note, []).append(what)
    return [f"Note on the data that the model {' and '.join(what)}: {note}" for note, what in whose.items()]


def comparison_sentence(comparison: Comparison) -> str:
    """States which run has the higher AUROC, or that there are too few images to decide."""
    run, baseline = comparison["run"], comparison["baseline"]
    difference, interval = comparison["difference"], comparison["interval"]
    if difference is None:
        return f"{run} and {baseline} cannot be compared: they share no images, or only images of one class."
    if interval is None:
        return (
            f"The AUROC of {run} differs from that of {baseline} by {difference:+z.3f} on the same "
            f"{comparison['images']} images: too few scenes to tell which of the two is better."
        )
    low, high = interval
    where = f"on the same {comparison['images']} images (95 % interval {low:+z.3f} to {high:+z.3f})"
    if low <= 0 <= high:
        return (
            f"The AUROC of {run} differs from that of {baseline} by {difference:+z.3f} {where}: these images do not "
            "show which of the two is better."
        )
    direction = "higher" if difference > 0 else "lower"
    return f"The AUROC of {run} is {abs(difference):.3f} {direction} than that of {baseline} {where}."
