"""Shrinks photographs and writes them in every format, for ``glass bench decode --formats``."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from shards.files.atomic import write_bytes_atomic
from shards.images.formats import EXTENSIONS
from shards.images.pixels import decode_rgb
from shards.images.rejection import RejectedImage
from shards.optional import optional

__all__ = ["FORMATS", "Format", "encode", "register_plugins", "shrink_photographs", "why_not", "write_photographs"]


@dataclass(frozen=True)
class Format:
    """A file format, and how Pillow writes it."""

    label: str
    """The format's name in tables and plots."""
    kind: str
    """Pillow's name for the format, which is also a key of ``shards.images.formats.EXTENSIONS``."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments for Pillow's ``save``."""
    stored_as: str | None = "tiles"
    """The form to which a build must convert a file of this format, so that one crop can be read without decoding the
    rest: ``tiles`` or ``baseline``. None if no conversion is needed."""
    extra: str = ""
    """The extra of this package that installs the Pillow plugin for the format; "" if none is needed."""


FORMATS = {
    "jpeg": Format("JPEG", "JPEG", {"quality": 90}, stored_as=None),
    "progressive": Format("progressive JPEG", "JPEG", {"quality": 90, "progressive": True}, stored_as="baseline"),
    "png": Format("PNG", "PNG"),
    "webp": Format("WebP, lossy", "WEBP", {"quality": 85}),
    "webp_lossless": Format("WebP, lossless", "WEBP", {"lossless": True, "method": 0}),
    "avif": Format("AVIF", "AVIF", {"quality": 75, "speed": 8}),
    # x265's default takes a minute for 8 megapixels.
    "heic": Format("HEIC", "HEIF", {"quality": 80, "enc_params": {"preset": "ultrafast"}}, extra="heic"),
    "jxl": Format("JPEG XL", "JXL", {"quality": 90, "effort": 3}, extra="jxl"),
    "jp2": Format(
        "JPEG 2000", "JPEG2000", {"irreversible": True, "quality_mode": "rates", "quality_layers": [12], "mct": 1}
    ),
}
"""Maps names to formats."""


def register_plugins() -> None:
    """Lets Pillow read and write HEIC and JPEG XL if their plugins are installed."""
    if heif := optional("pillow_heif"):
        heif.register_heif_opener()
    optional("pillow_jxl")  # registers itself


def why_not(name: str) -> str | None:
    """Why the format ``name`` cannot be written and read with the installed libraries; None if it can."""
    chosen = FORMATS[name]
    hint = f": pip install -e '.[{chosen.extra}]'" if chosen.extra else ""
    register_plugins()
    Image.init()
    if chosen.kind not in Image.SAVE:
        return f"Pillow cannot write {chosen.label} here{hint}"
    try:
        data = encode(Image.new("RGB", (64, 64), "teal"), name)
    except (OSError, ValueError, RuntimeError) as error:
        return f"Pillow cannot write {chosen.label} here ({error}){hint}"
    try:
        decode_rgb(data)
    except RejectedImage as error:
        return f"{chosen.label} cannot be read here ({error}){hint}"
    return None


def encode(image: Image.Image, name: str) -> bytes:
    """Encodes an RGB image in the format ``name``."""
    buffer = io.BytesIO()
    image.save(buffer, FORMATS[name].kind, **FORMATS[name].options)
    return buffer.getvalue()


def shrink_photographs(photographs: Sequence[Path], megapixels: float, folder: Path) -> list[Path]:
    """Scales the photographs to about ``megapixels`` each and writes them as uncompressed RGB bitmaps into the new
    ``folder``. Returns the paths."""
    folder.mkdir(parents=True)
    paths = []
    for number, photograph in enumerate(photographs):
        with Image.open(photograph) as opened:
            image = opened.convert("RGB")
        scale = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
        width, height = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        paths.append(folder / f"{number:06d}.bmp")
        image.resize((width, height), Image.Resampling.LANCZOS).save(paths[-1])
    return paths


def write_photographs(images: Sequence[Path], name: str, folder: Path) -> list[Path]:
    """Converts the image files ``images`` to the format ``name``, and writes them to the new ``folder``. Returns the
    paths."""
    register_plugins()
    folder.mkdir(parents=True)
    paths = []
    for image in images:
        paths.append(folder / f"{image.stem}.{EXTENSIONS[FORMATS[name].kind]}")
        with Image.open(image) as opened:
            write_bytes_atomic(paths[-1], encode(opened, name))
    return paths
