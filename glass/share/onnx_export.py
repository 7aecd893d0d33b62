"""Writes a model as one ONNX file, for runtimes without PyTorch (extra ``onnx``).

Inputs are ``global_view`` (B, 3, S, S) uint8, ``local_crops`` (B, N, 3, C, C) uint8 and ``crop_mask`` (B, N) bool, for
any batch size B and any number N of crops. Outputs are ``logits`` (B, 2) and ``attention_weights`` (B, N), float32.
``single_view`` models have only ``global_view`` and ``logits``. The exported model normalises the pixels.
"""

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from glass.config.run_config import RunConfig
from glass.model.model import Glass, SingleView
from shards.errors import InputError
from shards.files.atomic import atomic_path

__all__ = ["export_onnx"]

OPSET = 18


class _LogitsOnly(nn.Module):
    def __init__(self, model: SingleView) -> None:
        super().__init__()
        self.model = model

    def forward(self, global_view: torch.Tensor) -> torch.Tensor:
        return self.model(global_view)[0]


def export_onnx(path: Path, model: Glass | SingleView, config: RunConfig, card: Any) -> None:
    """Writes ``model`` as ONNX to ``path``. The model must be on the CPU and in evaluation mode.

    The file's metadata contain the model's view settings, the label names, and the note on the training data, all taken
    from ``card``. Raises ``InputError`` if the extra is not installed, or if torch cannot export a backbone.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  the exporter asks for it with a longer message
    except ImportError as error:
        raise InputError("ONNX export needs an extra: pip install -e '.[onnx]'") from error
    loader = config.loader
    sides = (3, loader.global_size, loader.global_size)
    example = torch.zeros((2, *sides), dtype=torch.uint8)
    batch, crops = torch.export.Dim("batch", min=1), torch.export.Dim("crops", min=1)
    if isinstance(model, Glass):
        # Sizes of 2 and 3, since the exporter treats a size of 1 as fixed.
        shape = (2, 3, 3, loader.crop_size, loader.crop_size)
        inputs: tuple[torch.Tensor, ...] = (
            example,
            torch.zeros(shape, dtype=torch.uint8),
            torch.ones(2, 3, dtype=torch.bool),
        )
        names, outputs = (["global_view", "local_crops", "crop_mask"], ["logits", "attention_weights"])
        dynamic: tuple[Any, ...] = ({0: batch}, {0: batch, 1: crops}, {0: batch, 1: crops})
        # A graph has no loop, so chunks would fix its number of crops.
        unchunked = copy.copy(model)
        unchunked.crop_chunk = None
        traced: nn.Module = unchunked
    else:
        inputs, names, outputs, dynamic = (example,), ["global_view"], ["logits"], ({0: batch},)
        traced = _LogitsOnly(model)
    program = _exported(
        traced,
        inputs,
        input_names=names,
        output_names=outputs,
        dynamic_shapes=dynamic,
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    proto = program.model_proto
    views = card["views"] | {"label_names": card["label_names"], "kind": card["kind"]}
    if note := card.get("data_note"):
        views["data_note"] = note
    entry = proto.metadata_props.add()
    entry.key, entry.value = "glass_views", json.dumps(views)
    onnx.checker.check_model(proto)
    with atomic_path(path) as temporary:
        onnx.save(proto, temporary)


def _exported(model: nn.Module, inputs: tuple[torch.Tensor, ...], **options: Any) -> Any:
    """Exports ``model`` and returns torch's ONNX program. Raises ``InputError`` if torch cannot export it.

    Attention is exported as one operator. If torch cannot export this operator (as with MaxViT's windows in torch
    2.14), attention is exported as separate matrix products.
    """
    reason = ""
    for attention in (nullcontext(), _attention_in_parts(model)):
        with warnings.catch_warnings(), attention:  # warnings about the exporter's internals
            warnings.simplefilter("ignore")
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            try:
                program = torch.onnx.export(model, inputs, **options)
            except Exception as error:  # may be of a dozen types, each with a message about torch's internals
                reason = _innermost(error)
                continue
        assert program is not None
        return program
    raise InputError(
        "torch cannot write this model as ONNX, because one of its backbones uses an operation that ONNX lacks "
        f"({reason}): share it with --to or --push, or train another backbone"
    )


@contextmanager
def _attention_in_parts(model: nn.Module) -> Iterator[None]:
    fused = [layer for layer in model.modules() if getattr(layer, "fused_attn", False)]
    for layer in fused:
        layer.fused_attn = False
    try:
        yield
    finally:
        for layer in fused:
            layer.fused_attn = True


def _innermost(error: BaseException) -> str:
    """Returns the type of the root cause of ``error``, and the first line of its message."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:160]}"
