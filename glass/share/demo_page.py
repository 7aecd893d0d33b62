"""The ``glass demo`` page: the user drops an image and sees the page that ``glass predict --html`` writes for it.

The upload is stored and read byte for byte, so its score is the same as in ``glass predict``.
"""

import html
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glass.predict.heatmaps import dense_attention
from glass.predict.image_sources import FileSource
from glass.predict.options import PredictOptions
from glass.predict.source_claims import claims_of
from glass.predict.verdict_lines import document_head
from glass.share.demo_endpoint import add_endpoint
from glass.share.uploads import fetch_nothing
from glass.verdict_page.page import VerdictPage
from glass.verdict_page.page_facts import PageFacts, page_facts
from shards.errors import InputError

if TYPE_CHECKING:
    from glass.predict.detector import Detector

__all__ = ["answer", "build_page", "facts_of", "look"]

OPTIONS = PredictOptions(num_threads=1)


def look(detector: "Detector", facts: PageFacts, path: Path, dense: bool) -> str:
    """Returns the page for the file at ``path`` as HTML, with the verdict and the file's claims about its origin.

    ``dense`` adds the dense attention map if the model sees crops.
    """
    source, page = FileSource(path), VerdictPage(facts, 1)
    (verdict,) = detector.predict_iter([source], OPTIONS)
    # The folder of an upload is named by Gradio and means nothing to the user.
    verdict = replace(verdict, path=path.name, claims=claims_of(source))
    if verdict.reason is not None:
        page.add(verdict, source)
    else:
        loaded = source.load()
        drawn = dense_attention(detector, loaded.pixels) if dense and detector.trained.sees_crops else None
        page.add(verdict, source, loaded, drawn)
    return page.html()


def answer(detector: "Detector", facts: PageFacts, upload: str | None, dense: bool) -> str:
    """The HTML that Gradio shows for the file at ``upload``: the page from :func:`look`, in a frame.

    The frame isolates the page's styles and runs no scripts. Without an upload, the result is empty.
    """
    if not upload:
        return ""
    shown = html.escape(look(detector, facts, Path(upload), dense))
    return f'<iframe sandbox title="verdict" style="width: 100%; height: 85vh; border: 0" srcdoc="{shown}"></iframe>'


def facts_of(detector: "Detector", warnings: Sequence[str] = ()) -> PageFacts:
    """Returns what the page says about the model and the options.

    ``warnings`` are about the detector's decoders. Only the last part of the model's path is shown.
    """
    head = document_head(detector, OPTIONS, Path(detector.trained.name).name)
    return page_facts(detector, OPTIONS, head, warnings)


def build_page(detector: "Detector", warnings: Sequence[str] = ()) -> Any:
    """Returns the Gradio app, not yet launched. ``warnings`` are those of :func:`facts_of`.

    Raises ``InputError`` if the extra ``demo`` is not installed.
    """
    try:
        import gradio
    except ImportError as error:
        raise InputError("the demo page needs an extra: pip install -e '.[demo]'") from error
    fetch_nothing()
    facts = facts_of(detector, warnings)
    # No telemetry: people may show this page images that they want to keep private.
    with gradio.Blocks(title="Is this image generated?", analytics_enabled=False) as page:
        gradio.Markdown("# Is this image generated?")
        upload = gradio.File(label="An image file", type="filepath", height=120)
        dense = gradio.Checkbox(label="Also draw a dense map of attention (slower)", value=False)
        verdict = gradio.HTML()
        for event in (upload.change, dense.change):
            event(partial(answer, detector, facts), [upload, dense], [verdict], api_name=False)
        add_endpoint(detector)
    return page
