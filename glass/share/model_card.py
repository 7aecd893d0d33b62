"""Writes the model card, which is the ``README.md`` of an exported model: description, results, calibration and limits.

All figures come from the files in the run's folder. The card states which results were not measured.
"""

from pathlib import Path

from glass.auditing.document import Audit, FindingRecord, check_audit, read_audit
from glass.config.dataset_digest import dataset_json_sha256
from glass.config.run_folder import RunFolder
from glass.export.card_file import ModelCard, read_model_card
from glass.measure.applied_calibration import why_not_applicable
from glass.measure.calibration import read_calibration
from glass.measure.evaluation_schema import Evaluation
from glass.measure.result_files import evaluation_in
from glass.report.sentences import calibration_sentences, data_sentences, learnt_sentence
from glass.report.tables import interval_text
from shards.cli.command import markdown_text
from shards.cli.wording import percent
from shards.errors import InputError
from shards.files.json_file import read_json

__all__ = ["model_card"]

_METRICS = (
    ("auroc", "AUROC"),
    ("balanced_accuracy", "balanced accuracy"),
    ("accuracy_real", "real images passed"),
    ("accuracy_generated", "generated images detected"),
    ("tpr_at_fpr_1", "detected at ≤ 1 % false alarms"),
    ("tpr_at_fpr_5", "detected at ≤ 5 % false alarms"),
    ("tpr_at_fpr_10", "detected at ≤ 10 % false alarms"),
    ("ece", "calibration error (ECE)"),
)

_LIMITS = (
    "It detects traces of the generators it was trained on. Images of others, such as newer ones, may go undetected; "
    "the table by generator shows how much results differ between the tested generators.",
    "The rate of false alarms holds for images like those of the calibration. It may differ for edited, filtered, "
    "scanned or heavily compressed photographs.",
    "Re-compression, resizing and sharing weaken the traces. `predict` flags a verdict as unstable if a small change "
    "of that kind flips it.",
    "A verdict is a hint, not a proof. Do not use it alone to accuse anyone.",
)


def model_card(folder: Path, run: Path | None = None, audit: Path | None = None) -> str:
    """Returns the card for the model in ``folder``, as Markdown.

    The results come from the evaluations in the folder ``run``. ``audit`` is a file that ``glass audit --json`` wrote.
    If it is None, the audit of the data set that ``run`` was trained on is used, provided that the data set was audited
    and has not changed. Raises ``InputError`` if a file is damaged.
    """
    card = read_model_card(folder)
    settings = card["config"]
    model, loader = settings["model"], settings["loader"]
    views = f"a global view of {loader['global_size']} × {loader['global_size']} pixels"
    if card["kind"] != "single_view":
        side = loader["crop_size"]
        views += f" and {loader['num_crops']} crops of {side} × {side} at native resolution"
    parts = [
        "---\npipeline_tag: image-classification\ntags:\n- ai-generated-image-detection\n---",
        "# Detector of AI-generated images",
        f"A `{card['kind']}` model (backbone `{markdown_text(model['global_backbone'])}`) that sees {views}. It "
        f"estimates how likely an image is to be AI-generated.{_average(card)}",
        *([f"**Note on its data:** {markdown_text(card['data_note'])}"] if card.get("data_note") else []),
        "```python\nfrom glass.predict.detector import Detector\n\n"
        'detector = Detector.from_pretrained("THIS MODEL")\n'
        'detector.predict(["photo.jpg"])\n```',
        "## Results",
        *_results(run, card["weights_sha256"]),
        "## Calibration",
        _calibration(folder, card["weights_sha256"]),
        "## Training data",
        *_data(run, audit),
        "## Limits",
        "\n".join(f"- {limit}" for limit in _LIMITS),
        "## Reproducing a score",
        _pixels(card),
    ]
    return "\n\n".join(parts) + "\n"


def _average(card: ModelCard) -> str:
    decay = card.get("weight_average")
    return "" if decay is None else f" Its weights are a moving average (decay {decay:g}) over the training steps."


