"""The installed versions of the libraries that can change a result."""

import platform
from functools import cache
from importlib import metadata

__all__ = ["installed_versions"]

DISTRIBUTIONS = ("glass-hires", "torch", "timm", "accelerate", "numpy", "pillow", "simplejpeg", "nvidia-dali-cuda130")


@cache
def installed_versions() -> dict[str, str]:
    """Maps the distribution name of each installed library that can change a result, and ``python``, to its version."""
    versions = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # DALI exists for Linux only
            continue
    return versions
