"""Glass and SingleView: their sizes, their common interface, pixels as input, and weights from files."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from glass.config.run_config import ModelConfig, RunConfig
from glass.model.architectures import shapes_only
from glass.model.backbones import create_backbone, read_weights
from glass.model.model import Glass, SingleView, build_model
from glass.presets import load_preset
from loaders import LoaderConfig
from shards.errors import InputError


def tiny_config(backbone: str = "test_vit", kind: str = "glass", **model) -> RunConfig:
    return RunConfig(
        model=ModelConfig(kind=kind, global_backbone=backbone, pretrained=False, **model),
        loader=LoaderConfig(num_crops=3, crop_size=64, global_size=32),
    )


def tiny_model(*args, **kwargs) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_model(tiny_config(*args, **kwargs)).eval()


def views(batch_size: int = 2, num_crops: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 global views and crops in the memory layout of the loader (channels last)."""
    random = np.random.default_rng(0)
    view = random.integers(0, 256, (batch_size, 32, 32, 3), dtype=np.uint8)
    crops = random.integers(0, 256, (batch_size, num_crops, 64, 64, 3), dtype=np.uint8)
    return (torch.from_numpy(view).permute(0, 3, 1, 2), torch.from_numpy(crops).permute(0, 1, 4, 2, 3))


@pytest.mark.parametrize(
    ("preset", "millions"),
    [
        pytest.param("glass_vit_base", 171.70, marks=pytest.mark.slow),
        pytest.param("glass_convnext_tiny", 55.74, marks=pytest.mark.slow),
        ("glass_resnet50", 47.29),
    ],
)
def test_parameters_are_those_of_the_paper(preset, millions):
    with shapes_only():  # counts without making 170 million numbers
        model = build_model(load_preset(preset), with_weights=False, for_training=False)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize(
    "backbone", ["test_resnet", *(pytest.param(name, marks=pytest.mark.slow) for name in ("test_vit", "test_convnext"))]
)
def test_shapes_types_and_one_seam_for_both_models(backbone):
    global_view, local_crops = views()
    logits, weights = tiny_model(backbone)(global_view, local_crops)
    assert (logits.shape, logits.dtype) == ((2, 2), torch.float32)
    assert (weights.shape, weights.dtype) == ((2, 3), torch.float32)
    logits, weights = tiny_model(backbone, "single_view")(global_view, local_crops)
    assert (logits.shape, logits.dtype, weights) == ((2, 2), torch.float32, None)


def test_backbones_share_no_weights():
    model = tiny_model()
    assert isinstance(model, Glass)
    own = {p.data_ptr() for p in model.global_backbone.parameters()}
    assert not own & {p.data_ptr() for p in model.local_backbone.parameters()}


@pytest.mark.parametrize("widened", ["test_mambaout", pytest.param("mobilenetv3_small_050", marks=pytest.mark.slow)])
def test_backbones_of_two_kinds_and_widths_go_together(widened):
    """The head of these networks widens their features, so the width that counts is that of the output."""
    model = tiny_model(widened, local_backbone="test_vit")
    assert model.global_backbone.embed_dim > model.global_backbone.network.num_features
    logits, weights = model(*views())
    assert logits.shape == (2, 2)
    assert weights.shape == (2, 3)


def test_crops_are_scored_each_for_itself():
    """Permuting the crops permutes the weights and leaves the logits unchanged. A masked crop has no effect."""
    model, (global_view, local_crops) = tiny_model(), views()
    logits, weights = model(global_view, local_crops)
    order = torch.tensor([2, 0, 1])
    other_logits, other_weights = model(global_view, local_crops[:, order])
    torch.testing.assert_close(other_logits, logits)
    torch.testing.assert_close(other_weights, weights[:, order])
    mask = torch.tensor([[True, True, False]] * 2)
    masked_logits, masked_weights = model(global_view, local_crops, mask)
    assert torch.equal(masked_weights[:, 2], torch.zeros(2))
    torch.testing.assert_close(masked_logits, model(global_view, local_crops[:, :2])[0])


