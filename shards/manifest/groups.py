"""Forms groups: sets of samples that belong together, such as renditions of one scene, and so share a split."""

from collections.abc import Hashable, Iterable, Sequence

__all__ = ["joined_groups", "tied"]


def tied(ties: Iterable[Iterable[Hashable]]) -> list[int]:
    """Returns, for each item, the index of the first item that it is tied to; its own index if there is none before it.

    ``ties`` has a collection of values for each item. Two items are tied if they share a value, directly or through a
    chain of other items.
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
    """Puts items that share a tie into one group. Returns the group of each item.

    ``given`` has the group that each item had before, ``""`` for none. ``ties`` has a collection of values for each
    item; items that share one are tied. A string among them also ties the item to the given group of that name. A
    joined group takes the alphabetically first of its items' given names or, if none was given, of their ``new_names``,
    so that the result does not depend on the order of the items. An item with neither group nor tie gets its new name.
    """
    roots = tied((*more, group) if group else more for group, more in zip(given, ties, strict=True))
    named: dict[int, tuple[bool, str]] = {}
    for root, group, new in zip(roots, given, new_names, strict=True):
        name = (not group, group or new)
        named[root] = min(named.get(root, name), name)
    return [named[root][1] for root in roots]
