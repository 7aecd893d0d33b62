"""Writes a run's settings to a TOML file (each run has a ``run.toml``), and reads such files for ``--config``.

TOML has no null, so None is written as "none", as on the command line.
"""

import json
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from glass.config.overrides import apply_settings, flat_settings, require_asked
from glass.config.run_config import RunConfig, config_to_dict
from shards.errors import InputError, machine_spared
from shards.files.regular_file import open_regular

__all__ = ["read_run_file", "run_file_text"]

FORMAT_VERSION = 1
MOST_BYTES = 1 << 20
MOST_BITS = 63
"""Maximum size of an integer in the file, in bits, excluding the sign. TOML integers have 64 bits."""
HEAD = """\
# The settings of a run of GLASS. To start another run with the same settings:
#   glass train --config run.toml --data DATA --output NEW
# --set KEY=VALUE changes single settings; docs/training.md explains the rest.
"""


def run_file_text(config: RunConfig) -> str:
    """Returns the text of ``run.toml``, with all settings in ``config``.

    Raises ``InputError`` if a setting contains text that cannot be encoded as UTF-8.
    """
    values = config_to_dict(config)
    plain = {"format_version": FORMAT_VERSION} | {
        name: value for name, value in values.items() if not isinstance(value, dict)
    }
    lines = [HEAD, *_lines(plain)]
    for name, section in values.items():
        if isinstance(section, dict):
            lines += ["", f"[{name}]", *_lines(section)]
    text = "\n".join(lines) + "\n"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        shown = error.object[max(error.start - 60, 0) : error.end].rpartition("\n")[2]
        raise InputError(f"{shown!r} is not UTF-8, so it cannot be stored in run.toml: rename that file") from error
    return text


def _lines(section: dict[str, Any]) -> list[str]:
    return [f"{name} = {_toml(value)}" for name, value in section.items()]


def _toml(value: Any) -> str:
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML alone forbids DEL


def read_run_file(
    path: Path, preset: str | None, load: Callable[[str], RunConfig], asked: Sequence[str] = ()
) -> RunConfig:
    """Returns a preset's settings, modified by those in the file ``path``.

    The preset is ``preset`` or, if that is None, the one named in the file. ``load`` maps a preset's name to its
    settings; ``asked`` holds the user's ``--set`` arguments (see :func:`require_asked`). Raises ``InputError`` if no
    preset is named, or if the file names a preset other than ``preset``. Also raises it if the file cannot be read, has
    another format version, or contains an unknown setting or an invalid value.
    """
    values = _flat(path)
    version = values.pop("format_version", FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path} has format_version {version!r}, this version reads {FORMAT_VERSION}: use the version of this"
            " project that wrote it"
        )
    named = values.pop("preset", None) or None  # "" if the run was not started from a preset
    if preset is not None and named not in (None, preset):
        raise InputError(f"{path} has the settings of preset {named!r}, not {preset!r}: leave out --preset")
    if not isinstance(named, str | None):
        raise InputError(f"{path}: preset={named!r}: must be the name of a preset")
    name = preset or named
    if not name:
        raise InputError(f"{path} names no preset: give --preset")
    settings = [(key, _as_typed(path, key, value)) for key, value in values.items()]
    start = load(name)
    found = apply_settings(start, settings, f"{path}: ", "glass presets NAME lists them all")
    require_asked(path, "--config", start, found, asked)
    return found


def _flat(path: Path) -> dict[str, Any]:
    """Returns the values in the TOML file ``path`` by dotted key. Raises ``InputError`` if the file cannot be read."""
    try:
        with machine_spared(path), open_regular(path) as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        values = flat_settings(tomllib.loads(data.decode("utf-8-sig")))  # skips a byte order mark from a Windows editor
        if any(isinstance(value, int) and value.bit_length() > MOST_BITS for value in values.values()):
            raise ValueError(f"it has a number of more than {MOST_BITS} bits")  # which Python may refuse to print
        return values
    except OSError as error:
        raise InputError(f"the settings file {path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        what = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"{path} is not a TOML file of settings: {what}") from error


def _as_typed(path: Path, key: str, value: Any) -> str:
    """Formats ``value`` as a user would type it on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | str):
        return str(value)
    raise InputError(f"{path}: {key}: a setting must be a text, a number, true or false")
