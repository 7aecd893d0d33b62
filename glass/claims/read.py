"""Reads the claims of a file, and says them in a sentence."""

from collections.abc import Sequence

from glass.claims.claim import Claim
from glass.claims.source_types import iptc_claims
from glass.claims.xmp import xmp_properties
from shards.images.formats import open_image
from shards.images.rejection import RejectedImage

__all__ = ["claims_sentence", "read_claims"]

NO_CLAIM = "the file makes no claim that was looked for"


def read_claims(data: bytes) -> list[Claim]:
    """The claims of an image file, whose bytes are ``data``. Nothing is fetched from a network.

    No claim proves nothing: metadata are lost wherever a picture is saved again.
    """
    try:
        image = open_image(data)
    except RejectedImage as error:
        return [Claim("generator text", "not checked", f"nothing could be looked for: {error}")]
    packet = image.info.get("xmp")
    return iptc_claims(xmp_properties(packet)) if isinstance(packet, bytes) else []


def claims_sentence(claims: Sequence[Claim]) -> str:
    """``the file says: … (not checked)``, or that it makes no claim."""
    if not claims:
        return NO_CLAIM
    return "the file says: " + "; ".join(f"{claim.says} ({claim.status})" for claim in claims)
