"""Formats numbers with nouns or units as readable text."""

from collections.abc import Mapping

__all__ = ["by_reason", "counted", "counts_line", "pace", "percent", "similar", "size_in_words"]

_IRREGULAR = {"entry": "entries", "class": "classes", "process": "processes", "copy": "copies"}
_MOST_NAMES = 12


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun, pluralised if needed: "1 image", "1,200 images".

    ``noun`` may consist of several words; only the last one is pluralised.
    """
    if number == 1:
        return f"1 {noun}"
    before, space, last = noun.rpartition(" ")
    return f"{number:,} {before}{space}{_IRREGULAR.get(last, last + 's')}"


def percent(share: float | None, digits: int | None = None, deviation: float | None = None) -> str:
    """Formats a fraction as a percentage: 0.034 becomes "3.4 %"; None becomes an en dash.

    A ``deviation`` is shown with as many decimals as the share: "3.4 ± 0.2 %".
    ``digits`` is the number of decimals. By default it is 2 below 1 %, where false-alarm rates are promised, else 1.
    """
    if share is None:
        return "–"
    if digits is None:
        digits = 2 if 0 < share < 0.00995 else 1
    plus_minus = "" if deviation is None else f" ± {100 * deviation:.{digits}f}"
    return f"{100 * share:z.{digits}f}{plus_minus} %"


def pace(images_per_s: float) -> str:
    """Formats a speed: "1,234 images/s", or with two digits if it is slower than one image per second."""
    return f"{images_per_s:,.0f} images/s" if images_per_s >= 1 else f"{images_per_s:.2g} images/s"


def similar(word: str, names: Mapping[str, str], cutoff: float = 0.8) -> str:
    """Returns the end of a message about an unknown word: ": did you mean NAME?", or "" if none is similar.

    ``names`` maps spellings in lower case to names. ``cutoff`` is the least similarity, 0 … 1, as computed by
    :func:`difflib.get_close_matches`.
    """
    from difflib import get_close_matches

    close = get_close_matches(word.lower(), names, n=1, cutoff=cutoff)
    return f": did you mean {names[close[0]]}?" if close else ""


def size_in_words(num_bytes: float) -> str:
    """Returns a size with a decimal unit, such as "13 kB", "8.2 MB" or "120 GB".

    Sizes of 10 bytes and up have at least two digits.
    """
    units = ["TB", "GB", "MB", "kB", "bytes"]
    while num_bytes >= 999.5 and len(units) > 1:
        num_bytes /= 1000
        units.pop()
    unit = units[-1]
    return f"{num_bytes:.1f} {unit}" if num_bytes < 9.95 and unit != "bytes" else f"{num_bytes:,.0f} {unit}"


def by_reason(rejected: Mapping[str, int]) -> str:
    """Returns the number of rejected images per reason as text: "3 corrupt, 1 truncated"."""
    return ", ".join(f"{count:,} {reason}" for reason, count in rejected.items())


def counts_line(what: str, counts: Mapping[str, int]) -> str:
    """Returns a dry-run line: " formats JPEG 1,200, PNG 3". At most 12 names are shown; the others are counted."""
    parts = [f"{name} {count:,}" for name, count in list(counts.items())[:_MOST_NAMES]]
    left = len(counts) - _MOST_NAMES
    return f"  {what:<11}{', '.join(parts) or 'none'}" + (f" and {left:,} more" if left > 0 else "")
