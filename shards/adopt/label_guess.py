"""Chooses the rules for labelling samples in tars: those given by the user or, failing that, those that fit best."""

from collections import Counter
from pathlib import Path

from shards.adopt.key_list import KeyList, read_key_list
from shards.adopt.label_rules import MEMBER_RULES, LabelRules, SampleTexts, TarLabels
from shards.adopt.label_words import LabelWords
from shards.adopt.tar_names import NamedTar
from shards.errors import InputError

__all__ = ["RuleChoice"]

_GUESSED = (*MEMBER_RULES, "folder", "tar")
_LOOKED_AT = 100
"""Maximum number of samples to look at before choosing the rules. Samples without an image are not counted."""


class RuleChoice:
    """Chooses the rules for labels, generators and groups after looking at the first samples that have an image.

    If the user gave no label rule, chooses the rule that yields a label for the most samples; ties go to the rule that
    comes first in ``_GUESSED``. Ambiguous words are considered only if no rule yields an unambiguous one.
    """

    def __init__(
        self, label_from: str | None, generator_from: str | None, group_from: str | None, words: LabelWords
    ) -> None:
        """Raises ``InputError`` for an unknown rule or a list that cannot be read."""
        self._generator, self._group, self._words = generator_from, group_from, words
        self._listed, self._label = KeyList(), label_from
        if label_from is not None and label_from.lower().endswith((".csv", ".parquet")):
            self._listed, self._label = read_key_list(Path(label_from)), "list"
        elif label_from is not None:
            _require_rule("--label-from", label_from, ("cls", "txt", "json:KEY", "folder", "tar"))
        for flag, rule in (("--generator-from", generator_from), ("--group-from", group_from)):
            if rule is not None:
                _require_rule(flag, rule, ("txt", "json:KEY"))
        self._votes: dict[int, Counter[str]] = {1: Counter(), 2: Counter()}
        self._seen, self._with_json, self._first = 0, False, ""

    @property
    def has_seen_any(self) -> bool:
        """Whether any sample with an image was seen."""
        return self._seen > 0

    @property
    def has_seen_enough(self) -> bool:
        """Whether enough samples were seen to choose the rules."""
        return self._seen >= _LOOKED_AT

    def look_at(self, texts: SampleTexts, tar: NamedTar) -> None:
        """Records which rules yield a label for a sample. The sample must have an image."""
        self._seen += 1
        sample = texts.sample
        self._with_json |= "json" in sample.members
        if not self._first:
            self._first = (
                f"{tar.name}: nothing says whether sample {sample.key!r} is real or generated (its "
                f"members: {', '.join(sample.members)[:200]})"
            )
        if self._label is None:
            labels = TarLabels(LabelRules("folder", words=self._words), tar)
            for rule in _GUESSED:
                if weight := labels.votes(rule, texts):
                    self._votes[weight][rule] += 1

    def rules(self) -> LabelRules:
        """Returns the chosen rules. Raises ``InputError`` if no rule finds a label."""
        label = self._label
        if label is None:
            votes = self._votes[2] or self._votes[1]
            if not votes:
                raise InputError(
                    f"{self._first}: give --label-from cls, txt, json:KEY, folder, tar or a list, or use --label "
                    "WORD=real and --label WORD=generated to say what the names of folders or tars mean"
                )
            label = next(rule for rule in _GUESSED if votes[rule] == max(votes.values()))
        return LabelRules(
            label,
            self._generator or ("json:generator" if self._with_json else ""),
            self._group or ("json:group" if self._with_json else ""),
            self._words,
            self._listed,
        )


def _require_rule(flag: str, rule: str, allowed: tuple[str, ...]) -> None:
    kind = "json:KEY" if rule.startswith("json:") and len(rule) > 5 else rule
    if kind not in allowed:
        lists = " or a .csv or .parquet list" if flag == "--label-from" else ""
        raise InputError(f"{flag} {rule}: give one of {', '.join(allowed)}{lists}")
