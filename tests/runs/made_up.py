"""Makes up documents from their declared types, for tests of the functions that read them."""

from collections.abc import Callable, Iterator
from types import UnionType
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

import msgspec
import pytest

from bench.harness.schemas import SCHEMAS

__all__ = ["made_up", "made_up_result", "refuses_holes"]

Path = tuple[str | int, ...]


def made_up(kind: Any) -> Any:
    """A made-up value of the type ``kind``. Lists are as short as allowed, numbers are 1, no value is null and no field
    is left out."""
    if is_typeddict(kind):
        return {name: made_up(part) for name, part in get_type_hints(kind, include_extras=True).items()}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {name: made_up(part) for name, part in get_type_hints(kind, include_extras=True).items()}
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return parts[0]
    if origin is Annotated and get_origin(parts[0]) is list:
        return made_up(parts[0]) * max(meta.min_length or 1 for meta in parts[1:])
    if origin in (Annotated, NotRequired, Union, UnionType):
        return made_up(parts[0])
    if origin is list:
        return [made_up(parts[0])]
    if origin is dict:
        return {} if parts[1] is Any else {"made_up": made_up(parts[1])}
    return {} if kind is dict else kind(1)


def made_up_result(bench: str) -> dict[str, Any]:
    """A made-up document of a bench, with one row whose median is within its spread."""
    document: dict[str, Any] = made_up(SCHEMAS[bench]) | {"bench": bench}
    if "environment" in document:
        document["environment"]["busy_cores"] = 0.1  # quiet
    for row in document.get("rows", []):
        if "spread" in row:
            row["spread"] = [1.0, 1.0]
    return document


def refuses_holes(check: Callable[[Any], object], whole: Any, kind: Any, every: int = 1) -> int:
    """Tests that ``check`` accepts the document ``whole``, which was made up from the type ``kind``, and that it
    rejects every damaged copy in an error that names the damaged place. In each copy, one place is missing or has a
    type that no field accepts; only optional fields may be missing. Tests every ``every``-th place, and returns the
    number of places tested. ``whole`` is damaged in place and repaired again, because copies would take most of the
    time."""
    check(whole)
    found = list(_places(kind))[::every]
    for path, required in found:
        *way, last = path
        part = whole
        for step in way:
            part = part[step]
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
        kept, part[last] = part[last], object()
        # The place is compared here: compiling a pattern for each would take most of the time.
        with pytest.raises(ValueError, match=r" = .* is not") as wrong:
            check(whole)
        assert f"{place} = " in str(wrong.value)
        if required is not None:
            del part[last]
        if required:
            with pytest.raises(ValueError, match=r" is missing") as wrong:
                check(whole)
            assert f"{place} is missing" in str(wrong.value)
        elif required is False:
            check(whole)
        part[last] = kept
    check(whole)
    return len(found)


def _places(kind: Any, at: Path = ()) -> Iterator[tuple[Path, bool | None]]:
    """Yields the path of every place in a made-up document, and whether it is a required field (None if it is not a
    field)."""
    origin, parts = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        for name, part in get_type_hints(kind, include_extras=True).items():
            yield (*at, name), name in kind.__required_keys__
            yield from _places(part, (*at, name))
    elif origin is list:
        yield (*at, 0), None
        yield from _places(parts[0], (*at, 0))
    elif origin is dict and parts[1] is not Any:
        yield (*at, "made_up"), None
        yield from _places(parts[1], (*at, "made_up"))
    elif origin in (Union, UnionType, Annotated, NotRequired):
        yield from _places(parts[0], at)
