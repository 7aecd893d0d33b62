"""Settings are frozen dataclasses whose fields declare types and limits, which are checked when an object is made.

They are dataclasses rather than ``msgspec.Struct``s because ``dataclasses.replace`` checks the changed object too.
msgspec reads the annotations of both.
"""

import types
from dataclasses import is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from shards.errors import InputError

__all__ = ["Seed", "Share", "as_flag", "check_settings", "describe_type", "field_types", "is_union"]

Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Share = Annotated[float, Meta(ge=0, le=1)]


def check_settings(settings: Any, prefix: str = "", *, as_flags: bool = False) -> None:
    """Raises ``InputError`` for the first field of a dataclass whose value does not have the declared type and limits.

    The message calls the field ``<prefix>name=value``, or ``--name value`` with ``as_flags``.
    """
    declared, plain = _declared(settings.__class__)
    for name, kind in declared.items():
        value = getattr(settings, name)
        if _fits(value, kind):
            continue
        shown = f"{' '.join(as_flag(name, value))}:" if as_flags else f"{prefix}{name}={value!r}"
        limits = _limits(kind) if _fits(value, plain[name]) else None
        raise InputError(f"{shown} must {_within(limits) if limits else f'be {describe_type(plain[name])}'}")


def as_flag(name: str, value: Any) -> tuple[str, str]:
    """(flag, value) of a setting as text, as a user types them."""
    if name == "split_shares" and isinstance(value, dict):
        return "--split", ",".join(str(share) for share in value.values())
    return f"--{name.replace('_', '-')}", "''" if value == "" else str(value)


@cache
def _declared(kind: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """Field → its type with limits, and field → its type without limits."""
    return get_type_hints(kind, include_extras=True), field_types(kind)


@cache
def field_types(kind: type) -> dict[str, Any]:
    """Field → its type without limits. The result is cached and shared by all callers: do not change it."""
    return get_type_hints(kind)


def _fits(value: Any, kind: Any) -> bool:
    if isinstance(kind, type) and is_dataclass(kind):  # settings within settings have been checked
        return isinstance(value, kind)
    try:
        msgspec.convert(_plain(value), kind)
    except msgspec.ValidationError:
        return False
    return True


def _plain(value: Any) -> Any:
    """``value`` converted to one of Python's own types if it is of a subclass, as ``numpy.float64`` is of ``float``."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return next((base(value) for base in (bool, int, float, str) if isinstance(value, base)), value)


def _limits(kind: Any) -> Meta | None:
    """The limits in an annotation or, for a union, in its first part that has limits; ``None`` if there are none."""
    if get_origin(kind) is Annotated:
        return next(meta for meta in get_args(kind)[1:] if isinstance(meta, Meta))
    parts = get_args(kind) if is_union(kind) else ()
    return next((limits for part in parts if (limits := _limits(part)) is not None), None)


def _within(limits: Meta) -> str:
    if limits.gt is not None:
        return f"lie above {_number(limits.gt)} and below {_number(limits.lt)}"
    low, high = limits.ge, limits.le
    return f"be at least {_number(low)}" if high is None else f"lie between {_number(low)} and {_number(high)}"


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and value < 10**12 else f"{value:g}"


def is_union(annotation: Any) -> bool:
    """Whether an annotation is ``A | B`` or ``Optional[A]``."""
    return get_origin(annotation) in (Union, types.UnionType)


def describe_type(annotation: Any) -> str:
    """Describes a type annotation without limits in words, for an error message."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", types.NoneType: "none"}
    if annotation in words:
        return words[annotation]
    if choices := _choices(annotation):
        return "one of " + ", ".join(choices)
    if is_union(annotation):
        return " or ".join(describe_type(part) for part in get_args(annotation))
    if get_origin(annotation) is dict:
        return f"names, each with {describe_type(get_args(annotation)[1])}"
    return str(annotation)


def _choices(annotation: Any) -> list[str]:
    """The values of a boolean, a literal or a union of these, as text; empty for any other annotation."""
    if annotation is bool:
        return ["true", "false"]
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    parts = [_choices(part) for part in get_args(annotation)] if is_union(annotation) else []
    return [choice for part in parts for choice in part] if all(parts) else []