def test_every_parameter_takes_part_in_every_step():
    """Every parameter gets a gradient, even if all crops are masked. DistributedDataParallel then need not search for
    unused parameters."""
    model, (global_view, local_crops) = tiny_model(), views()
    mask = torch.zeros(2, 3, dtype=torch.bool)
    model(global_view, local_crops, mask)[0].sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_the_baseline_does_not_look_at_crops():
    model, (global_view, local_crops) = tiny_model(kind="single_view"), views()
    assert isinstance(model, SingleView)
    assert torch.equal(model(global_view, local_crops)[0], model(global_view, 255 - local_crops)[0])


@pytest.mark.parametrize("name", ["test_vit", "resnet10t"])
def test_pixels_are_normalised_by_the_networks_own_mean_and_deviation(name):
    backbone = create_backbone(name, 64, pretrained=False)
    settings = timm.get_pretrained_cfg(name)
    assert (backbone.mean, backbone.std) == (settings.mean, settings.std)
    pixels = views()[1][0]
    expected = (pixels.double() / 255 - torch.tensor(settings.mean).view(3, 1, 1)) / torch.tensor(settings.std).view(
        3, 1, 1
    )
    normalised = backbone.normalise(pixels)
    torch.testing.assert_close(normalised.double(), expected, atol=1e-6, rtol=0)
    assert normalised.is_contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(backbone.normalise(pixels), normalised.bfloat16())


def test_transformers_follow_the_view_sizes():
    model = tiny_model("test_vit")
    sizes = [b.network.patch_embed.img_size for b in (model.global_backbone, model.local_backbone)]
    assert sizes == [(32, 32), (64, 64)]


def test_equal_seeds_make_equal_models():
    first, second = tiny_model().state_dict(), tiny_model().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_high_pass_leaves_what_differs_between_neighbours():
    """The result is eight times the difference from a binomial mean, so constant and linear brightness disappear. Under
    bf16, only the result is rounded."""
    plain = create_backbone("test_resnet", 32, pretrained=False)
    high = create_backbone("test_resnet", 32, pretrained=False, high_pass=True)
    pixels = views()[0]
    with torch.no_grad():
        x = torch.nn.functional.pad(plain.normalise(pixels).double(), (1, 1, 1, 1), mode="reflect")
        weights = torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64)
        mean = torch.nn.functional.conv2d(x, (weights[:, None] * weights).expand(3, 1, 3, 3), groups=3)
        found = high.normalise(pixels)
        torch.testing.assert_close(found.double(), 8 * (plain.normalise(pixels).double() - mean), atol=1e-5, rtol=0)
        assert found.is_contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(high.normalise(pixels), found.bfloat16())
        slope = torch.arange(32, dtype=torch.uint8).expand(1, 3, 32, 32).contiguous(memory_format=torch.channels_last)
        assert high.normalise(slope)[..., 1:-1].abs().max() < 1e-4


