"""The lines of ``glass --version``, which a report of strange pixels should include."""

from importlib import metadata

from PIL import features

from glass.config.versions import installed_versions

__all__ = ["version_lines"]

IN_PILLOW = {
    "libjpeg-turbo": "libjpeg_turbo",
    "libwebp": "webp",
    "libtiff": "libtiff",
    "libavif": "avif",
    "zlib": "zlib",
}
"""Libraries that are part of Pillow → Pillow's name for them."""


def version_lines() -> list[str]:
    """One line per program, our own first: "NAME VERSION"."""
    found = installed_versions() | {"numba": metadata.version("numba")}
    inside = {name: features.version(feature) for name, feature in IN_PILLOW.items()}
    return [
        *(f"{name} {version}" for name, version in found.items()),
        *(f"{name} {version} in Pillow" for name, version in inside.items() if version),
    ]
