"""ONNX export of networks that the exporter can follow only after a change, or not at all."""

import numpy as np
import pytest
import torch

from glass.config.run_config import ModelConfig, RunConfig
from glass.model.model import build_model
from glass.share import onnx_export
from loaders import LoaderConfig
from shards.errors import InputError


class Attention(torch.nn.Module):
    """A layer with the switch ``fused_attn``, like timm's attention layers."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused_attn = fused


def switches(model) -> list[bool]:
    return [layer.fused_attn for layer in model if isinstance(layer, Attention)]


def test_attention_goes_out_in_parts_where_it_cannot_as_a_whole(monkeypatch):
    model = torch.nn.Sequential(Attention(True), torch.nn.Linear(1, 1), Attention(False))
    tried = []

    def export(given, inputs, **options):
        tried.append(switches(given))
        if len(tried) == 1:
            raise RuntimeError("cannot view")
        return "a program"

    monkeypatch.setattr(torch.onnx, "export", export)
    assert onnx_export._exported(model, ()) == "a program"
    assert tried == [[True, False], [False, False]]
    assert switches(model) == [True, False]


def test_what_cannot_go_out_at_all_gets_one_sentence(monkeypatch):
    def export(given, inputs, **options):
        try:
            raise ValueError("Cannot view a tensor\nwith more lines")
        except ValueError as error:
            raise RuntimeError("step 2/3 failed") from error

    monkeypatch.setattr(torch.onnx, "export", export)
    model = torch.nn.Sequential(Attention(True))
    with pytest.raises(InputError, match=r"ValueError: Cannot view a tensor\).*--to") as caught:
        onnx_export._exported(model, ())
    assert "\n" not in str(caught.value)
    assert switches(model) == [True]


@pytest.mark.slow
def test_a_network_of_windows_scores_the_same_as_onnx(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    model = ModelConfig(kind="single_view", global_backbone="test_maxvit", pretrained=False)
    config = RunConfig(model=model, loader=LoaderConfig(global_size=64))
    network = build_model(config, for_training=False).eval()
    card = {"views": {}, "label_names": ["real", "generated"], "kind": "single_view"}
    onnx_export.export_onnx(tmp_path / "m.onnx", network, config, card)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        view = torch.randint(0, 256, (batch, 3, 64, 64), dtype=torch.uint8)
        got = session.run(["logits"], {"global_view": view.numpy()})[0]
        with torch.no_grad():
            np.testing.assert_allclose(got, network(view)[0].numpy(), atol=1e-4, rtol=1e-4)
