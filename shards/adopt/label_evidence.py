"""Counts the values from which the labels of tars were read, to show them to the user and to find swapped labels.

A ``.cls`` member holds a number, and a program that numbers folders by their names writes 0 for ``fake`` and 1 for
``real``. The numbers alone do not show which of them means ``real``. Other texts often do: a word in the ``.json``
member, a folder, the name of the tar.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shards.adopt.label_rules import Description, Hint, LabelRules
from shards.cli.wording import counted
from shards.errors import InputError
from shards.manifest.schema import CLASS_NAMES

__all__ = ["LabelEvidence"]

_MOST_SHOWN = 6


@dataclass
class LabelEvidence:
    """Counts over the samples of one or several tars. The rule in force is the rule by which they are labelled."""

    labels: Counter[tuple[str, int]] = field(default_factory=Counter)
    """(text, label read from it) → number of samples."""
    hints: Counter[tuple[str, bool, int | None, int]] = field(default_factory=Counter)
    """(another rule, ``Hint.certain``, label by that rule, label by the rule in force) → number of samples."""
    vague: Counter[str] = field(default_factory=Counter)
    """Rule → number of samples whose hint by this rule is not ``Hint.plain``: it may have another meaning."""
    examples: dict[tuple[str, bool], str] = field(default_factory=dict)
    """(another rule, ``Hint.certain``) → the first sample to which the rule in force gives another label."""

    def add(self, where: str, described: Description, hints: Iterable[Hint]) -> None:
        """Adds a sample, which messages call ``where``."""
        self.labels[described.text.lower()[:40], described.label] += 1
        for hint in hints:
            self.hints[hint.rule, hint.certain, hint.label, described.label] += 1
            self.vague[hint.rule] += not hint.plain
            if hint.label not in (None, described.label):
                self.examples.setdefault((hint.rule, hint.certain), where)

    def join(self, other: "LabelEvidence") -> None:
        """Adds the counts of another tar."""
        self.labels.update(other.labels)
        self.hints.update(other.hints)
        self.vague.update(other.vague)
        for kind, where in other.examples.items():
            self.examples.setdefault(kind, where)

    def meaning(self, rules: LabelRules) -> str:
        """Text for the user: "labels by cls: '0' = real (30), '1' = generated (9); 0 = real, 1 = generated"."""
        by = f"the list {rules.listed.path}" if rules.label == "list" else rules.label
        shown = [
            f"{text!r} = {CLASS_NAMES[label]} ({number:,})"
            for (text, label), number in sorted(self.labels.items(), key=lambda item: item[0])
        ]
        more = " …" if len(shown) > _MOST_SHOWN else ""
        return f"labels by {by}: {', '.join(shown[:_MOST_SHOWN])}{more}; 0 = real, 1 = generated"

    def contradictions(self, rules: LabelRules, asked_for: bool) -> list[str]:
        """Notes on rules that give other labels than the rule in force.

        Raises ``InputError`` if unambiguous words for the classes contradict the labels, or if the labels are swapped
        throughout, unless the user ``asked_for`` the rule in force.
        """
        notes = []
        for (rule, certain), where in sorted(self.examples.items()):
            differ, agree, swapped = self._compared(rule, certain)
            if not differ:
                continue
            text = (
                f"labels by {rules.label} differ from {_place(rule)} in {differ:,} of "
                f"{counted(differ + agree, 'sample')}, for example {where}"
            )
            if (certain or swapped) and not asked_for:
                raise InputError(
                    f"{text}: give --label-from {rules.label} or {rule}, whichever is right, and use --label "
                    "VALUE=real and --label VALUE=generated to say what its values mean (by default 0 = real, 1 = "
                    "generated)"
                )
            notes.append(text)
        return notes

    def _compared(self, rule: str, certain: bool) -> tuple[int, int, bool]:
        """(samples to which ``rule`` gives another label, samples with the same label, whether all labels are swapped).

        Returns zeros and ``False`` if the rule reads a value that is no label, since then its values are no evidence.
        """
        counts = _of(self.hints, rule, certain)
        if any(hinted is None for hinted, _ in _of(self.hints, rule, False)):
            return 0, 0, False
        differ = sum(number for (hinted, label), number in counts.items() if hinted != label)
        agree = sum(counts.values()) - differ
        return differ, agree, not agree and (len({hinted for hinted, _ in counts}) > 1 or not self.vague[rule])


def _of(
    hints: Mapping[tuple[str, bool, int | None, int], int], rule: str, certain: bool
) -> dict[tuple[int | None, int], int]:
    return {
        (hinted, label): number
        for (name, sure, hinted, label), number in hints.items()
        if (name, sure) == (rule, certain)
    }


def _place(rule: str) -> str:
    if rule == "folder":
        return "the folders in the names of the members"
    return "the names of the tars or of their folders" if rule == "tar" else rule
