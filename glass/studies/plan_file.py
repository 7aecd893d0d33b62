"""What a folder holds the study of, written down before its first run.

Whoever goes on after a kill compares: else figures of different settings, data or devices would
stand in one table.
"""

import json
from pathlib import Path
from typing import Any

from glass.config.documents import read_document, write_document
from glass.config.overrides import flat_settings
from shards.errors import InputError

__all__ = ["PLAN_FILE", "PLAN_SCHEMA", "settle_plan"]

PLAN_FILE = "plan.json"
FORMAT_VERSION = 1

PLAN_SCHEMA: dict[str, Any] = {
    "format_version": int,
    "study": str,  # in words: "a crop study"
    "settings": dict,  # all that must stay the same
}


def settle_plan(path: Path, study: str, settings: dict[str, Any]) -> None:
    """Writes ``settings`` (plain values, nested) to ``path``, or requires those that it holds.

    Raises ``InputError`` naming the first difference, for a damaged file, and for a folder that
    holds other files and no plan, or cannot be written to.
    """
    now = json.loads(json.dumps({"study": study, "settings": settings}))
    if not path.exists():
        try:
            _write_first(path, {"format_version": FORMAT_VERSION, **now})
        except OSError as error:
            raise InputError(
                f"the plan {path} cannot be written ({error.strerror or error}): give another --output"
            ) from error
        return
    before = read_document(path, PLAN_SCHEMA, f"the plan of {study}", "give another --output")
    if before["study"] != study:
        raise InputError(f"{path.parent} holds {before['study']}, not {study}: give another --output")
    then, wanted = flat_settings(before["settings"]), flat_settings(now["settings"])
    for key in [*wanted, *then]:
        if then.get(key) != wanted.get(key):
            raise InputError(
                f"{path.parent} holds {study} with {key}={then.get(key)!r}, not"
                f" {wanted.get(key)!r}: give another --output, or what it was begun with"
            )


def _write_first(path: Path, plan: dict[str, Any]) -> None:
    if any(not entry.name.startswith(".") for entry in path.parent.iterdir()):
        raise InputError(f"{path.parent} holds other files and no {path.name}: give a new folder as --output")
    write_document(path, plan, PLAN_SCHEMA)
