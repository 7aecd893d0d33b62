"""The words for classes and splits, and words such as ``not`` that change the meaning of a class word beside them."""

import re
from collections.abc import Sequence

from shards.manifest.schema import SPLITS

__all__ = [
    "CERTAIN",
    "CLASS_WORDS",
    "FILLERS",
    "NEGATIONS",
    "SPLIT_WORDS",
    "denied",
    "is_glued_denial",
    "letters_of",
    "may_be_generated",
    "sounds_like",
]

_REAL = (
    "real",
    "reals",
    "realart",
    "nature",
    "natural",
    "photo",
    "photos",
    "photograph",
    "photographs",
    "human",
    "authentic",
    "genuine",
    "pristine",
    "original",
)
_GENERATED = (
    "generated",
    "fake",
    "fakes",
    "ai",
    "aigc",
    "aigenerated",
    "aiart",
    "aiartdata",
    "synthetic",
    "synth",
    "synthesized",
    "artificial",
)
CLASS_WORDS = dict.fromkeys(_REAL, 0) | dict.fromkeys(_GENERATED, 1)
"""Maps words for the classes, in lower case, to labels."""

CERTAIN = {"real": 0, "reals": 0, "generated": 1, "aigenerated": 1, "aigc": 1, "fake": 1, "fakes": 1}
"""Words that unambiguously denote a class. Others, such as ``photo``, ``human`` or ``ai``, may also denote a scene."""

NEGATIONS = frozenset(
    {"no", "non", "not", "un", "without", "free", "false", "never", "neither", "nor", "anti", "isn", "isnt"}
)
_GLUED = re.compile(rf"(is)?(?P<negation>no|non|not)(?P<word>{'|'.join(CLASS_WORDS)})")
"""Matches ``notfake`` and ``isnotfake``."""
_SEEMING = frozenset({"is", "like", "looking", "pseudo", "quasi", "almost", "nearly", "hyper", "semi"})
"""Words that turn a class word into a question (``is_fake``) or weaken it to a resemblance (``real_looking``)."""

SPLIT_WORDS = {name: name for name in SPLITS} | {
    "val": "valid",
    "validation": "valid",
    "training": "train",
    "testing": "test",
}
"""Maps words for the splits, in lower case, to split names."""

FILLERS = frozenset(
    [
        "image",
        "images",
        "img",
        "imgs",
        "picture",
        "pictures",
        "pic",
        "pics",
        "data",
        "dataset",
        "datasets",
        "set",
        "file",
        "files",
        "all",
        "sample",
        "samples",
        "jpg",
        "jpeg",
        "png",
        "webp",
    ]
)
"""Words that say nothing about the contents of a folder."""

_WORD = re.compile(r"[^\W\d_]+")


def letters_of(name: str) -> list[str]:
    """The words in a name, in lower case, without numbers and punctuation."""
    return _WORD.findall(name.lower())


def denied(words: Sequence[str]) -> set[int]:
    """Returns the labels that a name's words negate, as in ``not_fake`` and ``nonfake``."""
    glued = (_GLUED.fullmatch(word) for word in words)
    found = {CLASS_WORDS[match["word"]] for match in glued if match}
    if not NEGATIONS.isdisjoint(words):
        found |= {CLASS_WORDS[word] for word in words if word in CLASS_WORDS}
    return found


def may_be_generated(name: str) -> bool:
    """Whether a folder with this name, below a folder of real images, may hold generated images: ``fake_upscaled``."""
    words = letters_of(name)
    return {CERTAIN[word] for word in words if word in CERTAIN} == {1} and not denied(words)


def sounds_like(words: Sequence[str]) -> bool:
    """Whether a name's words only resemble a class (``real_looking``) or form a question about it (``is_fake``)."""
    return not _SEEMING.isdisjoint(words)


def is_glued_denial(word: str) -> bool:
    """Whether ``word`` is a negation and a class in one word, like ``notfake``."""
    return _GLUED.fullmatch(word) is not None
