"""Checks settings: frozen dataclasses whose annotations give the type and limits of each field.

They are checked whenever an instance is created. They are dataclasses rather than ``msgspec.Struct``s because
``dataclasses.replace`` then checks the modified copy too. msgspec can read the annotations of both.
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
    """Raises ``InputError`` for the first field whose value does not match its declared type and limits.

    The message shows the field as ``<prefix>name=value`` or, if ``as_flags`` is true, as ``--name value``.
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
    """Returns a setting as (command-line flag, value), both as the user would type them."""
    if name == "split_shares" and isinstance(value, dict):
        return "--split", ",".join(str(share) for share in value.values())
    return f"--{name.replace('_', '-')}", "''" if value == "" else str(value)


@cache
def _declared(kind: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns two mappings from field to annotation: one with limits, one without."""
    return get_type_hints(kind, include_extras=True), field_types(kind)


@cache
def field_types(kind: type) -> dict[str, Any]:
    """Maps each field to its annotation, without limits. The mapping is cached and shared: do not modify it."""
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
    """Converts ``value`` to a built-in type if it is an instance of a subclass, such as ``numpy.float64``, or a dict of
    these."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return next((base(value) for base in (bool, int, float, str) if isinstance(value, base)), value)


def _limits(kind: Any) -> Meta | None:
    """Returns the limits in an annotation, or ``None`` if it has none.

    For a union, these are the limits of its first member that has any.
    """
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
    """Returns a description of a type annotation without limits, for an error message."""
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
    """Returns the values of a boolean, a literal or a union of these, as text; ``[]`` for any other annotation."""
    if annotation is bool:
        return ["true", "false"]
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    parts = [_choices(part) for part in get_args(annotation)] if is_union(annotation) else []
    return [choice for part in parts for choice in part] if all(parts) else []
