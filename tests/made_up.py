"""Documents made up from their written schema, for tests of what reads them."""

from typing import Any

from glass.documents import Map, Maybe

__all__ = ["made_up"]


def made_up(schema: Any) -> Any:
    """A value that the schema takes: lists of one, numbers of 1, nothing null."""
    if isinstance(schema, dict):
        return {name: made_up(part) for name, part in schema.items()}
    if isinstance(schema, list):
        return [made_up(schema[0])]
    if isinstance(schema, Map):
        return {"made_up": made_up(schema.values)}
    if isinstance(schema, Maybe):
        return made_up(schema.schema)
    kind = schema[0] if isinstance(schema, tuple) else schema
    return kind() if kind is dict else kind(1)
