"""Untrusted text in Markdown."""

from shards.cli.command import printable

__all__ = ["markdown_text"]

_MARKUP = ("\\", "|", "`", "[", "]", "*")


def markdown_text(text: str) -> str:
    """``text``, which may come from a file, as one line of Markdown in which no markup of its own acts: no tag, no
    link and no image, which a reader's browser would fetch, and no end of a table's cell."""
    escaped = printable(text).replace("\n", " ").replace("&", "&amp;").replace("<", "&lt;")
    for character in _MARKUP:
        escaped = escaped.replace(character, f"&#{ord(character)};")
    return escaped
