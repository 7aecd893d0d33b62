"""A backbone must see every pixel of its views. Otherwise training is refused with a message that names sizes that
fit."""

import re

import pytest
import torch
from torch import nn

from glass.config.run_config import ModelConfig, RunConfig
from glass.model import view_sizes
from glass.model.architectures import create_network, shapes_only
from glass.model.backbones import create_backbone
from glass.model.model import build_model, check_backbones, require_views_run
from glass.model.view_sizes import check_views, require_runs
from loaders import LoaderConfig
from shards.errors import InputError

SMALL = [("test_resnet", 37), ("test_convnext", 44)]
LARGER = [
    ("test_vit", 40),
    ("test_efficientnet", 45),
    ("vit_tiny_patch16_224", 40),
    ("tnt_s_legacy_patch16_224", 40),
    ("eva02_tiny_patch14_224", 40),
    ("convnext_atto", 70),
    ("resmlp_12_224", 40),
    ("mobilenetv3_small_050", 43),
    ("pit_ti_224", 46),
]
OF_EACH_MODULE = [
    "cait_xxs24_224",
    "caformer_s18",
    "coat_tiny",
    "convit_tiny",
    "convmixer_768_32",
    "convnext_atto",
    "cpubone_nano",
    "crossvit_tiny_240",
    "cs3darknet_focus_s",
    "csatv2",
    "cspnext_tiny",
    "deit_tiny_patch16_224",
    "densenet121",
    "dla46x_c",
    "dpn48b",
    "edgenext_xx_small",
    "efficientformer_l1",
    "efficientformerv2_s0",
    "efficientvim_m1",
    "efficientvit_b0",
    "efficientvit_m0",
    "ese_vovnet19b_slim_dw",
    "eva02_tiny_patch14_224",
    "fasternet_t0",
    "fastvit_t8",
    "gcvit_xxtiny",
    "ghostnet_050",
    "resnet18",
    "gmixer_24_224",
    "hardcorenas_b",
    "hgnetv2_b0",
    "hrnet_w18_small",
    "iformer_t",
    "inception_next_atto",
    "lcnet_035",
    "lcnetv2_small",
    "legacy_seresnet18",
    "levit_192",
    "lowformer_b0",
    "maxvit_pico_rw_256",
    "mixer_s32_224",
    "mnasnet_small",
    "mobileone_s0",
    "mobilevit_xxs",
    "pit_ti_224",
    "pvt_v2_b0",
    "repghostnet_050",
    "repvit_m1",
    "resnetv2_18",
    "rexnet_100",
    "sehalonet33ts",
    "shvit_s1",
    "skresnet18",
    "starnet_s050",
    "swiftformer_xs",
    "test_mambaout",
    "test_nfnet",
    "test_vit",
    "test_vit_relpos",
    "tiny_vit_5m_224",
    "tnt_s_legacy_patch16_224",
    "visformer_tiny",
    "vit_tiny_patch16_224",
    "xcit_nano_12_p8_224",
]
OVERLAP = 3
"""Number of pixels that may be ignored after the last of overlapping windows, as in Inception's stem."""


def live_network(name: str, size: int) -> nn.Module:
    """A network whose weights let every input through. timm initialises many gates to values at or near zero."""
    torch.manual_seed(0)
    network = create_network(name, size).eval()
    with torch.no_grad():
        for weight in network.parameters():
            if weight.abs().max() < 1e-2:
                weight.normal_(std=0.1)
    return network


