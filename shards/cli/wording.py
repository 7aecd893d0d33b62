"""Numbers with their nouns, as a person reads them."""

from collections.abc import Mapping

__all__ = ["by_reason", "counted"]

_IRREGULAR = {"entry": "entries", "class": "classes", "process": "processes", "copy": "copies"}


def counted(number: int, noun: str) -> str:
    """ "1 image", "1,200 images"; a noun of several words takes its plural at the last."""
    if number == 1:
        return f"1 {noun}"
    before, space, last = noun.rpartition(" ")
    return f"{number:,} {before}{space}{_IRREGULAR.get(last, last + 's')}"


def by_reason(rejected: Mapping[str, int]) -> str:
    """ "3 corrupt, 1 truncated"."""
    return ", ".join(f"{count:,} {reason}" for reason, count in rejected.items())
