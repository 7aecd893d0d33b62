"""Searches a file's texts for generator settings and generator names."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from glass.claims.claim import Claim, plain, quoted
from glass.claims.file_texts import Text

__all__ = ["generator_claims"]

SEARCHED = 1 << 16
"""Number of characters searched at the beginning of each text. That suffices to recognise settings."""
_EXCERPT = 140
_FOR_PROGRAMS = ("{", "[", "prompt:", "workflow:", "Prompt:", "Workflow:")

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


class _Mark(NamedTuple):
    """A rule that recognises texts written by ``generator`` or mentioning it.

    The text must match ``pattern``. If ``fields`` are given, it must also be stored in one of them.
    """

    generator: str
    pattern: re.Pattern[str] = re.compile("")
    fields: frozenset[str] = frozenset()

    def fits(self, text: Text) -> bool:
        """Whether ``text`` matches the pattern and, if the rule has fields, is stored in one of them."""
        placed = not self.fields or text.name in self.fields
        return placed and self.pattern.search(text.text, 0, SEARCHED) is not None


SETTINGS = (
    _Mark("ComfyUI", re.compile(r'"class_type"\s*:|"last_node_id"\s*:')),
    _Mark("SwarmUI", re.compile(r'"sui_image_params"\s*:')),
    _Mark("Fooocus", re.compile(r"\bFooocus v\d")),
    _Mark("InvokeAI", fields=frozenset({"invokeai_metadata", "invokeai_graph", "sd-metadata", "Dream"})),
    _Mark("Easy Diffusion", fields=frozenset({"use_stable_diffusion_model"})),
    _Mark("Midjourney", re.compile(rf"\bJob ID: {_UUID}")),
    _Mark(
        "Stable Diffusion web UI, or a program that writes the same text",
        re.compile(r"\bSteps: \d+, (?:Sampler|Schedule type|CFG scale|Seed|Size): "),
    ),
)
"""Rules that recognise settings and prompts by a format that is typical of one program. They are tried in this
order."""

_PROGRAM_FIELDS = frozenset({"Software", "CreatorTool", "Credit", "credit line", "program", "Make", "Source"})
NAMES = (
    _Mark("Midjourney", re.compile(r"\bMidjourney\b")),
    _Mark("NovelAI", re.compile(r"\bNovelAI\b")),
    _Mark("Stable Diffusion", re.compile(r"\bStable ?Diffusion\b|\bDreamStudio\b", re.IGNORECASE)),
    _Mark("DALL·E", re.compile(r"\bDALL[·.\- ]?E\b")),
    _Mark("Adobe Firefly", re.compile(r"\bAdobe Firefly\b")),
    _Mark("Google AI", re.compile(r"\b(?:Made|Edited|Created) with Google AI\b")),
    _Mark("Meta AI", re.compile(r"\bImagined with AI\b|\bMeta AI\b")),
    _Mark("Bing Image Creator", re.compile(r"\bBing Image Creator\b")),
    # Words with other meanings count only in fields where programs write their own names.
    *(
        _Mark(name, re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE), _PROGRAM_FIELDS)
        for name in (
            "ComfyUI", "InvokeAI", "Fooocus", "SwarmUI", "Draw Things", "DiffusionBee", "OpenAI", "ChatGPT", "Imagen",
            "Gemini", "Grok", "Leonardo.Ai", "Ideogram", "Playground AI", "NightCafe", "Recraft", "Krea", "Artbreeder",
        )
    ),
)  # fmt: skip
"""Rules that recognise generator names. A caption may name a generator for any reason, so a claim says only that the
name occurs."""

_MODEL = re.compile(r'"(?:ckpt_name|unet_name|model_name)"\s*:\s*"([^"]{1,200})"')


def generator_claims(texts: Sequence[Text]) -> list[Claim]:
    """Returns one claim for each generator that is recognised in ``texts``, by its settings or by its name.

    Each text is attributed to a single generator, that of the first matching rule. A claim quotes the first text with
    the generator's settings or, if there is none, the first with its name.
    """
    settings: dict[str, Claim] = {}
    names: dict[str, Claim] = {}
    for text in texts:
        if mark := next((mark for mark in SETTINGS if mark.fits(text)), None):
            settings.setdefault(mark.generator, _claim("settings of", mark, text))
        elif mark := next((mark for mark in NAMES if mark.fits(text)), None):
            names.setdefault(mark.generator, _claim("the name", mark, text))
    return [*settings.values(), *(claim for name, claim in names.items() if name not in settings)]


def _claim(what: str, mark: _Mark, text: Text) -> Claim:
    return Claim("generator text", "not checked", f"{what} {mark.generator} {_where(text)}")


def _where(text: Text) -> str:
    """Describes, in parentheses, where ``text`` was found: its kind and field, followed by an excerpt.

    A text in a machine-readable format such as JSON is not quoted; if it names the generator's model, that name is
    given instead.
    """
    place = f"{text.kind} {quoted(text.name, 60)}" if text.name else text.kind
    if text.text.lstrip().startswith(_FOR_PROGRAMS):
        model = _MODEL.search(text.text, 0, SEARCHED)
        return f"({place}, model {quoted(model[1], 80)})" if model else f"({place})"
    return f"({place}: {quoted(text.text, _EXCERPT)})" if plain(text.text, _EXCERPT) else f"({place})"
