"""A model as one ONNX file, for runtimes without PyTorch (extra ``onnx``).

Inputs ``global_view`` (B, 3, S, S) uint8, ``local_crops`` (B, N, 3, C, C) uint8 and ``crop_mask``
(B, N) bool, any B and N; outputs ``logits`` (B, 2) and ``attention_weights`` (B, N) float32.
``single_view`` models take ``global_view`` and give ``logits``. Normalisation is inside.
"""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from glass.config import RunConfig
from glass.model import Glass, SingleView
from shards.atomic import atomic_path
from shards.command import InputError

__all__ = ["export_onnx"]

OPSET = 18


class _LogitsOnly(nn.Module):
    def __init__(self, model: SingleView) -> None:
        super().__init__()
        self.model = model

    def forward(self, global_view: torch.Tensor) -> torch.Tensor:
        return self.model(global_view)[0]


def export_onnx(path: Path, model: Glass | SingleView, config: RunConfig, card: Any) -> None:
    """Writes ``model`` (on the CPU, in evaluation mode) as ONNX; the views it wants stand in the
    file's metadata. Raises ``InputError`` where the extra is missing."""
    try:
        import onnx
        import onnxscript  # noqa: F401  the exporter asks for it with a longer message
    except ImportError as error:
        raise InputError("ONNX needs an extra: pip install -e '.[onnx]'") from error
    loader = config.loader
    sides = (3, loader.global_size, loader.global_size)
    example = torch.zeros((2, *sides), dtype=torch.uint8)
    batch, crops = torch.export.Dim("batch", min=1), torch.export.Dim("crops", min=1)
    if isinstance(model, Glass):
        # Sizes of 2 and 3, since the exporter takes a size of 1 for fixed.
        shape = (2, 3, 3, loader.crop_size, loader.crop_size)
        inputs: tuple[torch.Tensor, ...] = (
            example, torch.zeros(shape, dtype=torch.uint8), torch.ones(2, 3, dtype=torch.bool),
        )  # fmt: skip
        names, outputs = (
            ["global_view", "local_crops", "crop_mask"],
            ["logits", "attention_weights"],
        )
        dynamic: tuple[Any, ...] = ({0: batch}, {0: batch, 1: crops}, {0: batch, 1: crops})
        traced: nn.Module = model
    else:
        inputs, names, outputs, dynamic = (example,), ["global_view"], ["logits"], ({0: batch},)
        traced = _LogitsOnly(model)
    with warnings.catch_warnings():  # of the exporter, about its own insides
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            traced, inputs, input_names=names, output_names=outputs, dynamic_shapes=dynamic,
            opset_version=OPSET, dynamo=True, verbose=False,
        )  # fmt: skip
    assert program is not None
    proto = program.model_proto
    views = card["views"] | {"label_names": card["label_names"], "kind": card["kind"]}
    entry = proto.metadata_props.add()
    entry.key, entry.value = "glass_views", json.dumps(views)
    onnx.checker.check_model(proto)
    with atomic_path(path) as temporary:
        onnx.save(proto, temporary)
