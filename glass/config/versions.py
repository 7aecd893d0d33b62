"""The installed versions of the libraries that can change a result."""

import platform
from functools import cache
from importlib import metadata

__all__ = ["installed_versions"]

DISTRIBUTIONS = ("glass-hires", "torch", "timm", "accelerate", "numpy", "pillow", "simplejpeg", "nvidia-dali-cuda130")


@cache
def installed_versions() -> dict[str, str]:
    """Maps the name of each installed distribution to its version, and ``python`` to Python's; libraries that are not
    installed are left out."""
    versions = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # DALI exists for Linux only
            continue
    return versions
