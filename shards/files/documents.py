"""Typed JSON documents, validated before they are written and when they are read.

A type is declared in one of two ways:

- Data that code works with is declared as a ``msgspec.Struct`` or a dataclass. Documents are converted to that type.
- Results tables that are only assembled and displayed are declared as a ``TypedDict``. Documents are only validated
  against it, and keep fields that it does not name.

In both cases, mypy knows the fields. If a document does not match its type, the error names the first invalid field and
its value: ``document.rows[3].models.first.auroc = 'x' is not a number``.
"""

import json
import math
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, is_typeddict

import msgspec
from msgspec import Meta

from shards.errors import InputError
from shards.files.atomic import write_text_atomic
from shards.files.json_file import read_json

__all__ = [
    "Count",
    "Interval",
    "Number",
    "document_text",
    "read_document",
    "typed_document",
    "versioned_document",
    "write_document",
]

MAX_FLOAT = 1.7976931348623157e308

Number = Annotated[float, Meta(ge=-MAX_FLOAT, le=MAX_FLOAT)]
"""A finite number: an integer or a float."""
Interval = Annotated[list[Number], Meta(min_length=2, max_length=2)] | None
"""An interval, ``[low, high]``; ``None`` if it is undefined."""
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]

Kind = TypeVar("Kind")

_FAULT = re.compile(r"(?P<fault>.*?)(?: - at `\$(?P<path>.*)`)?", re.DOTALL)
_STEP = re.compile(r"\.(?P<name>\w+)|\[(?P<number>\d+)\]|(?P<any_key>\[\.\.\.\])")
_EXPECTED = re.compile(r"Expected (?P<expected>.*?)(?:, got .*)?", re.DOTALL)
_WORDS = {
    "array": "a list",
    "object": "an object",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "|": "or",
}
_FIELD = re.compile(r"Object (?P<what>missing required|contains unknown) field `(?P<name>.*)`")


def typed_document(values: object, kind: type[Kind], where: str = "document") -> Kind:
    """Converts ``values`` to the type ``kind``. If ``kind`` is a ``TypedDict``, only checks ``values`` and returns them
    unchanged.

    ``values`` consists of dicts, lists and plain values. Raises ``ValueError`` naming the first field that is missing,
    unknown or of another type. The message refers to the whole document as ``where``.
    """
    fault = _fault(values, kind)
    if fault is not None:
        # A missing top-level field is the clearest sign of a document of another kind.
        if (missing := _missing(values, kind)) is not None:
            raise ValueError(f"{where}.{missing} is missing".lstrip("."))
        raise ValueError(_sentence(fault, values, kind, where))
    return cast(Kind, values) if is_typeddict(kind) else msgspec.convert(values, kind)


def versioned_document(values: object, kind: type[Kind], version: int) -> Kind:
    """Like :func:`typed_document`, but first raises ``ValueError`` for a ``format_version`` other than ``version``."""
    found = values.get("format_version") if isinstance(values, dict) else None
    if type(found) is int and found != version:
        raise ValueError(f"format_version {found} is not {version}")
    return typed_document(values, kind)


def _missing(values: object, kind: Any) -> str | None:
    if not (is_typeddict(kind) and isinstance(values, dict)):
        return None
    return next((name for name in kind.__annotations__ if name in kind.__required_keys__ - values.keys()), None)


def _fault(values: object, kind: type[Any]) -> str | None:
    try:
        msgspec.convert(values, kind)
    except RecursionError:
        return "it is nested too deeply"
    except ValueError as error:
        return str(error)
    return None


def _sentence(fault: str, values: object, kind: type[Any], where: str) -> str:
    """Rewords msgspec's message ``fault``, adding the full path of the invalid field and its value."""
    parts = _FAULT.fullmatch(fault)
    assert parts is not None
    place, value = _place(values, kind, fault, parts["path"] or "")
    where, fault = (where + place).lstrip("."), parts["fault"]
    if field := _FIELD.fullmatch(fault):
        ending = "is missing" if field["what"].startswith("missing") else "is unknown"
        return f"{where}.{field['name']} {ending}".lstrip(".")
    shown = f"{where} = {_start_of(value)!r} is not"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{shown} a finite number"
    if "matching regex" in fault:
        return f"{shown} text without control characters"  # the only use of patterns in our types
    if expected := _EXPECTED.fullmatch(fault):
        words = [_WORDS.get(word, word) for word in expected["expected"].replace("`", "").split(" ")]
        return f"{shown} {' '.join(words)}"
    return f"{where}: {fault}"


def _start_of(value: object) -> str:
    """Returns the beginning of ``value`` as text, at a cost that does not depend on its size or depth."""
    return (reprlib.repr(value) if isinstance(value, list | dict) else str(value))[:60]


def _place(values: object, kind: type[Any], fault: str, path: str) -> tuple[str, object]:
    """Returns ``(path, value)`` of the value that msgspec's message ``fault`` is about.

    The path includes the keys that msgspec omits.
    """
    steps: list[Any] = []
    for step in _STEP.finditer(path):
        if step["any_key"]:
            steps.append(_key_at_fault(values, kind, fault, steps))
        else:
            steps.append(int(step["number"]) if step["number"] else step["name"])
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return place, _part(values, steps)


def _key_at_fault(values: object, kind: type[Any], fault: str, steps: list[Any]) -> str:
    """Finds, by bisection, the first key whose value causes ``fault`` in the object at the path ``steps``."""
    entries = list(_part(values, steps).items())
    while len(entries) > 1:
        half = entries[: len(entries) // 2]
        at_fault = _fault(_with_part(values, steps, dict(half)), kind) == fault
        entries = half if at_fault else entries[len(half) :]
    return str(entries[0][0])


def _part(values: Any, steps: list[Any]) -> Any:
    for step in steps:
        values = values[step]
    return values


def _with_part(values: Any, steps: list[Any], part: object) -> Any:
    """Returns a copy of ``values`` with the value at the path ``steps`` replaced by ``part``.

    Only the containers along the path are copied.
    """
    if not steps:
        return part
    inner = _with_part(values[steps[0]], steps[1:], part)
    if isinstance(values, Mapping):
        return {**values, steps[0]: inner}
    return [*values[: steps[0]], inner, *values[steps[0] + 1 :]]


def read_document(path: Path, kind: type[Kind], what: str, remedy: str = "") -> Kind:
    """Reads the document at ``path`` and returns it as a ``kind``.

    Raises ``InputError`` if it is missing or does not fit ``kind``. The message calls it ``what`` ("a …") and ends with
    ``remedy``.
    """
    try:
        return typed_document(read_json(path), kind)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        ending = f": {remedy}" if remedy else ""
        raise InputError(f"{path} is not {what} of this version ({error}){ending}") from error


def document_text(document: object, kind: type[Any], indent: int = 2, *, ascii_only: bool = False) -> str:
    """The JSON text of ``document``. Raises ``ValueError`` if the text could not be read back as a ``kind``."""
    values = json.loads(json.dumps(document, default=_fields))
    typed_document(values, kind)
    return json.dumps(values, indent=indent, ensure_ascii=ascii_only, allow_nan=False) + "\n"


def _fields(record: object) -> Any:
    if isinstance(record, msgspec.Struct):
        return msgspec.to_builtins(record)
    raise TypeError(f"{type(record).__name__} cannot be a part of a document")


def write_document(path: Path, document: object, kind: type[Any]) -> None:
    """Checks ``document`` and writes it atomically, indented. Raises ``ValueError`` if it does not fit ``kind``."""
    write_text_atomic(path, document_text(document, kind))