def notices(network: nn.Module, size: int, rim: int) -> bool:
    """Whether the network's output changes if the last ``rim`` rows and columns of its input change."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, size, size, generator=generator)
    other = image.clone()
    other[:, :, size - rim :] += 3
    other[..., size - rim :] -= 3
    with torch.no_grad():
        first, second = network(image), network(other)
    assert first.isfinite().all()
    return not torch.equal(first, second)


def law(name: str, size: int) -> None:
    """Checks a network at a size. If it is refused because of an ignored border, the border has no effect on the
    output; if it is accepted, the last pixels have an effect."""
    try:
        check_views(name, size, "loader.crop_size")
    except InputError as error:
        found = re.search(r"ignore the last (?:(\d+) rows|row)", str(error))
        if found is None:  # it does not run at all
            with pytest.raises(Exception, match=r"(?s).*"):
                create_network(name, size).eval()(torch.zeros(1, 3, size, size))
            return
        rim = int(found[1] or 1)
        network = live_network(name, size)
        assert not notices(network, size, rim)
        assert notices(network, size, rim + 1)
    else:
        assert notices(live_network(name, size), size, OVERLAP if size % 2 == 0 else 1)


@pytest.mark.parametrize(
    ("name", "size"), [*SMALL, *(pytest.param(*network, marks=pytest.mark.slow) for network in LARGER)]
)
def test_the_last_pixels_count_or_the_size_is_refused(name, size):
    law(name, size)


@pytest.mark.slow
@pytest.mark.parametrize("size", [224, 230, 232])
@pytest.mark.parametrize("name", OF_EACH_MODULE)
def test_the_law_holds_for_an_architecture_of_each_module(name, size):
    law(name, size)


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        pytest.param(
            "vit_tiny_patch16_224",
            40,
            "ignore the last 8 rows and columns: 32 and 48 would fit",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "eva02_tiny_patch14_224", 96, "the last 12 rows and columns: 84 and 98 would fit", marks=pytest.mark.slow
        ),
        ("test_convnext", 65, "the last row and column: 64 and 68 would fit"),
        ("test_vit", 40, r"fails on that size \(AssertionError: .*\): 32 and 48 would fit"),
        pytest.param(
            "levit_128s", 232, r"fails on that size \(RuntimeError: .*\): 224 and 240 would fit", marks=pytest.mark.slow
        ),
    ],
)
def test_a_size_that_does_not_fit_is_refused_with_those_that_do(name, size, words):
    with pytest.raises(InputError, match=rf"^loader\.crop_size={size} does not fit .*{words}$"):
        check_views(name, size, "loader.crop_size")
    model = ModelConfig(kind="single_view", global_backbone=name, pretrained=False)
    config = RunConfig(model=model, loader=LoaderConfig(global_size=size))
    with pytest.raises(InputError, match=rf"^loader\.global_size={size} .*glass build"):
        check_backbones(config)


def test_a_rim_that_is_not_read_is_no_reason_not_to_load_a_model():
    """A model that an earlier version trained can still be loaded and gives the same scores."""
    model = ModelConfig(kind="single_view", global_backbone="test_convnext", pretrained=False)
    config = RunConfig(model=model, loader=LoaderConfig(global_size=65))
    with pytest.raises(InputError, match="ignore the last"):
        build_model(config)
    require_views_run(build_model(config, with_weights=False, for_training=False), config)


class Maps(nn.Module):
    """An encoder that returns a feature map instead of a vector."""

    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 4, 4)

    def forward(self, image):
        return self.layer(image)


class NeedsNumbers(nn.Module):
    """Needs the values of its input, which tensors on the meta device do not have."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(2, 3))

    def forward(self, image):
        return self.table[image.flatten(1).amax(1).long() + 7]


def test_an_encoder_of_maps_is_no_backbone(monkeypatch):
    monkeypatch.setattr(view_sizes, "create_network", lambda name, size: Maps())
    with pytest.raises(InputError, match=r"^maps returns maps of shape \(4, 8, 8\), not a vector"):
        check_views("maps", 32, "loader.crop_size")


@pytest.mark.slow
def test_a_real_encoder_of_maps_is_no_backbone():
    with pytest.raises(InputError, match=r"mobilenetv5_300m_enc returns maps of shape"):
        check_views("mobilenetv5_300m_enc", 256, "loader.crop_size")


def test_what_only_numbers_show_is_found_before_the_first_step():
    with pytest.raises(InputError, match=r"crop_size=32 .*test_vit, which fails on that size \(IndexErr"):
        require_runs(NeedsNumbers(), "test_vit", 32, "loader.crop_size")


@pytest.mark.slow
def test_a_network_that_stops_at_numbers_alone_is_refused_when_it_is_made():
    """MViTv2 at 232 pixels passes the check on the meta device, which has shapes but no values."""
    model = ModelConfig(kind="single_view", global_backbone="mvitv2_tiny", pretrained=False)
    config = RunConfig(model=model, loader=LoaderConfig(global_size=232))
    check_backbones(config)
    with pytest.raises(InputError, match=r"global_size=232 does not fit mvitv2_tiny"):
        build_model(config)


def test_asking_changes_neither_random_numbers_nor_the_network():
    backbone = create_backbone("test_vit", 32, pretrained=False)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    view_sizes._problem.cache_clear()
    check_views("test_vit", 32, "loader.crop_size")
    require_runs(backbone, "test_vit", 32, "loader.crop_size")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert backbone.training
    assert all(weight.grad is None for weight in backbone.parameters())


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet"])
def test_networks_without_values_have_the_same_shapes(name):
    with shapes_only():
        hollow = create_network(name, 32).state_dict()
    assert all(tensor.is_meta for tensor in hollow.values())
    shapes = {key: (tensor.shape, tensor.dtype) for key, tensor in create_network(name, 32).state_dict().items()}
    assert {key: (tensor.shape, tensor.dtype) for key, tensor in hollow.items()} == shapes


def test_tensors_without_values_that_do_not_fit_are_still_refused():
    with shapes_only():
        for given in ([torch.empty(3)], {}), ([], {"other": torch.empty(3)}):
            with pytest.raises(RuntimeError):
                torch.empty(2).add_(*given[0], **given[1])


def test_both_backbones_are_asked():
    model = ModelConfig(global_backbone="test_vit", pretrained=False)
    config = RunConfig(model=model, loader=LoaderConfig(global_size=32, crop_size=40))
    with pytest.raises(InputError, match=r"^loader\.crop_size=40 does not fit test_vit"):
        check_backbones(config)
