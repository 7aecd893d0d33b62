"""Reads untrusted JSON: limits its size and depth, and rejects non-finite numbers."""

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from shards.errors import machine_spared
from shards.files.limits import limit
from shards.files.patience import read_or_end
from shards.files.regular_file import open_regular

__all__ = ["parse_json", "read_json", "read_json_bytes"]


def read_json(path: Path) -> Any:
    """Parses the JSON file ``path``. Raises ``OSError``, or ``ValueError`` if it is too large, too deep or not JSON."""
    return parse_json(read_json_bytes(path))


def read_json_bytes(path: Path) -> bytes:
    """Reads all bytes of a JSON or JSON Lines file. Raises ``OSError``, or ``ValueError`` if the file is too large."""
    most = limit("MAX_JSON_BYTES")
    with machine_spared(path):
        data = read_or_end(path, lambda: _beginning(path, most + 1))
    if len(data) > most:
        raise ValueError(f"more than GLASS_MAX_JSON_BYTES={most} bytes")
    return data


def _beginning(path: Path, num_bytes: int) -> bytes:
    with open_regular(path) as file:
        return file.read(num_bytes)


def parse_json(data: bytes) -> Any:
    """Parses the UTF-8 JSON document ``data``. Raises ``ValueError`` if it is not JSON or nested too deeply."""
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _finite(text: str) -> float:
    """Parses a number. Rejects numbers such as 1e999, which are valid JSON but become infinite as floats.

    JSON cannot represent infinity, so such a number could not be written back.
    """
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:60]} is too large")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
