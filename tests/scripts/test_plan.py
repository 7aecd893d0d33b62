"""Memory plans are based on measured steps, fit into memory, and state their error."""

from functools import cache

import pytest

from glass.config.overrides import apply_overrides
from glass.memory.memory_plan import Planner, usable_bytes
from glass.presets import load_preset
from glass.train.counted_step import count_by_shapes
from scripts.plan import main
from shards.errors import InputError

GIB = 1 << 30


@cache
def planner(preset: str = "glass_resnet50", *overrides: str) -> Planner:
    return Planner(apply_overrides(load_preset(preset), overrides), "float32")


def test_the_estimate_is_close_to_every_measured_step():
    errors = planner().errors()
    assert len(errors) >= 6
    assert all(abs(error - 1) < 0.1 for _, error in errors)


def test_plans_fit_and_cover_the_whole_batch():
    plans = planner().plans(8 * GIB, 16)
    assert plans
    assert all(plan.estimate.peak <= 8 * GIB for plan in plans)
    assert all(plan.batch * plan.grad_accum_steps == 32 for plan in plans)
    assert plans[0].batch >= 8  # ResNet normalises by the batch


def test_chunks_flatten_memory_and_cost_a_third_at_most():
    plan = planner()
    few, many = plan.estimate(4, 4, 1).peak, plan.estimate(4, 64, 1).peak
    assert many < 1.05 * few
    assert plan.relative_cost(8, None) == 1
    assert 1.2 < plan.relative_cost(8, 1) < 1.34


def test_a_frozen_backbone_needs_less():
    plain = planner().estimate(4, 8, None)
    frozen = planner("glass_resnet50", "model.freeze_local=true").estimate(4, 8, None)
    assert frozen.activations < 0.5 * plain.activations
    assert frozen.optimiser < 0.6 * plain.optimiser


@pytest.mark.parametrize(
    ("batch", "crops", "chunk", "shared", "counted_mib"),  # as count_by_shapes counts them
    [(4, 4, None, False, 1999), (16, 16, 1, False, 2472), (16, 4, None, True, 2863)],
)
def test_checkpointed_activations_are_estimated(batch, crops, chunk, shared, counted_mib):
    found = planner("glass_resnet50", "model.grad_checkpoint_global=true", f"model.share_backbone={shared}")
    assert found.estimate(batch, crops, chunk).peak / 2**20 == pytest.approx(counted_mib, rel=0.1)
    assert not found.errors()  # no measured step had them


def test_a_moving_average_is_a_copy_of_the_weights():
    """The moving average is a copy of all weights, including frozen ones and statistics, as training keeps it."""

    from glass.model.architectures import shapes_only
    from glass.model.model import build_model

    frozen = "model.freeze_local=true"
    plain, averaged = planner("glass_resnet50", frozen), planner("glass_resnet50", frozen, "train.ema=0.999")
    with shapes_only():
        copy = build_model(averaged.config, with_weights=False)
    kept = sum(tensor.nbytes for tensor in [*copy.parameters(), *copy.buffers()])
    without, with_it = plain.estimate(4, 4, None), averaged.estimate(4, 4, None)
    assert without.average == 0
    assert with_it.average == kept
    assert with_it.peak - without.peak == pytest.approx(kept)
    whole, whole_averaged = planner(), planner("glass_resnet50", "train.ema=0.999")
    assert [e for _, e in whole_averaged.errors()] == pytest.approx([e for _, e in whole.errors()])


def test_a_model_with_frozen_weights_is_not_compared_with_measured_ones():
    assert not planner("glass_resnet50", "model.freeze_local=true").errors()


@pytest.mark.slow  # seven seconds, most of them to import peft
def test_a_model_with_lora_can_be_planned(capsys):
    pytest.importorskip("peft")
    words = ["--preset", "glass_tiny", "--set", "model.global_backbone=test_vit", "--set", "loader.crop_size=64"]
    assert main([*words, "--gpu-memory-gib", "12", "--set", "model.lora_rank=2"]) == 0
    assert "the estimate is an extrapolation" in capsys.readouterr().out


def test_some_memory_is_never_tensors():
    assert usable_bytes(12 * GIB) < 11.5 * GIB
    assert usable_bytes(0) == 0


