"""A data set's note: what everyone who reads a verdict must know about the data that its model was trained on.

The note is one paragraph of plain text, and is copied from ``dataset.json`` to ``run.json``, the exported model,
evaluations and verdicts. Each of these files may come from a stranger. Their types therefore declare the field as a
:data:`Note`, which limits the note's length and characters wherever it is read.
"""

import re
from typing import Annotated

from msgspec import Meta

from shards.errors import InputError

__all__ = ["MAX_CHARACTERS", "Note", "checked_note"]

MAX_CHARACTERS = 300

_UNSEEN = r"\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
"""Characters that are not allowed in a note, as the contents of a regular expression's ``[…]``: control characters,
line breaks, text direction marks, and other invisible characters."""

Note = Annotated[str, Meta(max_length=MAX_CHARACTERS, pattern=rf"^[^{_UNSEEN}]*(?![\s\S])")]
"""Type of a note in a JSON document. The pattern does not end in ``$``, because ``$`` would accept a final line
break."""


def checked_note(text: str, shown: str) -> str:
    """Returns ``text`` without surrounding white space, if it is a valid note.

    Raises ``InputError`` if it is empty, too long, or contains a character that is not allowed in a note. The message
    names the text as ``shown``.
    """
    text = text.strip()
    if not text:
        raise InputError(f"{shown} is empty: give a sentence, or leave it out")
    if found := re.search(f"[{_UNSEEN}]", text):
        raise InputError(
            f"{shown} has {found.group()!r} as character {found.start() + 1:,}: give one line of text, without "
            "control characters"
        )
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"{shown} has {len(text):,} characters: shorten it to at most {MAX_CHARACTERS}")
    return text
