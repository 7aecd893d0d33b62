"""Documents made up from their declared type, for tests of what reads them."""

from types import UnionType
from typing import Annotated, Any, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

from bench.harness.schemas import SCHEMAS

__all__ = ["made_up", "made_up_result"]


def made_up(kind: Any) -> Any:
    """A value of the type: lists as short as can be, numbers of 1, nothing null or left out."""
    if is_typeddict(kind):
        return {name: made_up(part) for name, part in get_type_hints(kind, include_extras=True).items()}
    origin, parts = get_origin(kind), get_args(kind)
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
    """The document of a bench, of one row, whose median lies in its spread."""
    document: dict[str, Any] = made_up(SCHEMAS[bench]) | {"bench": bench}
    if "environment" in document:
        document["environment"]["busy_cores"] = 0.1  # quiet
    for row in document.get("rows", []):
        if "spread" in row:
            row["spread"] = [1.0, 1.0]
    return document
