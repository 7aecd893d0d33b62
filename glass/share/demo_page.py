"""The page of ``glass demo``: drop an image, see verdict, windows, heat map and stability.

The upload arrives as a file and is read as its bytes, never re-encoded, so its score is that of
``glass predict`` on the same file.
"""

import html
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from glass.predict.heatmaps import dense_attention, draw_dense, draw_windows
from glass.predict.image_sources import FileSource
from glass.predict.options import PredictOptions
from glass.predict.verdicts import ImageVerdict
from glass.share.demo_endpoint import add_endpoint
from shards.errors import InputError

if TYPE_CHECKING:
    from glass.predict.detector import Detector

__all__ = ["answer", "build_page", "describe", "look"]

COLOURS = {"generated": "#b3261e", "real": "#1b6e3c", "uncertain": "#8a6100"}


_STABILITY = {
    True: "The verdict is <b>unstable</b>: after a harmless change it is another.",
    False: "Harmless changes leave the verdict as it is.",
    None: "Whether harmless changes leave the verdict as it is was not tested.",
}


def look(detector: "Detector", path: Path, dense: bool) -> tuple[ImageVerdict, Image.Image | None, Image.Image | None]:
    """(verdict on the file at ``path``, the image with its windows drawn in, the image with the dense attention map).

    The map is None unless ``dense`` and the model sees crops; both images are None if the file cannot be read, which
    the verdict's ``reason`` explains.
    """
    source = FileSource(path)
    (verdict,) = detector.predict_iter([source], PredictOptions(num_threads=1))
    if verdict.reason is not None:
        return verdict, None, None
    pixels = source.load().pixels
    windows = draw_windows(pixels, verdict)
    if not (dense and detector.trained.sees_crops):
        return verdict, windows, None
    return verdict, windows, draw_dense(pixels, *dense_attention(detector, pixels))


def describe(verdict: ImageVerdict) -> str:
    """The verdict as HTML. Names of files are untrusted and escaped."""
    if verdict.reason is not None:
        return f"<p>This file cannot be read: {html.escape(verdict.reason)}</p>"
    assert verdict.score is not None
    assert verdict.verdict is not None
    if verdict.probability is not None:
        value = f"probability of being generated {verdict.probability:.1%}"
    else:
        value = f"raw score {verdict.score:.4f}, not calibrated"
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{score:.4f}</td></tr>"
        for name, score in {"as it is": verdict.score, **verdict.change_scores}.items()
    )
    stable = _STABILITY[verdict.unstable]
    learnt = "<p><b>The model learnt from this very image</b>: its verdict is not a test.</p>" if verdict.learnt else ""
    return (
        f'<p style="font-size:1.6em"><b style="color:{COLOURS[verdict.verdict]}">'
        f"{verdict.verdict}</b></p>"
        f"<p>{value}; {verdict.width} × {verdict.height} pixels</p><p>{stable}</p>{learnt}"
        f"<table><tr><th></th><th>raw score</th></tr>{rows}</table>"
        "<p>A verdict is a hint, not a proof.</p>"
    )


def answer(detector: "Detector", upload: str | None, dense: bool) -> tuple[str, Any, Any]:
    """The page's outputs for the file at ``upload``: HTML, windows, dense map."""
    if not upload:
        return "", None, None
    verdict, windows, attention = look(detector, Path(upload), dense)
    return describe(verdict), windows, attention


def build_page(detector: "Detector") -> Any:
    """The Gradio app, not launched. Raises ``InputError`` if the extra is missing."""
    try:
        import gradio
    except ImportError as error:
        raise InputError("the page needs an extra: pip install -e '.[demo]'") from error
    # No telemetry: people may show this page images that they want to keep private.
    with gradio.Blocks(title="Is this image generated?", analytics_enabled=False) as page:
        gradio.Markdown("# Is this image generated?")
        with gradio.Row():
            with gradio.Column():
                upload = gradio.File(label="An image file", type="filepath")
                dense = gradio.Checkbox(label="Also a dense map (slower)", value=False)
                verdict = gradio.HTML()
            with gradio.Column():
                # The button that is left out would share the image with the world.
                shown = {"format": "png", "buttons": ["download", "fullscreen"]}
                windows = gradio.Image(label="Windows, red where it looked most", **shown)
                attention = gradio.Image(label="Dense map of attention", **shown)
        for event in (upload.change, dense.change):
            event(partial(answer, detector), [upload, dense], [verdict, windows, attention], api_name=False)
        add_endpoint(detector)
    return page
