#!/usr/bin/env bash
# OpenVINO 2026.4.1, onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6; seen on 2026-11-30.
# One expects: OpenVINO computes an ONNX file as ONNX Runtime does, or refuses the nodes that it does not know.
# What happens: it reads two kinds of node that detectors have inside as others, without a warning.
#   1. Resize with antialias=1 (torch's interpolate(…, antialias=True)) is computed without it: an image made smaller
#      inside the model is full of aliases, which look like a generator's traces. (OpenVINO issue 35893.)
#   2. DFT of opset 20 and above (torch.fft, torch.onnx's default opset) is always along axis 1, whatever the axis.
#      In a batch of images these are the colours: fft2 transforms those twice, and of the spectrum nothing is left.
#      Up to opset 19 negative axes are one off (as if counted without the last dimension), and others are right.
# What to do: openvino.convert_model(torch module) instead of an ONNX file: both were right in OpenVINO 2026.4.1. Or
#   resize before the model, and write DFT in opset 19 with an axis above 0. Compare scores of both runtimes, always.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

SIDE, SMALL = 256, 96
core = openvino.Core()


def both(image, nodes, constants, opset, side):
    """What ONNX Runtime and OpenVINO make of the same file."""
    given = helper.make_tensor_value_info("image", TensorProto.FLOAT, image.shape)
    result = helper.make_tensor_value_info("result", TensorProto.FLOAT, (1, 3, side, side))
    numbers = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "graph", [given], [result], numbers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    file = model.SerializeToString()
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    compiled = core.compile_model(core.read_model(file, b""), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return session.run(None, {"image": image})[0], compiled(image)[0]


# 1. A fine pattern, of more lines than the small image has pixels: antialiasing makes it an even grey.
lines = 127.5 + 127.5 * np.cos(2 * np.pi * 0.45 * np.arange(SIDE))
pattern = np.broadcast_to(lines, (1, 3, SIDE, SIDE)).astype(np.float32)
for mode in ("linear", "cubic"):
    found = {}
    for antialias in (0, 1):
        node = helper.make_node(
            "Resize", ["image", "", "", "size"], ["result"], mode=mode, antialias=antialias, cubic_coeff_a=-0.5,
            coordinate_transformation_mode="half_pixel",
        )  # fmt: skip
        found[antialias] = both(pattern, [node], {"size": [1, 3, SMALL, SMALL]}, 18, SMALL)
    right, wrong = found[1]
    print(f"Resize, {mode}, antialias=1: standard deviation {right.std():.1f} levels in ONNX Runtime", end=", ")
    print(f"{wrong.std():.1f} in OpenVINO, where antialias=0 gives {found[0][1].std():.1f}")
    assert np.allclose(*found[0], atol=0.01), f"changed: {mode} without antialias"
    assert right.std() < 10 and wrong.std() > 40, f"changed: {mode}"
    assert np.allclose(wrong, found[0][1], atol=0.01), f"changed: OpenVINO does something else, {mode}"

# 2. The spectrum of an image with a grid of period 8, as an enlarging network leaves it; fft2 as torch.onnx writes it.
image = np.random.default_rng(0).normal(0, 10, (1, 3, SIDE, SIDE, 1)).astype(np.float32)
image += 20 * np.cos(2 * np.pi * np.arange(SIDE) / 8, dtype=np.float32)[:, None]
want = np.abs(np.fft.fft2(image[..., 0]))
for opset, axes in ((18, (3, 2)), (19, (3, 2)), (19, (-2, -3)), (20, (3, 2)), (20, (-2, -3)), (24, (3, 2))):
    nodes = []
    for axis, source, target in zip(axes, ("image", "once"), ("once", "twice"), strict=True):
        if opset < 20:
            nodes.append(helper.make_node("DFT", [source], [target], axis=axis))
        else:
            nodes.append(helper.make_node("DFT", [source, "", f"axis of {source}"], [target]))
    nodes.append(helper.make_node("ReduceL2", ["twice", "last"], ["result"], keepdims=0))
    constants = {"last": [-1]} | ({"axis of image": axes[0], "axis of once": axes[1]} if opset >= 20 else {})
    spectra = both(image, nodes, constants, opset, SIDE)
    right, wrong = spectra
    peaks = [round(float(spectrum[0, :, 0, SIDE // 8].mean() / np.median(spectrum))) for spectrum in spectra]
    print(f"fft2, opset {opset}, axes {axes}: peak of the grid over the median {peaks[0]} in ONNX Runtime", end=", ")
    print(f"{peaks[1]} in OpenVINO")
    assert np.allclose(right, want, atol=0.5), f"changed: ONNX Runtime, opset {opset}"
    as_expected = opset < 20 and axes[0] > 0
    assert np.allclose(wrong, want, atol=0.5) == as_expected, f"changed: opset {opset}, axes {axes}"
    if opset >= 20:
        colours = np.abs(np.fft.fft(np.fft.fft(image[..., 0], axis=1), axis=1))
        assert np.allclose(wrong, colours, atol=0.5), f"changed: no longer along axis 1, opset {opset}"
PYTHON
echo "as found: OpenVINO resizes without antialiasing, and transforms over the colours"
