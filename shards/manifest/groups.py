"""Forms groups: sets of samples that belong together and must share a split, such as renditions of one scene."""

from collections.abc import Hashable, Iterable, Sequence

__all__ = ["joined_groups", "tied"]


def tied(ties: Iterable[Iterable[Hashable]]) -> list[int]:
    """Returns, for each item, the index of the first item tied to it, or its own index if no earlier item is.

    ``ties`` has a collection of values for each item. Two items are tied if they have a value in common, or are
    connected through a chain of such items.
    """
    parents: list[int] = []
    first: dict[Hashable, int] = {}

    def find(place: int) -> int:
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    for place, own in enumerate(ties):
        parents.append(place)
        for tie in own:
            a, b = find(first.setdefault(tie, place)), find(place)
            parents[max(a, b)] = min(a, b)
    return [find(place) for place in range(len(parents))]


def joined_groups(given: Sequence[str], ties: Sequence[Sequence[Hashable]], new_names: Sequence[str]) -> list[str]:
    """Merges tied items into groups. Returns the group of each item.

    ``given`` holds the previous group of each item, or ``""`` if it had none. ``ties`` has a collection of values for
    each item; items with a value in common are tied. A string among these values also ties the item to the previous
    group of that name. A merged group takes the alphabetically first name among its items' previous groups. If they had
    none, it takes the first among their ``new_names``. The result therefore does not depend on the item order. An item
    without a previous group and without ties forms its own group, named by its new name.
    """
    roots = tied((*more, group) if group else more for group, more in zip(given, ties, strict=True))
    named: dict[int, tuple[bool, str]] = {}
    for root, group, new in zip(roots, given, new_names, strict=True):
        name = (not group, group or new)
        named[root] = min(named.get(root, name), name)
    return [named[root][1] for root in roots]
