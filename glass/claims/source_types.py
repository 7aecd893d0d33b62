"""Phrases and claims for IPTC's digital source types: codes from a public vocabulary that say how a picture was
made."""

import re

from glass.claims.claim import Claim, quoted

__all__ = ["iptc_claims", "source_type_phrase"]

_EXTENSION = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_SOURCE_TYPE = f"{_EXTENSION} DigitalSourceType"
_SYSTEM, _VERSION = f"{_EXTENSION} AISystemUsed", f"{_EXTENSION} AISystemVersionUsed"
_CODE = re.compile(r"[A-Za-z0-9]{1,64}")

PHRASES = {
    "trainedAlgorithmicMedia": "created by a trained model",
    "compositeWithTrainedAlgorithmicMedia": "edited or composed with parts that a trained model created",
    "algorithmicMedia": "created by an algorithm that was trained on no pictures",
    "compositeSynthetic": "composed of parts, some of them synthetic",
    "composite": "composed of several parts",
    "compositeCapture": "composed of captures from real life",
    "digitalCapture": "captured from real life by a digital camera",
    "computationalCapture": "captured from real life and combined by computation",
    "negativeFilm": "digitised from a negative on film",
    "positiveFilm": "digitised from a positive on film",
    "print": "digitised from a print",
    "humanEdits": "edited by a person without a generating tool",
    "minorHumanEdits": "captured from real life with minor edits by a person",
    "algorithmicallyEnhanced": "altered by an algorithm that was trained on no pictures",
    "digitalCreation": "created by a person with digital tools",
    "digitalArt": "created by a person with digital tools",
    "dataDrivenMedia": "drawn from data",
    "softwareImage": "created by software",
    "screenCapture": "captured from a screen",
    "virtualRecording": "recorded from a virtual event",
    "trainedAlgorithmicData": "data created by a trained model",
    "empty": "an empty picture",
}
"""Maps codes to phrases. The codes are those of https://cv.iptc.org/newscodes/digitalsourcetype/, including retired
ones, and two codes that C2PA defines."""


def source_type_phrase(value: str) -> str:
    """Returns a phrase for a source type, with its code in parentheses. ``value`` is the code, its URL, or
    ``digsrctype:CODE``."""
    code = re.split("[/:]", value.rstrip("/"))[-1]
    if code in PHRASES:
        return f"{PHRASES[code]} (IPTC {code})"
    return f"of a source type that IPTC does not define ({quoted(code if _CODE.fullmatch(code) else value, 80)})"


def iptc_claims(properties: list[tuple[str, str]]) -> list[Claim]:
    """Returns the claims in a file's XMP ``properties``.

    There is one claim for each source type. If the properties name an AI system but no source type, the only claim is
    one that names the system.
    """
    types = dict.fromkeys(value for name, value in properties if name == _SOURCE_TYPE)
    system = " ".join(next((v for n, v in properties if n == wanted), "") for wanted in (_SYSTEM, _VERSION)).strip()
    by = f", with {quoted(system, 100)}" if system else ""
    said = [f"{source_type_phrase(value)}{by}" for value in types]
    if system and not said:
        said = [f"created with {quoted(system, 100)} (IPTC AISystemUsed)"]
    return [Claim("iptc", "not checked", phrase) for phrase in said]
