"""Written schemas for JSON documents, and the check that every document passes before it is written
and after it is read.

A schema is made of plain values: a type (``int``, ``float``, ``str``, ``bool``, ``dict``), or a
tuple of them; ``{"name": schema}`` for an object with at least these fields; ``[schema]`` for a
list; :class:`Map` for an object whose keys are data; :class:`Maybe` for what may be null. ``float``
takes whole numbers too, and no number may be infinite or NaN, which JSON does not have.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shards.errors import InputError
from shards.files.atomic import write_text_atomic
from shards.files.json_file import read_json

__all__ = ["Map", "Maybe", "check_document", "read_document", "write_document"]

Schema = Any


@dataclass(frozen=True)
class Map:
    """An object of any keys, all values of one schema."""

    values: Schema


@dataclass(frozen=True)
class Maybe:
    """The schema, or null."""

    schema: Schema


def check_document(document: Any, schema: Schema, where: str = "document") -> None:
    """Raises ``ValueError`` naming the first place that is not what ``schema`` says."""
    if isinstance(schema, Maybe):
        if document is not None:
            check_document(document, schema.schema, where)
    elif isinstance(schema, Map):
        _require(isinstance(document, dict), where, "an object", document)
        for name, value in document.items():
            check_document(value, schema.values, f"{where}.{name}")
    elif isinstance(schema, Mapping):
        _require(isinstance(document, dict), where, "an object", document)
        for name, part in schema.items():
            if name not in document:
                raise ValueError(f"{where}.{name} is missing")
            check_document(document[name], part, f"{where}.{name}")
    elif isinstance(schema, list):
        _require(isinstance(document, list), where, "a list", document)
        for place, value in enumerate(document):
            check_document(value, schema[0], f"{where}[{place}]")
    else:
        kinds = _kinds(schema)
        fits = isinstance(document, kinds) and (bool in kinds or not isinstance(document, bool))
        _require(fits, where, "of type " + " or ".join(k.__name__ for k in kinds), document)
        if isinstance(document, float):
            _require(math.isfinite(document), where, "a finite number", document)


def _kinds(schema: Schema) -> tuple[type, ...]:
    """The types that a schema of one type, or of a tuple of types, takes."""
    kinds = schema if isinstance(schema, tuple) else (schema,)
    return (*kinds, int) if float in kinds and int not in kinds else kinds


def _require(fits: bool, where: str, what: str, value: Any) -> None:
    if not fits:
        raise ValueError(f"{where} = {str(value)[:60]!r} is not {what}")


def write_document(path: Path, document: Mapping[str, Any], schema: Schema) -> None:
    """Checks ``document`` and writes it whole, indented."""
    check_document(document, schema)
    text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_text_atomic(path, text)


def read_document(path: Path, schema: Schema, what: str, remedy: str = "") -> dict[str, Any]:
    """The document in ``path``; ``InputError``, ending in ``remedy``, where it is missing or is not
    ``what`` ("a …")."""
    try:
        document = read_json(path)
        check_document(document, schema)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        ending = f": {remedy}" if remedy else ""
        raise InputError(f"{path} is not {what} of this version ({error}){ending}") from error
    return document
