"""The optimiser's step must not depend on how a batch is cut into micro-steps."""

import copy
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch.nn import functional

from glass.config.run_config import ModelConfig, OptimConfig, RunConfig
from glass.model.model import build_model
from glass.model.precision import resolve_precision
from glass.train.metrics_line import is_better
from glass.train.processes import make_accelerator
from glass.train.random_state import get_random_state, seed_all, set_random_state
from glass.train.step import Engine, Totals, grouped
from loaders import LoaderConfig
from shards.errors import InputError

CONFIG = RunConfig(
    model=ModelConfig(global_backbone="test_vit", pretrained=False, dropout=0.0),
    loader=LoaderConfig(num_crops=2, crop_size=32, global_size=32),
    tensorboard=False,
    cpu_threads=1,  # tests run beside each other: threads that wait for each other crawl then
)


pytestmark = pytest.mark.usefixtures("on_the_cpu")


@pytest.fixture(scope="module")
def accelerator(on_the_cpu, tmp_path_factory):
    return make_accelerator(CONFIG, tmp_path_factory.mktemp("run"))[0]


def make_batch(size: int, seed: int = 0, valid: list[bool] | None = None) -> dict:
    random = torch.Generator().manual_seed(seed)
    pixels = {"dtype": torch.uint8, "generator": random}
    return {
        "global_view": torch.randint(0, 256, (size, 3, 32, 32), **pixels),
        "local_crops": torch.randint(0, 256, (size, 2, 3, 32, 32), **pixels),
        "crop_mask": torch.ones(size, 2, dtype=torch.bool),
        "label": torch.randint(0, 2, (size,), generator=random),
        "is_valid": torch.tensor(valid or [True] * size),
    }


def cut(batch: dict, *sizes: int) -> list[dict]:
    """The batch in consecutive parts of these sizes."""
    parts = [torch.split(tensor, sizes) for tensor in batch.values()]
    return [dict(zip(batch, values, strict=True)) for values in zip(*parts, strict=True)]


@cache
def untrained() -> torch.nn.Module:
    """The model that ``CONFIG`` describes. Do not train it; copy it first."""
    torch.manual_seed(0)
    return build_model(CONFIG)


def stepped(accelerator, batches, config=CONFIG, rate=1.0):
    """Takes one SGD step of a copy of ``untrained()``. Returns the decrease of each weight, which is ``rate`` times its
    gradient, and the totals."""
    model, start = copy.deepcopy(untrained()), untrained().state_dict()
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=rate))
    totals = Totals(accelerator.device)
    Engine(config, accelerator, model, optimizer).step(batches, totals)
    gradient = {name: start[name] - value for name, value in model.state_dict().items()}
    return gradient, totals.read(accelerator)


def assert_same(first, second):
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize(
    "sizes", [(1, 5), *(pytest.param(s, marks=pytest.mark.slow) for s in ((1,) * 6, (2, 2, 2), (3, 3)))]
)
def test_micro_steps_add_up_to_the_whole_batch(accelerator, sizes):
    """The gradients of micro-steps add up to that of the whole batch, even for unequal sizes, as they occur at the end
    of an epoch."""
    batch = make_batch(6)
    whole, seen = stepped(accelerator, [batch])
    parts, seen_in_parts = stepped(accelerator, cut(batch, *sizes))
    assert_same(parts, whole)
    assert seen_in_parts == pytest.approx(seen)


def test_what_is_not_valid_has_no_weight(accelerator):
    """Invalid samples affect neither the gradient nor the counts, whatever their pixels and labels."""
    kept = make_batch(4, seed=1)
    filled = make_batch(6, seed=2, valid=[True] * 4 + [False] * 2)
    for name in kept:
        filled[name][:4] = kept[name]
    expected, seen = stepped(accelerator, [kept])
    gradient, seen_filled = stepped(accelerator, cut(filled, 3, 3))
    assert_same(gradient, expected)
    assert seen_filled == pytest.approx(seen)
    assert seen["samples"] == 4


def test_a_step_without_any_valid_sample_moves_nothing(accelerator):
    gradient, seen = stepped(accelerator, [make_batch(2, valid=[False, False])])
    assert all(torch.equal(value, torch.zeros_like(value)) for value in gradient.values())
    assert seen == {"loss": 0, "accuracy": 0, "samples": 0}


def test_loss_is_the_smoothed_cross_entropy(accelerator):
    """-(0.95 log p(label) + 0.05 log p(other)) for a smoothing of 0.1."""
    batch = make_batch(5)
    logits, _ = untrained()(batch["global_view"], batch["local_crops"])
    log_probability = functional.log_softmax(logits, dim=1)
    own = log_probability.gather(1, batch["label"][:, None])
    other = log_probability.gather(1, 1 - batch["label"][:, None])
    _, seen = stepped(accelerator, [batch])
    assert seen["loss"] == pytest.approx(-(0.95 * own + 0.05 * other).mean().item(), rel=1e-5)
    right = (logits.argmax(dim=1) == batch["label"]).float().mean().item()
    assert seen["accuracy"] == pytest.approx(right)


