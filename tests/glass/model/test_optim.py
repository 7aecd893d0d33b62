"""Parameter groups, the optimiser and the cosine schedule."""

import math

import pytest
import torch
from torch import nn

from glass.config.run_config import ModelConfig, OptimConfig, RunConfig
from glass.model.model import build_model
from glass.train.optim import build_optimizer, build_schedule, parameter_groups
from loaders import LoaderConfig

RATES = OptimConfig(lr_global=1e-5, lr_local=2e-5, lr_head=3e-5, wd_global=4e-3, wd_local=5e-3, lr_min=1e-6)


def tiny_model(kind: str) -> nn.Module:
    model = ModelConfig(kind=kind, global_backbone="test_vit", pretrained=False)
    return build_model(RunConfig(model=model, loader=LoaderConfig(crop_size=32, global_size=32)))


def test_glass_has_four_groups():
    groups = parameter_groups(tiny_model("glass"), RATES)
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in groups] == [
        ("global_backbone", 1e-5, 4e-3),
        ("local_backbone", 2e-5, 5e-3),
        ("attention_pool", 3e-5, 0.0),
        ("head", 3e-5, 0.0),
    ]


def test_the_baseline_has_two():
    groups = parameter_groups(tiny_model("single_view"), RATES)
    assert [group["name"] for group in groups] == ["global_backbone", "head"]


@pytest.mark.parametrize("kind", ["glass", "single_view"])
def test_every_parameter_is_in_exactly_one_group(kind):
    model = tiny_model(kind)
    grouped = [p for group in parameter_groups(model, RATES) for p in group["params"]]
    assert len(grouped) == len({id(p) for p in grouped})
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters()}


def test_a_frozen_part_has_no_group():
    model = tiny_model("glass")
    model.global_backbone.requires_grad_(False)
    names = [group["name"] for group in parameter_groups(model, RATES)]
    assert names == ["local_backbone", "attention_pool", "head"]


def test_a_part_without_a_rate_is_not_forgotten():
    model = tiny_model("glass")
    model.extra = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="'extra'"):
        parameter_groups(model, RATES)


def test_the_optimiser_is_adamw_written_out():
    """Compares one step with the formula of Loshchilov & Hutter, with decoupled weight decay and bias correction."""
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    start, gradient = weight.detach().clone(), torch.tensor([0.5, 0.25])
    group = {"name": "head", "params": [weight], "lr": 0.1, "weight_decay": 0.2}
    optimizer = build_optimizer([group])
    weight.grad = gradient.clone()
    optimizer.step()
    decayed = start * (1 - 0.1 * 0.2)
    torch.testing.assert_close(weight.detach(), decayed - 0.1 * gradient / (gradient + 1e-8))


def test_cosine_from_each_rate_to_the_minimum():
    epochs = 7
    optimizer = build_optimizer(parameter_groups(tiny_model("glass"), RATES))
    schedule = build_schedule(optimizer, epochs, RATES.lr_min)
    for epoch in range(epochs + 1):
        for group, start in zip(optimizer.param_groups, (1e-5, 2e-5, 3e-5, 3e-5), strict=True):
            expected = 1e-6 + (start - 1e-6) * (1 + math.cos(math.pi * epoch / epochs)) / 2
            assert group["lr"] == pytest.approx(expected, rel=1e-9)
        optimizer.step()
        schedule.step()


def test_a_rate_below_the_minimum_stays_where_it_is():
    """The schedule only lowers rates. A part whose rate is 0 must not begin to learn in the second epoch."""
    rates = OptimConfig(lr_global=0.0, lr_local=5e-7, lr_head=1e-3, wd_global=0.1, lr_min=1e-6)
    model = tiny_model("glass")
    optimizer = build_optimizer(parameter_groups(model, rates))
    schedule = build_schedule(optimizer, 5, rates.lr_min)
    before = {name: tensor.clone() for name, tensor in model.global_backbone.named_parameters()}
    for _ in range(6):
        found = [group["lr"] for group in optimizer.param_groups]
        assert found[:2] == [0.0, 5e-7]
        assert found[2] >= 1e-6
        for weight in model.parameters():
            weight.grad = torch.ones_like(weight)
        optimizer.step()
        schedule.step()
    assert found[2] == pytest.approx(1e-6)
    after = dict(model.global_backbone.named_parameters())
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_schedule_of_an_earlier_version_is_taken_up():
    """Checkpoints of earlier versions contain the state of torch's own cosine schedule, which must still be
    accepted."""
    model = tiny_model("single_view")
    optimizer = build_optimizer(parameter_groups(model, RATES))
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=5, eta_min=RATES.lr_min)
    ours = build_schedule(build_optimizer(parameter_groups(model, RATES)), 5, RATES.lr_min)
    assert set(ours.state_dict()) == set(theirs.state_dict())
