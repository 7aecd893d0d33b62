"""A claim that a file makes about where its picture comes from. It is shown beside a verdict and never changes it."""

from typing import Annotated, Literal

import msgspec

__all__ = ["MAX_CHARACTERS", "Claim", "plain", "quoted"]

MAX_CHARACTERS = 300


def plain(text: str, most: int = MAX_CHARACTERS) -> str:
    """``text`` as one line of at most ``most`` characters, without characters that a terminal or a page obeys
    (control characters, marks of direction, lone surrogates); an ellipsis stands for what is cut off."""
    # A text may have megabytes, of which little is shown.
    words = text[: 8 * most].split()
    line = " ".join("".join(c for c in word if c.isprintable()) for word in words).strip()
    return line if len(line) <= most and len(text) <= 8 * most else f"{line[: most - 1].rstrip()}…"


_NO_QUOTES = str.maketrans("“”", '""')


def quoted(text: str, most: int = MAX_CHARACTERS) -> str:
    """``text``, which comes from a file, made :func:`plain` and put into quotation marks, without any such marks
    inside: no part of it can pass for words of this program, such as ``(valid and trusted)``."""
    return f"“{plain(text, most).translate(_NO_QUOTES)}”"


class Claim(msgspec.Struct, frozen=True):
    """One claim of a file. Whatever ``says`` is made of, it is kept as :func:`plain` text."""

    source: Literal["c2pa", "iptc", "generator text"]
    status: Literal["valid and trusted", "valid but signer unknown", "invalid", "not checked"]
    """Only a signature can be checked; text that anyone can write is ``not checked``."""
    says: Annotated[str, msgspec.Meta(max_length=MAX_CHARACTERS)]
    """A phrase for people."""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "says", plain(self.says))
