"""Counts the values that labels were read from, to show them to the user and to detect swapped labels.

A ``.cls`` member holds a number. A program that numbers class folders alphabetically writes 0 for ``fake`` and 1 for
``real``. The number alone does not show which class is ``real``, but other text often does: a word in the ``.json``
member, a folder name, or the tar's name.
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
    """Counts over the samples in one or more tars.

    Below, "the rule in force" is the label rule that this run uses.
    """

    labels: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Maps (text, label read from it) to the number of samples."""
    hints: Counter[tuple[str, bool, int | None, int]] = field(default_factory=Counter)
    """Maps (other rule, ``Hint.certain``, label by that rule, label by the rule in force) to the number of samples."""
    vague: Counter[str] = field(default_factory=Counter)
    """Maps each rule other than the one in force to the number of samples for which its hint is not ``Hint.plain``."""
    examples: dict[tuple[str, bool], str] = field(default_factory=dict)
    """Maps (other rule, ``Hint.certain``) to the first sample for which that rule and the rule in force disagree."""

    def add(self, where: str, described: Description, hints: Iterable[Hint]) -> None:
        """Adds a sample to the counts. ``where`` identifies it in messages."""
        self.labels[described.text.lower()[:40], described.label] += 1
        for hint in hints:
            self.hints[hint.rule, hint.certain, hint.label, described.label] += 1
            self.vague[hint.rule] += not hint.plain
            if hint.label not in (None, described.label):
                self.examples.setdefault((hint.rule, hint.certain), where)

    def join(self, other: "LabelEvidence") -> None:
        """Adds the counts from another tar."""
        self.labels.update(other.labels)
        self.hints.update(other.hints)
        self.vague.update(other.vague)
        for kind, where in other.examples.items():
            self.examples.setdefault(kind, where)

    def meaning(self, rules: LabelRules) -> str:
        """Returns text for the user, such as "labels by cls: '0' = real (30), '1' = generated (9); 0 = real, 1 =
        generated"."""
        by = f"the list {rules.listed.path}" if rules.label == "list" else rules.label
        shown = [
            f"{text!r} = {CLASS_NAMES[label]} ({number:,})"
            for (text, label), number in sorted(self.labels.items(), key=lambda item: item[0])
        ]
        more = " …" if len(shown) > _MOST_SHOWN else ""
        return f"labels by {by}: {', '.join(shown[:_MOST_SHOWN])}{more}; 0 = real, 1 = generated"

    def contradictions(self, rules: LabelRules, asked_for: bool) -> list[str]:
        """Returns one note for each rule that disagrees with the rule in force.

        Never raises if the user chose the rule in force (``asked_for``). Otherwise raises ``InputError`` if an
        unambiguous word for a class contradicts a label, or if another rule gives the opposite label for every sample.
        """
        notes = []
        for (rule, certain), where in sorted(self.examples.items()):
            differ, agree, swapped = self._compared(rule, certain)
            by_generator = rule == rules.generator
            if not differ or (by_generator and not swapped):  # not every generated image names its generator
                continue
            text = (
                f"labels by {rules.label} differ from {_place(rule)} in {differ:,} of "
                f"{counted(differ + agree, 'sample')}, for example {where}"
            )
            choice = f"{rules.label} or {rule}, whichever is right, and"
            if by_generator:
                text += ", where every image with a generator is labelled real, and every one without it generated"
                choice = f"{rules.label} if that is right, or"
            if (certain or swapped) and not asked_for:
                raise InputError(
                    f"{text}: give --label-from {choice} use --label VALUE=real and --label VALUE=generated to say "
                    "what its values mean (by default 0 = real, 1 = generated)"
                )
            notes.append(text)
        return notes

    def _compared(self, rule: str, certain: bool) -> tuple[int, int, bool]:
        """Returns (number of samples in which ``rule`` and the rule in force differ, number in which they agree,
        whether labels are swapped).

        If the rule reads any value that is not a label, its other values prove nothing, and ``(0, 0, False)`` is
        returned.
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
