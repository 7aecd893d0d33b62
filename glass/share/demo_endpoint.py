"""The endpoint of ``glass demo`` for programs: what ``glass predict --json`` writes, of one uploaded file."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from glass.predict.image_sources import FileSource
from glass.predict.options import PredictOptions
from glass.predict.prediction_files import Predictions, predictions
from glass.predict.verdict_lines import document_head
from shards.files.documents import document_text

if TYPE_CHECKING:
    from glass.predict.detector import Detector

__all__ = ["ENDPOINT", "add_endpoint", "endpoint_answer"]

ENDPOINT = "predict"
"""Its name; programs rely on it, and on what :func:`endpoint_answer` returns."""


def endpoint_answer(detector: "Detector", upload: Path) -> str:
    """The text that ``glass predict --json`` writes (``docs/schemas/predictions.json``), of the file at ``upload``.

    It names the file and the model without their folders, which are of the machine that serves. A file that cannot be
    read has a ``reason``.
    """
    options = PredictOptions(num_threads=1)
    (verdict,) = detector.predict_iter([FileSource(upload)], options)
    head = document_head(detector, options, Path(detector.trained.name).name)
    document = predictions(head, [replace(verdict, path=upload.name)])
    # As text: gradio_client takes every object with a "path" for a file, and asks the server for it.
    return document_text(document, Predictions, indent=1, ascii_only=True)


def add_endpoint(detector: "Detector") -> None:
    """Adds the endpoint to the Gradio page that is being built. People do not see it."""
    import gradio

    def predict(image: str | None) -> str:
        if not image:
            raise gradio.Error("image is missing: give a file, as handle_file of gradio_client makes one")
        return endpoint_answer(detector, Path(image))

    upload, document = gradio.File(type="filepath", visible=False), gradio.Textbox(visible=False)
    gradio.Button(visible=False).click(predict, upload, document, api_name=ENDPOINT)
