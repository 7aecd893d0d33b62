"""Finds folders that may be a third class: they lie beside folders of the two classes, but denote neither."""

import re
from collections.abc import Mapping

from shards.cli.wording import counted
from shards.errors import InputError
from shards.manifest.schema import CLASS_NAMES
from shards.sources.word_table import SPLIT_WORDS, letters_of

__all__ = ["BESIDE_CLASSES", "require_no_third_class"]

_Folder = tuple[str, ...]
_NUMBERED = re.compile(r"\d{1,2}([-_ ]\D.*)?")
"""Matches ``0`` and ``1_fake``."""
BESIDE_CLASSES = frozenset(
    {"annotations", "captions", "control", "depth", "doc", "docs", "edges", "extra", "landmarks", "macosx"}
    | {"mask", "masks", "meta", "metadata", "misc", "other", "others", "prompts", "readme", "segmentation"}
    | {"thumbnails", "todo", "tmp", "unknown", "unlabeled", "unlabelled", *SPLIT_WORDS}
)
"""Words in the names of folders that often lie beside the class folders but are not a class."""


def require_no_third_class(said: Mapping[_Folder, tuple[str, int] | None], counts: Mapping[_Folder, int]) -> None:
    """Raises ``InputError`` if there are images in a folder that may be a third class. Their label is never guessed.

    Examples are ``edited/`` beside ``real/`` and ``fake/``, and ``2/`` beside ``1/``. ``said`` maps each folder to
    (name on its path that gives the class, label of that class), or to ``None`` if no name gives one. ``counts`` maps
    each folder to its number of images.
    """
    named: dict[_Folder, dict[int, str]] = {}
    for folder, word in said.items():
        if word is not None:
            name, label = word
            named.setdefault(folder[: folder.index(name)], {})[label] = name
    for folder, word in said.items():
        for at, name in enumerate(folder if word is None else ()):
            classes = named.get(folder[:at], {})
            if not _may_be_third(name, classes):
                continue
            third = folder[: at + 1]
            images = sum(count for other, count in counts.items() if other[: at + 1] == third)
            beside = " and ".join(f"{classes[label]} = {CLASS_NAMES[label]}" for label in sorted(classes))
            raise InputError(
                f"{'/'.join(third)}/ holds {counted(images, 'image')} beside {beside}, and its name says no class: "
                f"use {' or '.join(f'--label {name}={label}' for label in CLASS_NAMES)} to define what it means, or "
                f"leave its images out with --skip {name}"
            )


def _may_be_third(name: str, classes: Mapping[int, str]) -> bool:
    """Whether ``name`` may denote a third class. ``classes`` maps labels to the names of class folders beside it."""
    if len(classes) == 2:
        return BESIDE_CLASSES.isdisjoint(letters_of(name))
    form = _form(name)
    return form is not None and form in map(_form, classes.values())


def _form(name: str) -> bool | None:
    """Returns the form of a numbered name: whether text follows the number, as in ``1_fake``.

    Returns ``None`` if ``name`` does not match ``_NUMBERED``.
    """
    number = _NUMBERED.fullmatch(name)
    return None if number is None else bool(number[1])
