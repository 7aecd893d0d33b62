"""JSON documents of declared types, checked before they are written and when they are read.

A record that code works with is a ``msgspec.Struct`` (or a dataclass) and is converted; a table of
results, which is put together, shown and passed on, is a ``TypedDict`` and is only checked: it keeps
fields that its type does not name. Either way mypy knows the fields, and a document that does not
fit is refused with the first place at fault and its value:
``document.rows[3].models.first.auroc = 'x' is not a number``.
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
"""A finite number, whole or not."""
Interval = Annotated[list[Number], Meta(min_length=2, max_length=2)] | None
"""[low, high]; None if it is not defined."""
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
    """``values``, made of dicts, lists and plain values, as a ``kind``.

    Raises ``ValueError`` naming the first place that is missing, unknown or of another type; ``where``
    is how the message calls the whole.
    """
    fault = _fault(values, kind)
    if fault is not None:
        # Of a document of another kind, a field that is missing at the top says most.
        if (missing := _missing(values, kind)) is not None:
            raise ValueError(f"{where}.{missing} is missing".lstrip("."))
        raise ValueError(_sentence(fault, values, kind, where))
    return cast(Kind, values) if is_typeddict(kind) else msgspec.convert(values, kind)


def versioned_document(values: object, kind: type[Kind], version: int) -> Kind:
    """As :func:`typed_document`; of another ``format_version`` than ``version`` only that is said."""
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
    """msgspec's message with the names of all keys and the value at fault."""
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
        return f"{shown} text without control characters"  # the one thing that patterns are for here
    if expected := _EXPECTED.fullmatch(fault):
        words = [_WORDS.get(word, word) for word in expected["expected"].replace("`", "").split(" ")]
        return f"{shown} {' '.join(words)}"
    return f"{where}: {fault}"


def _start_of(value: object) -> str:
    """The beginning of ``value`` as text, at a cost that its size and depth do not change."""
    return (reprlib.repr(value) if isinstance(value, list | dict) else str(value))[:60]


def _place(values: object, kind: type[Any], fault: str, path: str) -> tuple[str, object]:
    """Where ``fault`` lies, with the keys that msgspec leaves out, and the value there."""
    steps: list[Any] = []
    for step in _STEP.finditer(path):
        if step["any_key"]:
            steps.append(_key_at_fault(values, kind, fault, steps))
        else:
            steps.append(int(step["number"]) if step["number"] else step["name"])
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return place, _part(values, steps)


def _key_at_fault(values: object, kind: type[Any], fault: str, steps: list[Any]) -> str:
    """The first key, of the object at ``steps``, whose value is at fault: found by halving."""
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
    """``values`` with ``part`` at ``steps``; what lies on the way is copied."""
    if not steps:
        return part
    inner = _with_part(values[steps[0]], steps[1:], part)
    if isinstance(values, Mapping):
        return {**values, steps[0]: inner}
    return [*values[: steps[0]], inner, *values[steps[0] + 1 :]]


def read_document(path: Path, kind: type[Kind], what: str, remedy: str = "") -> Kind:
    """The document in ``path``; ``InputError``, ending in ``remedy``, if it is missing or is not
    ``what`` ("a …")."""
    try:
        return typed_document(read_json(path), kind)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        ending = f": {remedy}" if remedy else ""
        raise InputError(f"{path} is not {what} of this version ({error}){ending}") from error


def document_text(document: object, kind: type[Any], indent: int = 2, *, ascii_only: bool = False) -> str:
    """The JSON text of ``document``. Raises ``ValueError`` unless a reader of the text gets a ``kind`` from it."""
    values = json.loads(json.dumps(document, default=_fields))
    typed_document(values, kind)
    return json.dumps(values, indent=indent, ensure_ascii=ascii_only, allow_nan=False) + "\n"


def _fields(record: object) -> Any:
    if isinstance(record, msgspec.Struct):
        return msgspec.to_builtins(record)
    raise TypeError(f"{type(record).__name__} cannot be a part of a document")


def write_document(path: Path, document: object, kind: type[Any]) -> None:
    """Checks ``document`` and writes it whole, indented. Raises ``ValueError``."""
    write_text_atomic(path, document_text(document, kind))
