"""The note of a data set: what a reader of any verdict of a model that learnt from it must know.

It is one paragraph of plain text, and travels: ``dataset.json``, ``run.json``, the exported model, evaluations,
verdicts. Each of these files may come from a stranger, so their types have it as a :data:`Note`, which bounds its
length and its characters wherever it is read.
"""

import re
from typing import Annotated

from msgspec import Meta

from shards.errors import InputError

__all__ = ["MAX_CHARACTERS", "Note", "checked_note"]

MAX_CHARACTERS = 300

_UNSEEN = r"\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
"""Control characters and line breaks, marks that turn the direction of a text, and others that are not seen."""

Note = Annotated[str, Meta(max_length=MAX_CHARACTERS, pattern=rf"^[^{_UNSEEN}]*(?![\s\S])")]
"""In documents; ``$`` instead of the last group would let a line break pass at the end."""


def checked_note(text: str, shown: str) -> str:
    """``text`` as a note, without the white space around it. Raises ``InputError``, which calls its place ``shown``,
    if it is empty or too long, or holds a character that a note may not."""
    text = text.strip()
    if not text:
        raise InputError(f"{shown} is empty: give a sentence, or leave it out")
    if found := re.search(f"[{_UNSEEN}]", text):
        raise InputError(
            f"{shown} holds {found.group()!r} as its character {found.start() + 1:,}: a note is one line of text, "
            "without control characters"
        )
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"{shown} has {len(text):,} characters: {MAX_CHARACTERS} at most")
    return text
