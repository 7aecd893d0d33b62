"""The claims of a file that a detector predicts on (see ``glass.claims``)."""

from glass.claims.claim import Claim
from glass.claims.read import read_claims
from glass.predict.image_sources import BytesSource, FileSource, ImageSource, MemberSource
from shards.images.rejection import RejectedImage

__all__ = ["claims_of"]

_CONVERTED = "nothing that could be read (the shard has a converted copy of the file)"


def claims_of(source: ImageSource, trust: str | None = None) -> tuple[Claim, ...]:
    """The claims of the file that ``source`` reads; none for pixels. ``trust`` is that of ``read_claims``."""
    if not isinstance(source, FileSource | BytesSource | MemberSource):
        return ()
    if isinstance(source, MemberSource) and _is_converted(source):
        return (Claim("generator text", "not checked", _CONVERTED),)
    try:
        data = source.read()
    except RejectedImage as error:
        return (Claim("generator text", "not checked", f"nothing that could be read ({error})"),)
    return tuple(read_claims(data, trust))


def _is_converted(source: MemberSource) -> bool:
    """Whether the bytes in the shard differ from those of the source file; a signature would not match them."""
    if source.dataset is None:
        return False
    # One row, not the column as an array: that is as long as the data set, and would be built for each image.
    return source.dataset.table.column("stored_as")[source.row].as_py() != "source"
