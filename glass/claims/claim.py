"""A claim that a file makes about the origin of its picture. It is shown beside a verdict and never changes it."""

from typing import Annotated, Literal

import msgspec

__all__ = ["MAX_CHARACTERS", "Claim", "plain", "quoted"]

MAX_CHARACTERS = 300


def plain(text: str, most: int = MAX_CHARACTERS) -> str:
    """Returns ``text`` as one line of at most ``most`` characters, safe to print in a terminal or on a page.

    Control characters, direction marks and lone surrogates are removed. Text that is cut off ends with an ellipsis.
    """
    # A text may be megabytes long, and only its beginning is shown.
    words = text[: 8 * most].split()
    line = " ".join("".join(c for c in word if c.isprintable()) for word in words).strip()
    return line if len(line) <= most and len(text) <= 8 * most else f"{line[: most - 1].rstrip()}…"


_NO_QUOTES = str.maketrans("“”", '""')


def quoted(text: str, most: int = MAX_CHARACTERS) -> str:
    """Cleans ``text``, which comes from a file, with :func:`plain` and puts it into quotation marks.

    Curly quotation marks inside the text become straight ones, so that no part of it can be mistaken for this program's
    own words, such as ``(valid and trusted)``.
    """
    return f"“{plain(text, most).translate(_NO_QUOTES)}”"


class Claim(msgspec.Struct, frozen=True):
    """One claim that a file makes about the origin of its picture."""

    source: Literal["c2pa", "iptc", "generator text"]
    status: Literal["valid and trusted", "valid but signer unknown", "invalid", "not checked"]
    """Result of checking the claim's signature. Unsigned text, which anyone can write, is always ``not checked``. A
    signed manifest is ``not checked`` if it is stored elsewhere, or if the extra ``c2pa`` is not installed."""
    says: Annotated[str, msgspec.Meta(max_length=MAX_CHARACTERS)]
    """The claim as readable text, without control characters."""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "says", plain(self.says))
