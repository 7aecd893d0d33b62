"""Documents made up from their written schema, for tests of what reads them."""

from typing import Any

from bench.harness.schemas import SCHEMAS
from glass.config.documents import Map, Maybe

__all__ = ["made_up", "made_up_result"]


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


def made_up_result(bench: str) -> dict[str, Any]:
    """The document of a bench, of one row, whose median lies in its spread."""
    document: dict[str, Any] = made_up(SCHEMAS[bench]) | {"bench": bench}
    if "environment" in document:
        document["environment"]["busy_cores"] = 0.1  # quiet
    for row in document.get("rows", []):
        if "spread" in row:
            row["spread"] = [1.0, 1.0]
    return document
