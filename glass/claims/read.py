"""Reads a file's claims and summarises them in one sentence."""

from collections.abc import Callable, Sequence
from typing import Literal

from PIL import ImageFile

from glass.claims.claim import Claim
from glass.claims.content_credentials import elsewhere_claim, signed_claim
from glass.claims.file_texts import file_texts
from glass.claims.generator_text import generator_claims
from glass.claims.source_types import iptc_claims
from shards.errors import require_sound_machine
from shards.images.decoder_messages import quiet
from shards.images.formats import open_image
from shards.images.rejection import RejectedImage, explained
from shards.metadata.embedded import holds_manifest

__all__ = ["claims_sentence", "read_claims"]

NO_CLAIM = "none of the claims that were searched for was found in the file"


def read_claims(data: bytes, trust: str | None = None) -> list[Claim]:
    """Returns the claims found in the bytes of an image file, signed ones first.

    ``trust`` holds the certificates (PEM text, see ``content_credentials.read_trust``) of trusted authorities: a
    manifest is trusted if one of them vouches for its signer. Nothing is fetched from a network. If part of the file
    cannot be read, one of the claims says so; exceptions are raised only for machine faults. An empty list proves
    nothing, because metadata are often lost when a picture is saved again.
    """
    try:
        image = open_image(data)
    except RejectedImage as error:
        return [Claim("generator text", "not checked", f"nothing that could be read ({explained(error.reason)})")]
    signed = _guarded("c2pa", lambda: _signed(image, data, trust))
    written = _guarded("generator text", lambda: _written(image, data, looked_elsewhere=bool(signed)))
    return signed + written


def claims_sentence(claims: Sequence[Claim]) -> str:
    """Returns one sentence that lists all ``claims``, such as ``the file says: … (not checked)``.

    If there are none, the sentence says so.
    """
    if not claims:
        return NO_CLAIM
    return "the file says: " + "; ".join(f"{claim.says} ({claim.status})" for claim in claims)


def _signed(image: ImageFile.ImageFile, data: bytes, trust: str | None) -> list[Claim]:
    with quiet():
        signed = holds_manifest(image, data)
    return [signed_claim(data, image.format or "", trust)] if signed else []


def _written(image: ImageFile.ImageFile, data: bytes, looked_elsewhere: bool) -> list[Claim]:
    """Returns the unsigned claims, which anyone can write into a file.

    Links to manifests stored elsewhere are reported unless ``looked_elsewhere`` is true. The caller sets it if the file
    itself contains a manifest.
    """
    with quiet():
        found = file_texts(image, data)
    elsewhere = [] if looked_elsewhere else elsewhere_claim(found.properties)
    return elsewhere + iptc_claims(found.properties) + generator_claims(found.texts)


def _guarded(source: Literal["c2pa", "generator text"], read: Callable[[], list[Claim]]) -> list[Claim]:
    """Returns the claims that ``read()`` finds or, if it fails, one claim that gives the reason. Damaged metadata may
    cause any exception, which must not prevent a verdict."""
    try:
        return read()
    except Exception as error:
        require_sound_machine(error)
        return [Claim(source, "not checked", f"nothing that could be read ({type(error).__name__}: {error})")]
