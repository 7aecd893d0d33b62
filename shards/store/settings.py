"""A machine's settings for reading from stores.

They belong to the machine, not to a run: they come from environment variables, and are not recorded with a run.
"""

import math
import os
from dataclasses import dataclass, fields
from pathlib import Path

from shards.errors import InputError

__all__ = ["RemoteSettings", "processes_here"]

_VARIABLES = {
    "cache_folder": "GLASS_CACHE_DIR",
    "cache_gigabytes": "GLASS_CACHE_GB",
    "connections": "GLASS_REMOTE_CONNECTIONS",
    "timeout_s": "GLASS_REMOTE_TIMEOUT_S",
    "attempts": "GLASS_REMOTE_ATTEMPTS",
    "longest_pause_s": "GLASS_REMOTE_LONGEST_PAUSE_S",
}


def processes_here() -> int:
    """Number of this training run's processes on this machine, as set by the launcher. They share one cache."""
    text = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(int(text), 1) if text.isdecimal() else 1


def _default_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "glass-hires"


@dataclass(frozen=True)
class RemoteSettings:
    """Limits for reading from stores. Raises ``InputError``, naming the setting, if one is invalid."""

    cache_folder: Path | None = None
    """Local folder for manifests and whole shards, shared by the processes of a machine. It must be on a local disk. If
    ``None``, the folder is ``glass-hires`` in the user's cache folder."""
    cache_gigabytes: float = 100.0
    """Maximum cache size in units of 10⁹ bytes. The cache may exceed this size while all its files are in use."""
    connections: int = 32
    """Maximum number of simultaneous requests per process."""
    timeout_s: float = 60.0
    """Time limit, in seconds, for a request of up to 8 MiB, and for each 8 MiB of a longer one."""
    attempts: int = 10
    """Maximum number of attempts per request. The pauses between 10 attempts add up to about 51 s, or more if the store
    requests longer pauses."""
    longest_pause_s: float = 30.0
    """Longest pause between attempts in seconds, even if the store requests more."""

    def __post_init__(self) -> None:
        for name, low in (("cache_gigabytes", 0), ("timeout_s", 0), ("longest_pause_s", 0)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not low < value < math.inf:
                raise InputError(f"{_VARIABLES[name]}={value!r} must be a finite number above {low}")
        for name, high in (("connections", 1024), ("attempts", 100)):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= high:
                raise InputError(f"{_VARIABLES[name]}={value!r} must be a number from 1 to {high}")

    @classmethod
    def from_environment(cls) -> "RemoteSettings":
        """Returns the default settings, overridden by environment variables.

        The variables are ``GLASS_CACHE_DIR``, ``GLASS_CACHE_GB``, ``GLASS_REMOTE_CONNECTIONS``,
        ``GLASS_REMOTE_TIMEOUT_S``, ``GLASS_REMOTE_ATTEMPTS`` and ``GLASS_REMOTE_LONGEST_PAUSE_S``.
        """
        found: dict[str, object] = {}
        for field in fields(cls):
            text = os.environ.get(_VARIABLES[field.name])
            if not text:
                continue
            kind = {"cache_folder": Path, "connections": int, "attempts": int}.get(field.name, float)
            try:
                found[field.name] = kind(text)
            except ValueError:
                raise InputError(f"{_VARIABLES[field.name]}={text!r} is not a number") from None
        return cls(**found)  # type: ignore[arg-type]

    @property
    def folder(self) -> Path:
        """The cache folder: ``cache_folder`` or, if that is ``None``, the default."""
        return self.cache_folder or _default_folder()

    @property
    def cache_bytes(self) -> int:
        """``cache_gigabytes`` in bytes."""
        return int(self.cache_gigabytes * 1e9)
