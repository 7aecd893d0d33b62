"""The lines of ``glass --version``. Include them when you report wrong pixels."""

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
"""Maps libraries bundled with Pillow to the names under which ``PIL.features`` reports their versions."""


def version_lines() -> list[str]:
    """Returns one line "NAME VERSION" per library, with Python and this project first."""
    found = installed_versions() | {"numba": metadata.version("numba")}
    inside = {name: features.version(feature) for name, feature in IN_PILLOW.items()}
    return [
        *(f"{name} {version}" for name, version in found.items()),
        *(f"{name} {version} in Pillow" for name, version in inside.items() if version),
    ]
