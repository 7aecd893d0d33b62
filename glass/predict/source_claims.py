"""Reads a file's claims about its origin (see ``glass.claims``) from a prediction source."""

from glass.claims.claim import Claim
from glass.claims.read import read_claims
from glass.predict.image_sources import BytesSource, FileSource, ImageSource, MemberSource
from shards.images.rejection import RejectedImage, explained

__all__ = ["claims_of"]

_CONVERTED = "nothing that could be read (the shard has a converted copy of the file)"


def claims_of(source: ImageSource, trust: str | None = None) -> tuple[Claim, ...]:
    """The claims of the source's file; empty for an image given as pixels. ``trust`` holds the certificates of trusted
    authorities, as for ``read_claims``.
    """
    if not isinstance(source, FileSource | BytesSource | MemberSource):
        return ()
    if isinstance(source, MemberSource) and _is_converted(source):
        return (Claim("generator text", "not checked", _CONVERTED),)
    try:
        data = source.read()
    except RejectedImage as error:
        return (Claim("generator text", "not checked", f"nothing that could be read ({explained(error.reason)})"),)
    return tuple(read_claims(data, trust))


def _is_converted(source: MemberSource) -> bool:
    """Whether the shard's bytes differ from the source file's. If so, a signature made for the source file does not
    match them.
    """
    if source.dataset is None:
        return source.stored_as() not in ("", "source")
    # Reads one row. Converting the column to an array would, for each image, build one as long as the data set.
    return source.dataset.table.column("stored_as")[source.row].as_py() != "source"
