#!/usr/bin/env bash
# onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6, Pillow 13.0.0; seen on 2026-11-30.
# One expects: in inference a detector scores each image by itself. Batch normalisation is frozen, so the other images
#   of a batch change a score by rounding errors at most, also after quantisation to 8 bits.
# What happens: quantize_dynamic() puts a DynamicQuantizeLinear before each layer, which takes one range from the whole
#   batch: the image with the largest activations sets the size of the steps for all the others. Here scores change
#   with the batch size by up to 0.2 (standard deviation 0.86), and beside one image of noise or text 7 to 12% of all
#   verdicts change. So a service that batches its requests has another accuracy than the evaluation, and the same image
#   gets different verdicts. The maintainers call this expected (issue 10111).
# What to do: run such a model on one image at a time, or use quantize_static(), whose ranges are fixed: its scores are
#   the same in all batches. Before deploying a model, compare the scores of different batch sizes.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6 pillow==13.0.0
cd "$folder"
cat >measure.py <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from PIL import Image, ImageDraw

SIDE, TRAINED, CHANNELS = 64, 800, 64
rng = np.random.default_rng(0)


def enlarged(array):
    planes = [Image.fromarray(plane).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for plane in array]
    return np.stack([np.asarray(plane) for plane in planes])


def picture(fake):
    """A smooth scene: with the noise of a sensor if it is real, with noise that was enlarged twofold if it is fake."""
    scene = enlarged(rng.normal(0, 1, (3, 9, 9)).astype(np.float32)) * 40 * rng.uniform(0.4, 1.2) + rng.uniform(90, 160)
    if fake:
        noise = enlarged(rng.normal(0, 1, (3, SIDE // 2, SIDE // 2)).astype(np.float32)) * rng.uniform(4, 12)
    else:
        noise = rng.normal(0, 1, (3, SIDE, SIDE)) * rng.uniform(2, 7)
    return np.clip(np.rint(scene + noise), 0, 255).astype(np.float32)


def random_filters(number, channels):
    return (rng.normal(0, 1, (number, channels, 3, 3)) * np.sqrt(2 / (9 * channels))).astype(np.float32)


first, second = random_filters(32, 3), random_filters(CHANNELS, 32)
first -= first.mean((2, 3), keepdims=True)  # no filter looks at brightness


def detector(weights, bias):
    """Two convolutions, an average over the image, and a linear layer."""
    values = {
        "middle": np.float32(128), "deviation": np.float32(50), "first": first, "second": second,
        "weights": weights.astype(np.float32), "bias": bias.astype(np.float32),
    }  # fmt: skip
    shape = {"pads": [1] * 4, "strides": [2, 2]}
    nodes = [
        helper.make_node("Sub", ["image", "middle"], ["centred"]),
        helper.make_node("Div", ["centred", "deviation"], ["normal"]),
        helper.make_node("Conv", ["normal", "first"], ["a"], **shape),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["c"], **shape),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["features"]),
        helper.make_node("MatMul", ["features", "weights"], ["f"]),
        helper.make_node("Add", ["f", "bias"], ["scores"]),
    ]
    given = helper.make_tensor_value_info("image", TensorProto.FLOAT, [None, 3, SIDE, SIDE])
    result = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, weights.shape[1]])
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "detector", [given], [result], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def opened(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def scores(session, images, batch_size):
    batches = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
    return np.concatenate([session.run(None, {"image": batch})[0] for batch in batches])


def scores_beside(session, images, neighbour):
    return np.stack([session.run(None, {"image": np.stack([image, neighbour])})[0][0, 0] for image in images])


fake = np.arange(1200) % 2 == 1
pictures = np.stack([picture(one) for one in fake])
onnx.save(detector(np.eye(CHANNELS), np.zeros(CHANNELS)), "features.onnx")
features = scores(opened("features.onnx"), pictures, 100)
mean, deviation = features[:TRAINED].mean(0), features[:TRAINED].std(0) + 1e-6
normal = (features[:TRAINED] - mean) / deviation
fit = np.linalg.solve(normal.T @ normal + np.eye(CHANNELS), normal.T @ (2.0 * fake[:TRAINED] - 1)) / deviation
onnx.save(detector(fit[:, None], np.atleast_1d(-fit @ mean)), "float.onnx")

tested, fake = pictures[TRAINED:], fake[TRAINED:]


class Calibration(CalibrationDataReader):
    def __init__(self):
        self.images = iter(pictures[:200])

    def get_next(self):
        image = next(self.images, None)
        return None if image is None else {"image": image[None]}


page = Image.new("RGB", (SIDE, SIDE), "white")
for line in range(6):
    ImageDraw.Draw(page).text((2, 11 * line - 1), "Some lines of text"[line:], fill="black")
neighbours = {
    "a picture": tested[0],
    "a page of text": np.asarray(page).transpose(2, 0, 1).astype(np.float32),
    "black-and-white noise": 255 * rng.integers(0, 2, (3, SIDE, SIDE)).astype(np.float32),
}
quantize_dynamic("float.onnx", "dynamic.onnx")
quantize_dynamic("float.onnx", "dynamic, uint8.onnx", weight_type=QuantType.QUInt8)
quantize_static("float.onnx", "static.onnx", Calibration())
for name in ("float", "static", "dynamic", "dynamic, uint8"):
    session = opened(f"{name}.onnx")
    alone = scores(session, tested, 1)[:, 0]
    accuracy = ((alone > 0) == fake).mean()
    print(f"{name}: accuracy {accuracy:.3f} one by one, standard deviation of scores {alone.std():.2f}")
    assert accuracy > 0.85, "the detector works"
    ways = {f"in batches of {size}": scores(session, tested, size)[:, 0] for size in (2, 32, len(tested))}
    ways |= {f"beside {what}": scores_beside(session, tested, image) for what, image in neighbours.items()}
    for way, found in ways.items():
        difference = np.abs(found - alone).max()
        changed = ((found > 0) != (alone > 0)).mean()
        print(f"  {way}: accuracy {((found > 0) == fake).mean():.3f}, scores differ by up to {difference:.2f}")
        print(f"    and {changed:.1%} of verdicts")
        if "dynamic" not in name:
            assert difference < 1e-3, f"changed: {name} depends on the batch, too"
            continue
        assert difference > 0.01, f"changed: {name} does not depend on the batch {way}"
        if "noise" in way or "text" in way:
            assert changed > 0.04, f"changed: fewer verdicts change {way}"
PYTHON
"$folder/venv/bin/python" measure.py 2>log || { tail -20 log; exit 1; }
echo "as found: after quantize_dynamic() a score depends on the other images of the batch"