def test_high_pass_is_of_the_crops_alone_and_survives_in_the_settings():
    model = tiny_model("test_resnet", local_high_pass=True)
    assert (model.global_backbone.high_pass, model.local_backbone.high_pass) == (False, True)
    view, crops = views()
    brighter = crops // 2 + 60
    with torch.no_grad():
        assert torch.allclose(model(view, crops // 2)[0], model(view, brighter)[0], atol=1e-4)
        plain = tiny_model("test_resnet")
        assert not torch.allclose(plain(view, crops // 2)[0], plain(view, brighter)[0])
    with pytest.raises(InputError, match=r"with model\.share_backbone there is only one backbone.*local_high_pass"):
        tiny_config("test_resnet", share_backbone=True, local_high_pass=True)


# The test of the digest reads both kinds of files.
@pytest.mark.parametrize("suffix", [".safetensors", pytest.param(".pth", marks=pytest.mark.slow)])
def test_weights_from_a_local_file(tmp_path, suffix):
    """The file contains a classifier, as such files usually do. Both backbones start from it."""
    torch.manual_seed(1)
    state = timm.create_model("test_resnet", num_classes=1000).state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": state}, path)
    else:
        safetensors.torch.save_file(state, path)
    model = tiny_model("test_resnet", global_weights=str(path))
    for backbone in (model.global_backbone, model.local_backbone):
        own = backbone.network.state_dict()
        assert all(torch.equal(own[name], state[name]) for name in own)
    assert "fc.weight" in read_weights(path)


def test_position_tables_of_a_local_file_are_resized(tmp_path):
    torch.manual_seed(1)
    network = timm.create_model("test_vit", num_classes=0, img_size=160)
    path = tmp_path / "vit.safetensors"
    safetensors.torch.save_file(network.state_dict(), path)
    model = tiny_model("test_vit", global_weights=str(path))
    tokens = [b.network.pos_embed.shape[1] for b in (model.global_backbone, model.local_backbone)]
    assert tokens == [5, 17]  # 2 × 2 and 4 × 4 patches, and the class token
    own = model.local_backbone.network.blocks[0].mlp.fc1.weight
    assert torch.equal(own, network.blocks[0].mlp.fc1.weight)


@pytest.mark.parametrize(
    "name",
    [
        "test_mambaout",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                "mobilenetv3_small_050",
                "efficientvit_m0",
                "deit_tiny_distilled_patch16_224",
                "iformer_t",
                "levit_128s",
                "repvit_m1",
                "shvit_s1",
                "caformer_s18",
            )
        ),
    ],
)
def test_weights_with_the_whole_head_of_timm(tmp_path, name):
    """The heads of these networks have several layers, of which timm's settings name only the last."""
    torch.manual_seed(1)
    state = timm.create_model(name, num_classes=1000).state_dict()
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(state, path)
    backbone = create_backbone(name, 224, pretrained=False, weights=path)
    own = backbone.network.state_dict()
    assert len(own) < len(state)
    assert all(torch.equal(own[key], state[key]) for key in own)
    # What is beside the head is still a sign of another network.
    safetensors.torch.save_file(state | {"stem.extra.weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"another network than .*it has stem\.extra\.weight"):
        create_backbone(name, 224, pretrained=False, weights=path)


def test_the_digest_is_that_of_the_numbers_whatever_their_file(tmp_path):
    torch.manual_seed(1)
    state = timm.create_model("test_resnet", num_classes=10).state_dict()
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    safetensors.torch.save_file(state, tmp_path / "b.safetensors")
    digests = {
        create_backbone("test_resnet", 32, pretrained=False, weights=path).weights_sha256
        for path in (tmp_path / "a.pth", tmp_path / "b.safetensors")
    }
    assert len(digests) == 1
    (digest,) = digests
    assert digest is not None
    assert len(digest) == 64
    assert create_backbone("test_resnet", 32, pretrained=False).weights_sha256 is None


def described(folder: Path, **more) -> str:
    """Writes a network to ``folder`` in timm's format. Returns its name for timm."""
    folder.mkdir()
    settings = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "num_classes": 0}
    card = {"architecture": "test_vit", "num_classes": 0, "pretrained_cfg": settings} | more
    (folder / "config.json").write_text(json.dumps(card))
    network = timm.create_model("test_vit", num_classes=0)
    safetensors.torch.save_file(network.state_dict(), folder / "model.safetensors")
    return f"local-dir:{folder}"


def test_a_network_that_lies_elsewhere_is_known_by_timms_name(tmp_path):
    """A network in a folder may be used if the user asks for it. Its position table is resized to the views."""
    name = described(tmp_path / "net")
    backbone = create_backbone(name, 64, pretrained=True)
    assert backbone.architecture == "test_vit"
    assert backbone.mean == (0.1, 0.2, 0.3)
    assert backbone.network.patch_embed.img_size == (64, 64)
    assert backbone.weights_sha256 is not None


class TestMistakes:
    """Each mistake gets one clear sentence."""

    def refused(self, words: str, backbone: str = "test_resnet", **model) -> None:
        with pytest.raises(InputError, match=words) as caught:
            tiny_model(backbone, **model)
        assert "\n" not in str(caught.value)

    def test_unknown_backbone_before_its_weights(self, tmp_path):
        with pytest.raises(InputError, match="no backbone called 'resnet5O'"):
            create_backbone("resnet5O", 64, pretrained=False, weights=tmp_path / "none.pth")

    def test_unknown_backbone(self):
        self.refused(r"no backbone called 'resnet5O'.*resnet50", "resnet5O")

    def test_a_name_on_the_hub_without_its_prefix(self):
        self.refused(r"give hf-hub:timm/resnet18\.a1_in1k", "timm/resnet18.a1_in1k")

    def test_a_network_elsewhere_that_is_not_there(self, tmp_path):
        self.refused("the description of local-dir:.* cannot be obtained", f"local-dir:{tmp_path}/no")

    def test_a_network_elsewhere_with_arguments_of_its_own(self, tmp_path):
        name = described(tmp_path / "net", model_args={"depth": 2})
        self.refused(r"is timm's test_vit with extra arguments \(depth\)", name)

    def test_a_network_elsewhere_that_timm_lacks(self, tmp_path):
        name = described(tmp_path / "net", architecture="brand_new")
        self.refused("needs the network 'brand_new', which this version of timm lacks", name)

    def test_missing_weights_file(self, tmp_path):
        self.refused("does not exist", global_weights=str(tmp_path / "none.pth"))

    @pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
    def test_rubbish_weights_file(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"rubbish" * 10)
        self.refused("neither a safetensors file nor", global_weights=str(tmp_path / name))

    def test_code_in_a_weights_file_is_not_run(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return (open, (str(tmp_path / "ran"), "w"))

        torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
        self.refused("neither a safetensors", global_weights=str(tmp_path / "evil.pth"))
        assert not (tmp_path / "ran").exists()

    def test_no_table_of_tensors(self, tmp_path):
        torch.save({"epoch": 3}, tmp_path / "x.pth")
        self.refused("is not a plain dictionary of tensors", global_weights=str(tmp_path / "x.pth"))

    @pytest.mark.parametrize(
        "other", ["resnet10t", *(pytest.param(name, marks=pytest.mark.slow) for name in ("test_convnext", "test_vit"))]
    )
    def test_weights_of_another_network(self, tmp_path, other):
        path = tmp_path / "other.safetensors"
        safetensors.torch.save_file(timm.create_model(other).state_dict(), path)
        self.refused("belongs to another network than test_resnet", global_weights=str(path))

    def test_weights_of_a_deeper_network(self, tmp_path):
        """A file with more blocks lacks no tensor, but it still belongs to another network."""
        network = timm.create_model("test_resnet", layers=(2, 1, 1, 1))
        path = tmp_path / "deeper.safetensors"
        safetensors.torch.save_file(network.state_dict(), path)
        self.refused("another network.*it has layer1", global_weights=str(path))

    def test_pretrained_weights_without_a_network(self, monkeypatch):
        """The error comes at once and says what to do instead. The hub's client alone would retry for minutes."""
        import huggingface_hub.constants

        nobody = "http://127.0.0.1:9"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", nobody)
        start = time.monotonic()
        with pytest.raises(InputError, match=r"--set model\.global_weights=FILE") as caught:
            create_backbone("resnet26.bt_in1k", 64, pretrained=True)
        assert "--set model.pretrained=false" in str(caught.value)
        assert time.monotonic() - start < 10
        assert not huggingface_hub.constants.HF_HUB_OFFLINE
