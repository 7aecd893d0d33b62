"""Encodes images as data URIs, at the best quality that keeps them within a total size limit."""

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["encoder", "shrink"]

Pixels = npt.NDArray[np.uint8]


def shrink(image: Pixels, longest_side: int) -> Pixels:
    """Returns ``image`` (H, W, 3), scaled down if its longer side has more than ``longest_side`` pixels."""
    height, width = image.shape[:2]
    scale = min(1.0, longest_side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def encoder(images: Sequence[Pixels], budget_bytes: int, *, lossless: bool) -> tuple[Callable[[Pixels], str], str]:
    """Returns (function that turns pixels into a data URI, its format's name: "PNG" or, for example, "JPEG 88").

    The formats are tried in this order: PNG (only if ``lossless``), then JPEG at quality 95, 88, 78, 65 and 40. The
    first in which ``images`` take up at most ``budget_bytes`` in total (before base64 adds a third) is used; if none is
    small enough, JPEG 40 is used.
    """
    choices: list[dict[str, Any]] = [{"format": "PNG"}] if lossless else []
    choices += [{"format": "JPEG", "quality": q, "subsampling": 0} for q in (95, 88, 78, 65, 40)]
    fitting = choices[-1]
    for choice in choices:
        if sum(len(_encode(image, choice)) for image in images) <= budget_bytes:
            fitting = choice
            break
    kind = fitting["format"]

    def as_uri(image: Pixels) -> str:
        payload = base64.b64encode(_encode(image, fitting)).decode()
        return f"data:image/{kind.lower()};base64,{payload}"

    return as_uri, f"{kind} {fitting['quality']}" if "quality" in fitting else kind


def _encode(image: Pixels, choice: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, **choice)
    return buffer.getvalue()
