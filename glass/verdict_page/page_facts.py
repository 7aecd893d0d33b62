"""What a verdict page says about the model: its name, training and calibration, and what it sees."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glass.config.run_folder import read_record
from glass.measure.applied_calibration import why_not_applicable
from glass.model.hub import local_folder
from glass.predict.options import PredictOptions
from glass.predict.prediction_files import PredictionHead
from shards.cli.wording import counted, percent

if TYPE_CHECKING:
    from glass.predict.detector import Detector

__all__ = ["PageFacts", "page_facts"]


@dataclass(frozen=True)
class PageFacts:
    """The page contents that do not depend on the images."""

    head: PredictionHead
    global_size: int
    """Side of the model's global view, in pixels."""
    facts: Sequence[tuple[str, str]]
    """(name, text) for each entry about the model and its views."""
    warnings: Sequence[str] = ()
    """Warnings about the detector's decoders."""


def page_facts(
    detector: "Detector", options: PredictOptions, head: PredictionHead, warnings: Sequence[str] = ()
) -> PageFacts:
    """Returns what the page says about ``detector``, whatever the images.

    ``head`` is what ``document_head`` returns for ``detector`` and ``options``; ``warnings`` are about the detector's
    decoders.
    """
    trained = detector.trained
    networks = trained.card.get("backbones") or {}
    rows = [
        ("Model", f"{head['model']['path']}, {_KINDS.get(trained.config.model.kind, trained.config.model.kind)}"),
        ("Weights", f"SHA-256 {trained.weights_sha256}"),
        ("Networks", ", ".join(f"{name} {network}" for name, network in networks.items() if network)),
        ("Trained on", _trained_on(trained.name)),
        ("Calibration", _calibration(detector, options)),
        ("Sees", _views(detector, options)),
    ]
    global_size = trained.config.loader.global_size
    return PageFacts(head, global_size, [(name, text) for name, text in rows if text], warnings)


_KINDS = {
    "glass": "which sees the shrunken image and crops in full resolution",
    "single_view": "which sees only the shrunken image",
}


def _trained_on(model: str) -> str:
    """Names the data set that the model was trained on, from its run's record.

    If there is no record, as for an exported model, or if it cannot be read, the text says so.
    """
    folder = local_folder(model)
    record = None if folder is None else folder.parent / "run.json"
    try:
        if record is None or not Path(record).is_file():
            return "not recorded with this model"
        data = read_record(record)["data"]
    except (OSError, ValueError) as error:
        return f"unknown: {record} cannot be read ({error})"
    return f"{data['name']} (SHA-256 of dataset.json: {data['dataset_json_sha256']})"


def _calibration(detector: "Detector", options: PredictOptions) -> str:
    calibration = detector.trained.calibration
    if calibration is None:
        return "none: run glass calibrate, which chooses a threshold and turns scores into probabilities"
    if why := why_not_applicable(calibration, detector.views(options)):
        return f"not used: {why}"
    data, alarms, missed = calibration.data, calibration.false_alarms, calibration.called_real
    where = f" of {data['name']}" if "name" in data else ""
    split = f", split {data['split']}" if "split" in data else ""
    return (
        f"threshold and probabilities were chosen on {counted(data['real'], 'real image')} and {data['generated']:,} "
        f"generated{where}{split}. On images like these, {percent(alarms['low'])} to {percent(alarms['high'])} of "
        f"real images are called generated, and {percent(missed['low'])} to {percent(missed['high'])} of generated "
        "images are called real (95 % intervals)"
    )


def _views(detector: "Detector", options: PredictOptions) -> str:
    loader, views = detector.trained.config.loader, detector.views(options)
    whole = f"the whole image, resized to {loader.global_size} × {loader.global_size} pixels"
    if not detector.trained.sees_crops:
        return whole
    return f"{whole}, and {views} of {loader.crop_size} × {loader.crop_size} pixels"
