"""The methods that ``glass bench decode`` compares. Each has a class, and a description that also says which work the
method omits.

All methods start with bytes in the page cache and end with pixels in memory. The loader's methods copy the global view
from the shard; ``recipe`` and ``dali_full`` have to make the view from the decoded image. ``dali_roi``, ``precut`` and
``decode_only`` make no global view at all, which favours them.
"""

from bench.harness.task import MethodInfo

__all__ = ["LABELS", "METHODS"]

_LOADER = "bench.methods.loader:LoaderPath"

METHODS = {
    "recipe": MethodInfo(
        "the paper's data path: Pillow decodes the file, ToTensor converts the whole image to float, which is "
        "resized to the global view and sliced into N crops, both normalised; one image per thread",
        "bench.methods.recipe:Recipe",
    ),
    "dali_full": MethodInfo(
        "DALI on the CPU: decodes each image once, resizes it to the global view, slices N crops; "
        "uint8, results left in DALI's buffers",
        "bench.methods.dali_decode:DaliFull",
    ),
    "dali_roi": MethodInfo(
        "DALI on the CPU: N times decoders.image_slice; no global view; uint8, results left in DALI's buffers",
        "bench.methods.dali_decode:DaliRegions",
    ),
    "full": MethodInfo(
        "our loader, decode=full, libjpeg-turbo: whole image decoded, N crops sliced, global view "
        "copied from the shard",
        _LOADER,
        {"backend": "turbo", "decode": "full"},
    ),
    "window": MethodInfo(
        "our loader, decode=window, libjpeg-turbo: N crops spliced and decoded, global view copied "
        "from the shard, batches assembled",
        _LOADER,
        {"backend": "turbo", "decode": "window"},
    ),
    "window_dali": MethodInfo(
        "our loader, decode=window, DALI on the CPU", _LOADER, {"backend": "dali", "decode": "window"}
    ),
    "auto": MethodInfo(
        "our loader, decode=auto, libjpeg-turbo: the default", _LOADER, {"backend": "turbo", "decode": "auto"}
    ),
    "precut": MethodInfo(
        "the upper bound: the same crops, cut beforehand and stored as separate JPEGs (quality 92, "
        "4:4:4), decoded by libjpeg-turbo into a batch; no global view",
        "bench.methods.libjpeg:PrecutCrops",
    ),
    "decode_only": MethodInfo(
        "libjpeg-turbo decodes each whole image; no global view, no crops", "bench.methods.libjpeg:WholeImages"
    ),
}

LABELS = {
    "recipe": "the paper's recipe",
    "dali_full": "DALI: decode once, slice",
    "dali_roi": "DALI: a region per crop",
    "full": "this loader, whole images",
    "window": "this loader",
    "window_dali": "this loader, DALI decoding",
    "auto": "this loader, auto",
    "precut": "upper bound: stored crops",
    "decode_only": "libjpeg-turbo: decode alone",
}
"""Maps method names to labels in plot legends."""
