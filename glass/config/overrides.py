"""Converts settings given as text (``--set optim.lr_local=1e-4``) to their fields' types, and applies them."""

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
    "NETWORKS",
    "OF_CROPS_ALONE",
    "SHORTHANDS",
    "apply_overrides",
    "apply_settings",
    "flat_settings",
    "nearest",
    "refuse_contradiction",
    "refuse_fixed",
    "require_asked",
    "setting_names",
]

SHORTHANDS = {
    "optim.lr": ("optim.lr_global", "optim.lr_local", "optim.lr_head"),
    "optim.wd": ("optim.wd_global", "optim.wd_local"),
}
"""Maps each shorthand key to the settings that it sets, all to the same value."""

NETWORKS = ("model.global_backbone", "model.local_backbone")
"""Settings that name a network."""
ELSEWHERE = (*NETWORKS, "model.global_weights", "model.local_weights", "train.trackers")
"""Settings that can refer to resources outside this program: files, services, and timm networks on a hub or in a local
folder."""

NOT_SETTABLE = frozenset({"preset"})
OF_CROPS_ALONE = ("local_backbone", "local_weights", "local_high_pass", "freeze_local", "share_backbone")
"""``model`` settings that have no effect on a model without crops, so changing them for such a model is an error.
``crop_chunk`` has no effect either but is not included, because it affects only memory use."""
BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class _NotThisType(ValueError):
    """Raised if text cannot be converted to the required type."""


def apply_overrides(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """Returns ``config`` with every ``"key=value"`` given to ``--set`` applied; see :func:`apply_settings`.

    Raises ``InputError`` like :func:`apply_settings`, and also if an override lacks the ``=``. If the model uses no
    crops, changing a setting that concerns only crops is an error, too.
    """
    settings = []
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise InputError(f"--set {override!r} must have the form key=value")
        settings.append((key, text))
    changed = apply_settings(config, settings, "--set ", "glass train --help lists them all")
    if changed.model.kind == "single_view":
        for name in OF_CROPS_ALONE:
            if getattr(changed.model, name) != getattr(config.model, name):
                raise InputError(
                    f"--set model.{name}: a single_view model sees no crops, so this setting would change nothing: "
                    "leave it out, or give a preset called glass_…"
                )
    return changed


def apply_settings(config: RunConfig, settings: Iterable[tuple[str, str]], origin: str, where: str) -> RunConfig:
    """Returns ``config`` with each (key, value as text) applied; if a key occurs more than once, the last value wins.

    In messages, ``origin`` precedes the key, and ``where`` tells the user where all keys are listed. All changes are
    applied together, so settings that depend on each other may come in any order. Raises ``InputError`` for an unknown
    key (naming the nearest ones), a value of the wrong type, or a value out of range.
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
    """Raises ``InputError`` if a settings file refers to a file, service or downloadable network that the user has not
    given explicitly.

    Settings files may come from strangers, so the user must confirm these settings by repeating them with ``--set``.
    ``path`` is the settings file, which was given with ``option``. ``before`` and ``after`` are the settings without
    and with the file. ``asked`` holds the user's ``--set`` arguments.
    """
    keys = {word.partition("=")[0] for word in asked}
    old, new = flat_settings(config_to_dict(before)), flat_settings(config_to_dict(after))
    elsewhere = [
        f"{key}={new[key]}"
        for key in ELSEWHERE
        if new[key] not in (None, old[key]) and key not in keys and (key not in NETWORKS or ":" in new[key])
    ]
    if elsewhere:
        words = " ".join(f"--set {quote(setting)}" for setting in elsewhere)  # quoted for a shell, since users copy it
        raise InputError(
            f"{path} asks for files, networks or services from elsewhere ({', '.join(elsewhere)}): if you trust it, "
            f"give {words} beside {option}"
        )


def refuse_fixed(overrides: Sequence[str], fixed: Mapping[str, str]) -> None:
    """Raises ``InputError`` if any of ``overrides`` changes a setting that the command itself controls.

    ``fixed`` maps each such key to the advice given in the message, such as ``"give --epochs"``.
    """
    for override in overrides:
        key = override.partition("=")[0]
        names = [name for name in SHORTHANDS.get(key, (key,)) if name in fixed]
        if names:
            raise InputError(f"--set {key}: this command sets {names[0]} itself: {fixed[names[0]]}")


def refuse_contradiction(option: str, setting: str, overrides: Sequence[str]) -> None:
    """Raises ``InputError`` if any of ``overrides`` gives another value to the setting that ``option`` sets.

    ``option`` is as the user typed it, such as ``"--crops 16"``; ``setting`` is what it means, such as
    ``"loader.num_crops=16"``.
    """
    key = setting.partition("=")[0]
    for override in overrides:
        if override.partition("=")[0] == key and override != setting:
            raise InputError(f"{option} contradicts --set {override}: leave one of them out")


def setting_names(config: RunConfig) -> list[str]:
    """All keys that ``--set`` accepts, shorthands last."""
    return [*(key for key, _ in _settings(config)), *SHORTHANDS]


def flat_settings(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested settings, as ``config_to_dict`` returns them, to the dotted keys of ``--set``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flat_settings(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _settings(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (dotted key, type annotation) of every setting."""
    hints = field_types(config.__class__)
    for entry in fields(config):
        if is_dataclass(hints[entry.name]):
            yield from _settings(getattr(config, entry.name), f"{prefix}{entry.name}.")
        elif prefix + entry.name not in NOT_SETTABLE:
            yield prefix + entry.name, hints[entry.name]


def nearest(word: str, names: Iterable[str], count: int = 3) -> list[str]:
    """Returns the ``count`` of ``names`` that are most similar to ``word``, best match first.

    The last parts of dotted names are compared as well, so ``lr`` and ``crop_size`` find the full keys.
    """

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
    """Converts ``text`` to the first type of a union that accepts it. ``NoneType`` is tried before all other types,
    because ``str`` would accept any text."""
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