@pytest.mark.parametrize(
    ("words", "has_average"), [(["--set", "train.ema=0.999"], True), pytest.param([], False, marks=pytest.mark.slow)]
)
def test_the_command_prints_settings_and_its_error(words, has_average, capsys):
    arguments = ["--preset", "glass_resnet50", "--gpu-memory-gib", "12", "--crops", "16", *words]
    assert main([*arguments, "--precision", "float32"]) == 0
    out = capsys.readouterr().out
    assert "take: --set loader.global_batch_size=" in out
    assert "nearest measured step (4 images, " in out
    assert (" average " in out) is has_average


def test_the_precision_may_come_from_a_setting(capsys):
    arguments = ["--preset", "glass_resnet50", "--gpu-memory-gib", "12"]
    shown = []
    for words in (["--set", "precision=float32"], ["--precision", "float32"], ["--precision", "bf16"]):
        assert main([*arguments, *words]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] != shown[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--preset", "glass_tiny", "--gpu-memory-gib", "12", "--set", "precision=bf16"],
            "--precision float32 contradicts --set precision=bf16",
        ),
        (
            ["--preset", "glass_tiny", "--gpu-memory-gib", "12", "--crops", "8", "--set", "loader.num_crops=4"],
            "--crops 8 contradicts --set loader.num_crops=4: leave one of them out",
        ),
        (["--preset", "glass_huge", "--gpu-memory-gib", "12"], "glass_huge"),
        (["--preset", "glass_resnet50", "--gpu-memory-gib", "-1"], "-1: must be above 0"),
        (["--preset", "glass_resnet50", "--gpu-memory-gib", "nan"], "nan: must be above 0"),
        (["--preset", "glass_resnet50", "--gpu-memory-gib", "0.7"], "take a larger GPU"),
        (["--preset", "glass_resnet50", "--gpu-memory-gib", "9", "--crops", "0"], "num_crops"),
    ],
)
def test_mistakes_get_one_sentence(arguments, words):
    with pytest.raises(InputError, match=words):
        main([*arguments, "--precision", "float32"])


def test_a_backbone_that_was_not_measured_is_counted_at_two_numbers_of_crops():
    """A backbone that was not measured is counted with 1 and with 4 crops. A line through both counts gives the cost of
    a view."""
    steps = []

    def count(config) -> dict:
        steps.append(config)
        views = config.loader.global_batch_size * (1 + config.loader.num_crops)
        none = dict.fromkeys(("weights_bytes", "optimiser_bytes", "input_bytes", "peak_bytes"), 0)
        sizes = {"batch_size": config.loader.global_batch_size, "crop_size": config.loader.crop_size}
        kept = {"kept_by_autograd_bytes": 1000 + 50 * views, "num_crops": config.loader.num_crops, "crop_chunk": None}
        return none | sizes | kept

    config = apply_overrides(load_preset("glass_tiny"), ["model.local_backbone=test_vit"])
    costs = Planner(config, "fp16", count).local_costs
    assert (costs.bytes_per_view, costs.fixed_bytes) == pytest.approx((50, 1000))
    found = [(s.model.global_backbone, s.precision, s.loader.num_crops, s.loader.global_size) for s in steps]
    assert found == [(name, "bf16", crops, 64) for name in ("test_resnet", "test_vit") for crops in (1, 4)]


@pytest.mark.slow  # tensors without numbers take ten seconds to import
def test_a_counted_step_predicts_another(capsys):
    """The peak of a step with 8 crops is predicted from steps with 1 and 4 crops."""
    config = apply_overrides(load_preset("glass_tiny"), ["loader.global_batch_size=4", "loader.num_crops=8"])
    counted = count_by_shapes(apply_overrides(config, ["precision=float32", "model.pretrained=false"]))
    estimate = Planner(config, "float32", count_by_shapes).estimate(4, 8, None)
    assert estimate.peak == pytest.approx(counted["peak_bytes"], rel=0.1)
    assert main(["--preset", "glass_tiny", "--gpu-memory-gib", "1", "--precision", "float32"]) == 0
    assert "take: --set loader.global_batch_size=" in capsys.readouterr().out


def test_a_backbone_that_was_not_measured_is_named():
    with pytest.raises(InputError, match=r"no memory was measured for resnet18.*bench memory"):
        planner("glass_resnet50", "model.global_backbone=resnet18")
