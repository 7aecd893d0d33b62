"""Records how the pixels that a model was trained on were computed: rules, decoder versions, digests of test pixels.

Versions of Pillow and libjpeg differ in how they upsample chroma, convert colours and shrink images, but most updates
change no pixels. Therefore, the record also holds digests of the pixels that these versions decode and shrink from one
small JPEG. The digests show whether an update changes pixels.
"""

import base64
import hashlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from PIL import features

from glass.config.versions import installed_versions
from glass.export.card_file import PixelRecord
from loaders.config import LoaderConfig
from loaders.decode.choose import inexact_decoder
from shards.cli.command import printable
from shards.images.pixels import decode_rgb, global_view
from shards.optional import optional

__all__ = ["DecoderWarning", "pixel_record", "print_decoder_warnings", "warn_of_other_pixels"]

RULES_VERSION = 1
"""Version of the rules in ``shards.images.pixels``."""

# 40 × 32 pixels, 4:2:0, quality 75, with coloured edges, where different chroma upsampling gives different pixels.
PROBE_JPEG = base64.b64decode(
    """
    /9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkSEw8UHRofHh0aHBwgJC4nICIsIxwc
    KDcpLDAxNDQ0Hyc5PTgyPC4zNDL/2wBDAQkJCQwLDBgNDRgyIRwhMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIy
    MjIyMjIyMjIyMjIyMjIyMjIyMjL/wAARCAAgACgDASIAAhEBAxEB/8QAGAABAQEBAQAAAAAAAAAAAAAABQQABgf/xAAs
    EAABAwMCBAQHAQAAAAAAAAABAgMRAAQSBRMUISIxYYGR8CMkMkFRcfGh/8QAGQEAAwADAAAAAAAAAAAAAAAABAUGAQMH
    /8QALREAAQIEBAQEBwAAAAAAAAAAAQIDAAQRIQUSMVEVIkGRE0JhgRQjJDIzcbH/2gAMAwEAAhEDEQA/APINP08tOlTi
    SgYxKhFXJ08qvA4EkoyByA5etNqs03KAhnqUDMRHKrGbRSEN2wTLijiU/s8ufnTR99ttv4ZJzNpOYKF8ytMu3Um16CMY
    O6uaeDaSATXWwAAJJPaCXrHdw2xnEzjzikU2QVZhsQV4gYjv6UtbaNfMupi3CUEjLqSeXrV9vpLqLzcUgBORMyK1LfmX
    FqcLagp7kVY0SKUqPbfrD/islKEJM02rryrB7wRp9kGmilyEHKYVyrV0S9NU+7k0nIJGJ+3OtQXGpyT+nYZK0JsFUN+1
    opWZxC0BWbWDLbTTZq3HACCMen34VQ5o7l0oXLTm0kdQMdQj+U81acb8PHCOqe/vvVzVrt/K4zPTl+/DzpeubYCcqD8j
    ynr4m2+ldRT1jhOFYu9LOh5o0WP0bEUNjUaRzdro9684FI1J5QSQVJXIn/TTrdtuJ4cA7vbI/kd6WaseB+2eflEf2rmt
    N2/mu89WMfnx86EM8+hOQkhY/KK/ajcetL2JMU6cRE2oKeCTTTlSP4BBNtai0GDgJUTlKedauka03jfifRHTET771qEE
    9igFJEAteUmlSPcg94oGZxsJ5jeP/9k=
    """
)


class DecoderWarning(UserWarning):
    """Issued if decoded pixels may differ from those that the model was trained on."""


@cache
def pixel_record(loader: LoaderConfig) -> PixelRecord:
    """Returns the record for an exported model's ``config.json``: rules, decoders, and digests of test pixels.

    ``loader`` determines how the model's crops are decoded. If a GPU decodes them, the record lists that decoder too,
    under the key ``crops``, because it may produce different pixels.
    """
    pillow, simplejpeg = decode_rgb(PROBE_JPEG), optional("simplejpeg")
    versions = installed_versions()
    turbo = {"simplejpeg": _digest(simplejpeg.decode_jpeg(PROBE_JPEG, "RGB"))} if simplejpeg else {}
    crops = inexact_decoder(loader)
    # A wide and a tall view: Pillow 13 shrinks tall images vertically first, which rounds differently.
    views = [global_view(part, 17) for part in (pillow, np.ascontiguousarray(pillow[:, :18]))]
    return {
        "rules_version": RULES_VERSION,
        "decoders": {
            "pillow": versions.get("pillow"),
            "libjpeg_turbo_of_pillow": features.version_feature("libjpeg_turbo"),
            "simplejpeg": versions.get("simplejpeg"),
            **({"crops": crops} if crops else {}),
        },
        "probe": {"pillow": _digest(pillow), **turbo, "global_view": _digest(np.stack(views))},
    }


def warn_of_other_pixels(recorded: PixelRecord | None, where: str, loader: LoaderConfig) -> None:
    """Issues a :class:`DecoderWarning` if the rules or decoders used here differ from those ``recorded`` with a model.

    ``where`` names the model in the message, and ``loader`` determines how crops are decoded here. If ``recorded`` is
    None, no warning is issued. The warning is attributed to the frame three levels up, the caller of the function that
    opens the model.
    """
    if recorded is None:
        return
    here = pixel_record(loader)
    if recorded["rules_version"] != here["rules_version"]:
        warnings.warn(
            f"{where} was trained with other rules for pixels (version {recorded['rules_version']}, here "
            f"{RULES_VERSION}): its scores are not valid here, so train it again, or use the version that trained it",
            DecoderWarning,
            stacklevel=4,
        )
        return
    then, now = recorded["decoders"], here["decoders"]
    same_pixels = _agree(recorded["probe"], here["probe"]) and then.get("crops") == now.get("crops")
    if same_pixels:
        verdict = "which decode a test file to the same pixels: scores should agree"
    else:
        verdict = "which decode to other pixels: scores may differ"
    if then != now or not same_pixels:
        warnings.warn(
            f"{where} was trained with {_listed(then)}; this machine has {_listed(now)}, {verdict}",
            DecoderWarning,
            stacklevel=4,
        )


@contextmanager
def print_decoder_warnings() -> Iterator[list[str]]:
    """Context manager for commands: prints each :class:`DecoderWarning` as one line on stderr as soon as it is issued.

    Yields a list to which each message is appended. Other warnings are shown as usual.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", DecoderWarning)
        others = warnings.showwarning
        printed = list[str]()

        def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, DecoderWarning):
                printed.append(str(message))
                sys.stderr.write(printable(f"warning: {message}") + "\n")
            else:
                others(message, category, *place, **more)

        warnings.showwarning = show
        yield printed


def _agree(recorded: dict[str, Any], here: dict[str, Any]) -> bool:
    """Whether two records hold the same digest under every key that occurs in both.

    The key ``pillow`` must occur in both; ``simplejpeg`` may be missing from one.
    """
    both = recorded.keys() & here.keys()
    return "pillow" in both and all(recorded[name] == here[name] for name in both)


def _listed(decoders: Any) -> str:
    if not isinstance(decoders, dict):
        return "unknown decoders"
    return ", ".join(f"{name} {version}" for name, version in decoders.items())


def _digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]
