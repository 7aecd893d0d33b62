"""The methods that ``glass bench decode --formats`` compares, and their labels in the table and plot."""

from collections.abc import Iterator

from bench.corpora.encoded import FORMATS
from bench.harness.task import MethodInfo

__all__ = ["LABELS", "METHODS", "STORED", "methods_of"]

_LOADER = "bench.methods.loader:LoaderPath"
_AUTO = {"backend": "turbo", "decode": "auto"}
_WHOLE = "decodes the whole file, and makes a global view and N crops of it, uint8"

METHODS = {
    "kept": MethodInfo("our loader, decode=auto, on the file as it is", _LOADER, _AUTO),
    "tiles": MethodInfo("our loader, decode=auto, on the same pixels as a tiled TIFF (--lossy tiles)", _LOADER, _AUTO),
    "baseline": MethodInfo(
        "our loader, decode=auto, on the progressive JPEG converted to baseline, as glass build does by default",
        _LOADER,
        _AUTO,
    ),
    "pillow": MethodInfo(f"Pillow {_WHOLE}", "bench.methods.readers:PillowViews"),
    "opencv": MethodInfo(f"OpenCV {_WHOLE}", "bench.methods.readers:OpenCvViews"),
    "torchvision": MethodInfo(f"torchvision {_WHOLE}", "bench.methods.readers:TorchvisionViews"),
    "decode_only": MethodInfo(
        "whole images: libjpeg-turbo decodes a JPEG, Pillow any other file; no global view, no crops",
        "bench.methods.building:PillowDecode",
    ),
}
LABELS = {
    "kept": "this loader",
    "tiles": "this loader, tiles",
    "baseline": "this loader, baseline",
    "pillow": "Pillow",
    "opencv": "OpenCV",
    "torchvision": "torchvision",
    "decode_only": "decode alone",
}
"""Maps method names to labels in the table and plot."""
STORED = ("tiles", "baseline")
"""Methods that read shards for which the build converted the files: to tiles, or to baseline JPEG. All other methods
read the files as they were written."""


def methods_of(format_name: str) -> Iterator[tuple[str, MethodInfo]]:
    """Yields the methods that apply to a format, each with its name."""
    chosen = FORMATS[format_name]
    for name, info in METHODS.items():
        if name in STORED and name != chosen.stored_as:
            continue
        if name == "decode_only" and chosen.kind == "JPEG":
            yield name, MethodInfo(info.about, "bench.methods.libjpeg:WholeImages")
        else:
            yield name, info
