"""Notes on links to folders that a source also contains at another path. Their images are read only once."""

import os
from collections.abc import Sequence
from pathlib import Path

from shards.cli.wording import counted
from shards.errors import InputError
from shards.sources.evidence import labels_by_folders
from shards.sources.words import Words

__all__ = ["notes_on_links"]


def notes_on_links(root: Path, again: Sequence[tuple[str, str]], words: Words) -> list[str]:
    """Returns a note on links in ``root`` to folders that have already been read at another path.

    ``again`` holds pairs (link, other path). Raises ``InputError`` if two links to the same folder outside ``root`` put
    it into different classes.
    """
    inside = os.path.realpath(root)
    for link, way in again:
        names = [os.path.relpath(path, root) for path in (link, way)]
        labels = labels_by_folders([f"{name}/" for name in names], words).labels
        # A folder inside the root gets its class from its own path. For one outside, neither link takes precedence.
        if set(labels.tolist()) == {0, 1} and os.path.commonpath([inside, os.path.realpath(way)]) != inside:
            raise InputError(
                f"{link} and {way} are links to the same folder, {os.path.realpath(link)}, once as real and once as "
                "generated images: remove one of the links"
            )
    if not again:
        return []
    link, way = again[0]
    return [
        f"skipped {counted(len(again), 'link')} to folders that are read already, for example {link} (same as {way})"
    ]
