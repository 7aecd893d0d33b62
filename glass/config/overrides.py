"""Settings from the command line: ``--set optim.lr_local=1e-4``, typed by the fields they set."""

import difflib
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any, Literal, get_args, get_origin

from glass.config.run_config import RunConfig, config_to_dict
from shards.errors import InputError
from shards.settings import describe_type, field_types, is_union

__all__ = [
    "OF_CROPS_ALONE",
    "SHORTHANDS",
    "apply_overrides",
    "apply_settings",
    "flat_settings",
    "nearest",
    "refuse_fixed",
    "require_asked",
    "setting_names",
]

SHORTHANDS = {
    "optim.lr": ("optim.lr_global", "optim.lr_local", "optim.lr_head"),
    "optim.wd": ("optim.wd_global", "optim.wd_local"),
}
"""Keys that set several settings at once."""

NETWORKS = ("model.global_backbone", "model.local_backbone")
ELSEWHERE = (*NETWORKS, "model.global_weights", "model.local_weights", "train.trackers")
"""Settings that may name what is not part of this program: networks on a hub or in a folder, files, services."""

NOT_SETTABLE = frozenset({"preset"})
OF_CROPS_ALONE = ("local_backbone", "local_weights", "local_high_pass", "freeze_local", "share_backbone")
"""Settings of ``model`` that say nothing where no crop is seen. (``crop_chunk`` only saves memory, and there none is
needed.)"""
BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class _NotThisType(ValueError):
    """The text is no value of the wanted type."""


def apply_overrides(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """``config`` with each ``"key=value"`` of ``--set`` applied, as by :func:`apply_settings`; one that would change
    nothing is refused, too."""
    settings = []
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise InputError(f"--set {override!r} must have the form key=value")
        settings.append((key, text))
    changed = apply_settings(config, settings, "--set ", "train.py --help lists them all")
    if changed.model.kind == "single_view":
        for name in OF_CROPS_ALONE:
            if getattr(changed.model, name) != getattr(config.model, name):
                raise InputError(
                    f"--set model.{name}: a model of kind single_view sees no crops, so it would change nothing:"
                    " leave it out, or take a preset of kind glass"
                )
    return changed


def apply_settings(config: RunConfig, settings: Iterable[tuple[str, str]], origin: str, where: str) -> RunConfig:
    """``config`` with each (key, value as text) applied, the last one for a key winning.

    Raises ``InputError`` for an unknown key (naming the nearest, and ``where`` all are listed), a value of another
    type, or one that the configuration refuses; ``origin`` stands before the key. All changes are made together, so
    that settings that depend on each other may come in any order.
    """
    types_by_key = dict(_settings(config))
    changes: dict[str, Any] = {}
    for key, text in settings:
        for name in SHORTHANDS.get(key, (key,)):
            if name not in types_by_key:
                close = ", ".join(nearest(key, [*types_by_key, *SHORTHANDS]))
                raise InputError(f"{origin}{key}: there is no such setting; the nearest are {close} ({where})")
            try:
                changes[name] = _parsed(text, types_by_key[name])
            except _NotThisType:
                raise InputError(f"{origin}{key}={text}: must be {describe_type(types_by_key[name])}") from None
    changed: RunConfig = _replaced(config, changes)
    return changed


def require_asked(path: Path, option: str, before: RunConfig, after: RunConfig, asked: Sequence[str]) -> None:
    """Raises ``InputError`` if a file of settings makes the run use a file, a service or a network elsewhere that the
    user did not name with ``--set``: the file may come from a stranger.

    ``path`` is the file, given with ``option``; ``before`` and ``after`` are the settings without and with it, and
    ``asked`` are the user's arguments of ``--set``.
    """
    keys = {word.partition("=")[0] for word in asked}
    old, new = flat_settings(config_to_dict(before)), flat_settings(config_to_dict(after))
    elsewhere = [
        f"{key}={new[key]}"
        for key in ELSEWHERE
        if new[key] not in (None, old[key]) and key not in keys and (key not in NETWORKS or ":" in new[key])
    ]
    if elsewhere:
        words = " ".join(f"--set {quote(setting)}" for setting in elsewhere)  # for a shell, as they may be copied there
        raise InputError(
            f"{path} asks for {', '.join(elsewhere)}, from outside this program: if that is what you mean, give "
            f"{words} beside {option}"
        )


def refuse_fixed(overrides: Sequence[str], fixed: Mapping[str, str]) -> None:
    """Raises ``InputError`` where one of ``overrides`` names a setting that a command sets itself;
    ``fixed`` names the remedy: key → words, as in ``"give --epochs"``."""
    for override in overrides:
        key = override.partition("=")[0]
        names = [name for name in SHORTHANDS.get(key, (key,)) if name in fixed]
        if names:
            raise InputError(f"--set {key}: this command sets {names[0]} itself: {fixed[names[0]]}")


def setting_names(config: RunConfig) -> list[str]:
    """All keys that ``--set`` takes, shorthands last."""
    return [*(key for key, _ in _settings(config)), *SHORTHANDS]


def flat_settings(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings, as ``config_to_dict`` gives them, by the dotted keys of ``--set``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flat_settings(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _settings(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, annotation) of every leaf."""
    hints = field_types(config.__class__)
    for entry in fields(config):
        if is_dataclass(hints[entry.name]):
            yield from _settings(getattr(config, entry.name), f"{prefix}{entry.name}.")
        elif prefix + entry.name not in NOT_SETTABLE:
            yield prefix + entry.name, hints[entry.name]


def nearest(word: str, names: Iterable[str], count: int = 3) -> list[str]:
    """The ``count`` of ``names`` that are most like ``word``, the best first. The last parts of dotted names are
    compared, too, so that ``lr`` and ``crop_size`` find their sections."""

    def likeness(name: str) -> float:
        pairs = [(word, name), (word.rpartition(".")[2], name.rpartition(".")[2])]
        return max(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)

    return sorted(names, key=likeness, reverse=True)[:count]


def _parsed(text: str, annotation: Any) -> Any:
    if is_union(annotation):
        return _parsed_union(text, get_args(annotation))
    if annotation is types.NoneType:
        if text.lower() in ("none", "null", ""):
            return None
        raise _NotThisType
    if get_origin(annotation) is Literal:
        for choice in get_args(annotation):
            if text == str(choice):
                return choice
        raise _NotThisType
    if annotation is bool:
        if text.lower() in BOOLEANS:
            return BOOLEANS[text.lower()]
        raise _NotThisType
    try:
        return annotation(text)
    except ValueError:
        raise _NotThisType from None


def _parsed_union(text: str, parts: tuple[Any, ...]) -> Any:
    """None goes first, because every text is also a ``str``."""
    for part in sorted(parts, key=lambda part: part is not types.NoneType):
        try:
            return _parsed(text, part)
        except _NotThisType:
            continue
    raise _NotThisType


def _replaced(config: Any, changes: dict[str, Any]) -> Any:
    own: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for key, value in changes.items():
        head, dot, rest = key.partition(".")
        if dot:
            nested.setdefault(head, {})[rest] = value
        else:
            own[head] = value
    for head, inner in nested.items():
        own[head] = _replaced(getattr(config, head), inner)
    return replace(config, **own) if own else config