def _results(run: Path | None, weights_sha256: str) -> list[str]:
    documents = [] if run is None else [evaluation_in(p) for p in sorted(run.glob("evaluation-*.json"))]
    own = [d for d in documents if d["model"]["weights_sha256"] == weights_sha256]
    if not own:
        return ["Not measured: no evaluation of these weights was available when this card was written."]
    parts = []
    for document in own:
        samples, rows = document["samples"], document["per_generator"]
        parts.append(
            f"Data `{markdown_text(document['dataset']['name'])}`, split `{markdown_text(document['split'])}`:"
            f" {samples['real']} real and {samples['generated']} generated images. Threshold"
            f" {document['threshold']['value']:.4g} ({markdown_text(document['threshold']['source'])})."
            f"{_views(document)}"
        )
        sentences = calibration_sentences(document.get("calibration"))
        sentences[:0] = data_sentences(document["model"], document["dataset"])
        if learnt := learnt_sentence(document.get("learnt")):
            sentences.insert(0, learnt)
        parts += [" ".join(markdown_text(sentence) for sentence in sentences)] if sentences else []
        lines = ["| metric | value | 95 % interval |", "|---|---|---|"]
        for name, title in _METRICS:
            value = document["metrics"][name]
            shown = interval_text(value, document["intervals"][name], between=" – ")
            lines.append(f"| {title} | {_number(value)} | {shown} |")
        parts.append("\n".join(lines))
        lines = ["| generator | AUROC | detected at ≤ 5 % false alarms |", "|---|---|---|"]
        named = {**rows["generators"], "**mean**": rows["mean"], "**minimum**": rows["minimum"]}
        for name, row in named.items():
            title = name if name.startswith("**") else markdown_text(name)
            lines.append(f"| {title} | {_number(row['auroc'])} | {_number(row['tpr_at_fpr_5'])} |")
        parts.append("\n".join(lines))
    return parts


def _calibration(folder: Path, weights_sha256: str) -> str:
    calibration = read_calibration(folder, weights_sha256)
    if calibration is None:
        return "Not calibrated: scores are raw, and 0.5 is an arbitrary threshold."
    if calibration.is_at_bound:
        why = why_not_applicable(calibration, calibration.views)
        return f"Not calibrated: {why}. Scores are raw, and 0.5 is an arbitrary threshold."
    band = "uncertain in between" if calibration.real_below < calibration.threshold else "no image is uncertain"
    data, alarms, misses = calibration.data, calibration.false_alarms, calibration.called_real
    return (
        f"On {data['real']} real and {data['generated']} generated images of split "
        f"`{markdown_text(str(data.get('split')))}`, {calibration.views}: temperature {calibration.temperature:.4g}. "
        f"Generated from {calibration.threshold:.4f} ({percent(alarms['low'])} to {percent(alarms['high'])} false "
        f"alarms), real below {calibration.real_below:.4f} ({percent(misses['low'])} to {percent(misses['high'])} of "
        f"the generated images); {band}. With another number of crops, coverage or draws, only raw scores "
        "are given."
    )


def _views(document: Evaluation) -> str:
    """Returns a sentence about the crops used in the evaluation: how many and how placed, both of which may differ from
    training.

    Returns an empty string for a model without crops.
    """
    if document["model"]["kind"] == "single_view":
        return ""
    settings = document["settings"]
    return f" Measured with {settings['num_crops']} crops, placed by {markdown_text(settings['sampling'])}."


def _data(run: Path | None, audit: Path | None) -> list[str]:
    document = _own_audit(run) if audit is None else _given_audit(audit)
    if document is None:
        return ["Not audited for format bias or duplicates, or the audit was not available."]
    lines = [_finding(finding) for finding in document["findings"]]
    if not lines:
        return ["The audit of the data found nothing."]
    return ["Findings of the audit of the data:", "\n".join(lines)]


def _finding(finding: FindingRecord) -> str:
    """Formats a finding as a Markdown list item. Its examples are left out, because they are paths on this machine."""
    line = f"- **{finding['severity']}**: {markdown_text(finding['text'])}"
    if interval := finding["interval"]:
        line += f" AUROC interval {_number(interval[0])} – {_number(interval[1])}."
    return line


def _own_audit(run: Path | None) -> Audit | None:
    """The audit of the data set that ``run`` was trained on.

    None if the data set is unknown, missing or not audited, or has changed since the training.
    """
    try:
        record = None if run is None else RunFolder(run).record()
    except InputError:  # a damaged record is no reason to stop an export
        return None
    if record is None or "path" not in record["data"]:
        return None
    root = Path(record["data"]["path"])
    if not (root / "dataset.json").is_file():
        return None
    unchanged = dataset_json_sha256(root) == record["data"]["dataset_json_sha256"]
    return read_audit(root) if unchanged else None


def _given_audit(path: Path) -> Audit:
    try:
        return check_audit(read_json(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not an audit: give the file that glass audit --json wrote") from error


def _pixels(card: ModelCard) -> str:
    pixels = card.get("pixels")
    if not pixels:
        return "The decoders used in training are not recorded."
    decoders = ", ".join(f"{name} {version}" for name, version in pixels["decoders"].items())
    return (
        f"Pixels are RGB, 8 bits, as stored (rules {pixels['rules_version']}), decoded by {markdown_text(decoders)}. "
        "Other decoders may lead to other scores; `predict` warns about them."
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