def test_gradients_are_scaled_down_to_the_norm_asked_for(accelerator):
    config = RunConfig(model=CONFIG.model, loader=CONFIG.loader, optim=OptimConfig(clip_grad_norm=1e-3))
    plain, _ = stepped(accelerator, [make_batch(4)])
    clipped, _ = stepped(accelerator, [make_batch(4)], config, rate=1000.0)

    def norm(gradient):
        return sum(value.double().square().sum().item() for value in gradient.values()) ** 0.5

    assert norm(plain) > 1e-2
    assert norm(clipped) / 1000.0 == pytest.approx(1e-3, rel=1e-2)


def test_groups_lose_no_batch_and_carry_none_over():
    """There are 7 batches in steps of 3. Accelerate's own counting has been seen to get this wrong."""
    totals = Totals(torch.device("cpu"))
    groups = list(grouped([{"number": n} for n in range(7)], 3, totals))
    assert [[batch["number"] for batch in group] for group in groups] == [[0, 1, 2], [3, 4, 5], [6]]
    assert totals.data_wait_s > 0
    assert list(grouped([], 3, totals)) == []


def test_totals_survive_a_checkpoint(accelerator):
    totals, restored = Totals(accelerator.device), Totals(accelerator.device)
    totals.add(torch.tensor([0.5, 0.25]), torch.tensor([True, False]), torch.tensor([True, True]))
    restored.load_state(totals.state(accelerator), is_main_process=True)
    assert restored.read(accelerator) == totals.read(accelerator)
    restored.load_state(totals.state(accelerator), is_main_process=False)
    assert restored.read(accelerator)["samples"] == 0


def test_random_state_is_restored_everywhere():
    import random

    import numpy as np

    device = torch.device("cpu")

    def draw():
        return torch.rand(3).tolist(), random.random(), np.random.rand()  # noqa: NPY002

    seed_all(5, stream=1)
    state = get_random_state(device)
    first = draw()
    draw()
    set_random_state(state, device)
    assert draw() == first
    seed_all(5, stream=2)
    assert draw() != first
    seed_all(5, stream=1)
    assert draw() == first


def line(accuracy, auroc, loss):
    return {"valid_accuracy": accuracy, "valid_auroc": auroc, "valid_loss": loss}


@pytest.mark.parametrize(
    ("new", "best", "select_by", "better"),
    [
        (line(0.8, 0.1, 9.0), line(0.7, 0.9, 0.1), "accuracy", True),
        (line(0.8, 0.1, 0.1), line(0.7, 0.9, 0.9), "auroc", False),
        (line(0.7, 0.9, 0.2), line(0.8, 0.9, 0.3), "loss", True),
        (line(0.8, 0.9, 0.5), line(0.8, 0.8, 0.1), "accuracy", True),  # a tie: AUROC
        (line(0.8, 0.9, 0.4), line(0.8, 0.9, 0.5), "accuracy", True),  # then the loss
        (line(0.8, 0.9, 0.5), line(0.8, 0.9, 0.5), "accuracy", False),  # then the earlier epoch
        (line(0.8, None, 0.5), line(0.8, 0.1, 0.5), "accuracy", False),  # undefined is worst
        (line(0.1, 0.1, 9.0), None, "accuracy", True),
    ],
)
def test_which_epoch_is_kept(new, best, select_by, better):
    assert is_better(new, best, select_by) is better


@pytest.mark.parametrize(
    ("setting", "device", "bf16", "expected"),
    [
        ("auto", "cpu", False, "float32"),
        ("bf16", "cpu", False, "bf16"),
        ("auto", "cuda", True, "bf16"),
        ("auto", "cuda", False, "fp16"),
        ("fp16", "cuda", True, "fp16"),
        ("float32", "cuda", True, "float32"),
    ],
)
def test_precision_follows_the_device(monkeypatch, setting, device, bf16, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bf16)
    assert resolve_precision(setting, device)[0] == expected


@pytest.mark.parametrize(("setting", "device"), [("fp16", "cpu"), ("bf16", "cuda")])
def test_a_precision_that_the_device_lacks_is_refused(monkeypatch, setting, device):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    with pytest.raises(InputError, match=f"precision={setting}.*precision=auto"):
        resolve_precision(setting, device)


def test_bf16_trains_on_a_cpu(accelerator):
    """Tests the autocast path of training and scoring without a GPU."""
    from glass.model.precision import autocast

    model, batch = copy.deepcopy(untrained()), make_batch(4)
    with autocast("bf16", "cpu"):
        logits, weights = model(batch["global_view"], batch["local_crops"], batch["crop_mask"])
    assert logits.dtype == weights.dtype == torch.float32
    functional.cross_entropy(logits, batch["label"]).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_more_processes_than_accelerate_sees_are_refused(monkeypatch, tmp_path):
    """If Accelerate saw only one of several processes, each process would train its own model into the same folder."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="WORLD_SIZE is 2, but Accelerate found 1"):
        make_accelerator(CONFIG, tmp_path)


def test_runs_of_one_process_may_differ_in_precision(tmp_path):
    """A search may try several precisions. Accelerate keeps the first one for the whole process."""
    for precision in ("float32", "bf16", "bf16", "float32"):
        accelerator, found = make_accelerator(replace(CONFIG, precision=precision), tmp_path)
        assert found == precision
        with accelerator.autocast():
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == {"float32": torch.float32, "bf16": torch.bfloat16}[precision]
