"""The ``glass demo`` endpoint for other programs. It responds to an uploaded file with the ``predict --json``
document.
"""

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
"""The endpoint's name. Client programs rely on it, and on the format that :func:`endpoint_answer` returns."""


def endpoint_answer(detector: "Detector", upload: Path) -> str:
    """The ``glass predict --json`` document for the file at ``upload``, as text (``docs/schemas/predictions.json``).

    The document names the file and the model without their folders on the server. If the file cannot be read, the
    document has a ``reason`` instead of a verdict.
    """
    options = PredictOptions(num_threads=1)
    (verdict,) = detector.predict_iter([FileSource(upload)], options)
    head = document_head(detector, options, Path(detector.trained.name).name)
    document = predictions(head, [replace(verdict, path=upload.name)])
    # As text, because gradio_client would take every JSON object with a "path" for a file and request it.
    return document_text(document, Predictions, indent=1, ascii_only=True)


def add_endpoint(detector: "Detector") -> None:
    """Adds the endpoint, which is not visible, to the Gradio page that is being built."""
    import gradio

    def predict(image: str | None) -> str:
        if not image:
            message = "image is missing: give a file, such as gradio_client's handle_file(PATH)"
            raise gradio.Error(message, print_exception=False)  # no traceback on the server for a caller's mistake
        return endpoint_answer(detector, Path(image))

    upload, document = gradio.File(type="filepath", visible=False), gradio.Textbox(visible=False)
    gradio.Button(visible=False).click(predict, upload, document, api_name=ENDPOINT)
