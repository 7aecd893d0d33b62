#!/usr/bin/env bash
# onnxslim 0.1.98, onnx 1.23.2, onnxruntime 1.32.0, Python 3.11; seen on 2026-11-30.
# One expects: slim() removes superfluous nodes of a model and keeps its scores.
# What happens: if a convolution is followed by a multiplication with a constant along the columns or the rows, and
#   there are as many of them as the convolution has channels, onnxslim multiplies the weights of the channels by it
#   (pull requests 209 and 261). So a window over the columns (Hann, Gaussian, a mask) after 16 filters stays right for
#   tiles of 15 and 17 pixels, and becomes a weight of the filters for tiles of 16. The model stays valid, with the same
#   shapes; only its scores are others. Additions after a convolution are checked for this, multiplications are not.
# What to do: slim(model, skip_fusion_patterns=["FusionConvMul", "FusionConvTransposeMul"]), or model_check=True, with
#   which slim() prints so and returns None if the outputs differ; compare the scores of exported models with those
#   before.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile onnxslim==0.1.98 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cat >"$folder/slim.py" <<'PYTHON'
import contextlib
import io

import numpy as np
import onnx
import onnxruntime
import onnxslim
from onnx import TensorProto, helper, numpy_helper

NUM_CHANNELS = 16
FUSIONS = ["FusionConvMul", "FusionConvTransposeMul"]


def detector(operator, shape, size):
    random = np.random.default_rng(0)
    window = np.hanning(max(shape) + 2)[1:-1].astype(np.float32).reshape(shape)
    weights = random.normal(size=(NUM_CHANNELS, 3, 3, 3) if operator == "Conv" else (3, NUM_CHANNELS, 3, 3))
    nodes = [
        helper.make_node(operator, ["tile", "weights"], ["filtered"], pads=[1, 1, 1, 1]),
        helper.make_node("Mul", ["filtered", "window"], ["weighted"]),
        helper.make_node("Relu", ["weighted"], ["positive"]),
        helper.make_node("ReduceMean", ["positive"], ["score"], axes=[1, 2, 3], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("tile", TensorProto.FLOAT, ["batch", 3, size, size])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"])],
        [numpy_helper.from_array(weights.astype(np.float32), "weights"), numpy_helper.from_array(window, "window")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def scores(model, tiles):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"tile": tiles})[0]


CASES = (  # operator, shape of the constant, pixels of a tile, whether the scores change
    ("Conv", (1, 16, 1, 1), 16, False),
    ("Conv", (15,), 15, False),
    ("Conv", (17,), 17, False),
    ("Conv", (16,), 16, True),
    ("Conv", (1, 1, 1, 16), 16, True),
    ("Conv", (16, 1), 16, True),
    ("ConvTranspose", (16,), 16, True),
)
for operator, shape, size, is_changed in CASES:
    y, x = np.mgrid[:size, :size] / size
    tiles = np.stack([np.stack([x, y, x * y]), np.stack([1 - x, y**2, x])]).astype(np.float32)
    model = detector(operator, shape, size)
    before, after = scores(model, tiles), scores(onnxslim.slim(detector(operator, shape, size)), tiles)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that the scores differ
        checked = onnxslim.slim(detector(operator, shape, size), model_check=True)
    kept = scores(onnxslim.slim(detector(operator, shape, size), skip_fusion_patterns=FUSIONS), tiles)
    print(f"{operator}, constant of {shape}, {size} pixels: scores {before.round(3)}, slimmed {after.round(3)}")
    assert np.allclose(before, kept, rtol=1e-4), "changed: without the fusions"
    assert (checked is None) == is_changed, "changed: model_check"
    assert np.allclose(before, after, rtol=1e-2) != is_changed, f"changed: {operator} {shape}"
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/slim.py" 2>"$folder/log" || { tail -20 "$folder/log"; exit 1; }
echo "as found: a window over columns became weights of channels"
