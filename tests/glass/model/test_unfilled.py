"""A network that is built without random weights equals the normally built network once its weights are loaded."""

import pytest
import torch

from glass.config.run_config import ModelConfig, RunConfig
from glass.export.model_folder import load_state
from glass.model.model import build_model
from glass.model.unfilled import WithoutRandomWeights
from loaders.config import LoaderConfig


@pytest.fixture
def empty_is_nan():
    """Fills uninitialised memory with NaN, so that an unset weight would show in every result."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    "backbone",
    [
        "test_vit",
        "test_resnet",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("test_convnext", "test_efficientnet")),
    ],
)
def test_no_number_is_drawn_and_none_is_missing(backbone, empty_is_nan):
    config = RunConfig(
        model=ModelConfig(global_backbone=backbone, pretrained=False), loader=LoaderConfig(global_size=64, crop_size=64)
    )
    drawn = build_model(config, for_training=False)
    state = torch.get_rng_state()
    with WithoutRandomWeights():
        network = build_model(config, for_training=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert any(tensor.isnan().any() for tensor in network.parameters())
    load_state(network, drawn.state_dict(), "a test")
    one, other = ({**dict(m.named_parameters()), **dict(m.named_buffers())} for m in (network, drawn))
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name
