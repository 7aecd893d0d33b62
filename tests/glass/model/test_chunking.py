"""Crops in chunks give the same numbers as all crops at once, with the memory of one chunk."""

import subprocess
import sys
import textwrap

import pytest
import torch
from timm.layers import DropPath
from torch.nn import functional

import glass.model.chunking
from bench.methods.training_step import step_config
from glass.config.run_config import ModelConfig, RunConfig
from glass.memory.counts import KeptStorages
from glass.model.chunking import as_images
from glass.model.model import build_model, compile_backbones
from glass.train.counted_step import Step
from glass.train.optim import build_optimizer, parameter_groups
from glass.train.processes import make_accelerator
from glass.train.step import Engine, Totals
from loaders import LoaderConfig

CROPS = 5
WITHOUT_BATCHNORM = ["test_vit", pytest.param("test_convnext", marks=pytest.mark.slow)]
"""Neither network has batch statistics, so chunks of both must give the gradients of the plain model."""
CHUNKS = [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(4, marks=pytest.mark.slow)]
"""Chunk sizes for five crops. Chunks of 2 cover all cases: several whole chunks and a smaller last one."""


def config(backbone: str, **model) -> RunConfig:
    return RunConfig(
        model=ModelConfig(global_backbone=backbone, pretrained=False, **model),
        loader=LoaderConfig(num_crops=CROPS, crop_size=32, global_size=32),
        tensorboard=False,
        cpu_threads=1,
    )


def make_batch(size: int = 2, crops: int = CROPS, seed: int = 0) -> dict:
    random = torch.Generator().manual_seed(seed)
    pixels = {"dtype": torch.uint8, "generator": random}
    return {
        "global_view": torch.randint(0, 256, (size, 32, 32, 3), **pixels).movedim(-1, -3),
        "local_crops": torch.randint(0, 256, (size, crops, 32, 32, 3), **pixels).movedim(-1, -3),
        "crop_mask": torch.ones(size, crops, dtype=torch.bool),
        "label": torch.arange(size) % 2,
        "is_valid": torch.ones(size, dtype=torch.bool),
    }


def made(backbone: str, **model) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_model(config(backbone, **model)).train()


def gradients(model, batch, mask=None, bf16=False):
    """The logits and the gradient of each weight, from one forward and backward pass with fixed random numbers."""
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        logits, _ = model(batch["global_view"], batch["local_crops"], mask)
    functional.cross_entropy(logits, batch["label"]).backward()
    return logits.detach(), {name: p.grad for name, p in model.named_parameters()}


def assert_same(found, expected, tolerance=1e-5):
    """Requires equal gradients up to float tolerance, relative to the size of each gradient. If that is less than a
    hundredth of the largest, a hundredth of the largest is used: some gradients cancel to almost 0, such as that of the
    bias before the softmax."""
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    for name, gradient in expected.items():
        scale = max(gradient.abs().max().item(), largest / 100)
        torch.testing.assert_close(found[name], gradient, atol=tolerance * scale, rtol=0)


@pytest.fixture
def keep_all(monkeypatch):
    """Returns a switch between recomputation, which is to be tested, and its reference: chunks one by one that keep all
    activations."""

    def switch(on: bool) -> None:
        def plainly(function, *args, use_reentrant, context_fn):
            assert not use_reentrant
            return function(*args)

        monkeypatch.undo()
        if on:
            monkeypatch.setattr(glass.model.chunking, "checkpoint", plainly)

    return switch


@pytest.mark.parametrize("masked", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("backbone", WITHOUT_BATCHNORM)
def test_gradients_are_those_of_the_plain_model(backbone, chunk, masked):
    batch = make_batch()
    mask = None
    if masked:
        mask = torch.tensor([[True, False, True, True, False], [False] * CROPS])
    logits, expected = gradients(made(backbone), batch, mask)
    found_logits, found = gradients(made(backbone, crop_chunk=chunk), batch, mask)
    torch.testing.assert_close(found_logits, logits, atol=1e-5, rtol=0)
    assert_same(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", WITHOUT_BATCHNORM)
def test_half_precision_loses_no_more_than_plainly(backbone):
    """Compares the gradients with those in float32, because gradients of chunks must not be added up in bf16."""
    batch = make_batch(crops=12)
    _, exact = gradients(made(backbone), batch)

    def error(model):
        found = gradients(model, batch, bf16=True)[1]
        wrong = sum((found[name] - exact[name]).square().sum() for name in exact)
        return (wrong / sum(value.square().sum() for value in exact.values())).sqrt().item()

    assert error(made(backbone, crop_chunk=1)) <= 1.1 * error(made(backbone))


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("bf16", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_batchnorm_takes_each_chunk_by_itself(keep_all, chunk, bf16):
    """Gradients, running statistics and counters are the same as if chunks were processed one by one."""
    batch = make_batch()
    keep_all(True)
    reference = made("test_resnet", crop_chunk=chunk)
    _, expected = gradients(reference, batch, bf16=bf16)
    keep_all(False)
    model = made("test_resnet", crop_chunk=chunk)
    _, found = gradients(model, batch, bf16=bf16)
    assert_same(found, expected)
    for name, buffer in reference.named_buffers():
        torch.testing.assert_close(dict(model.named_buffers())[name], buffer)


def test_running_statistics_move_once_towards_the_mean_of_the_chunks():
    batch, model = make_batch(), made("test_resnet", crop_chunk=2)
    first = model.local_backbone.network.bn1
    seen = []
    first.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    gradients(model, batch)
    chunks = seen[:3]  # the rest is computed again
    assert len(seen) == 5
    assert [len(chunk) for chunk in chunks] == [4, 4, 2]
    shares = [0.4, 0.4, 0.2]
    mean = sum(s * c.mean((0, 2, 3)) for s, c in zip(shares, chunks, strict=True))
    variance = sum(s * c.var((0, 2, 3)) for s, c in zip(shares, chunks, strict=True))
    torch.testing.assert_close(first.running_mean, 0.1 * mean)
    torch.testing.assert_close(first.running_var, 0.9 + 0.1 * variance)
    assert first.num_batches_tracked == 1


@pytest.mark.slow  # statistics that do not move leave a plain network, as in the test of gradients
def test_batchnorm_with_frozen_statistics_is_the_plain_model():
    batch = make_batch()
    plain, chunked = (made("test_resnet", crop_chunk=chunk).eval() for chunk in (None, 2))
    assert_same(gradients(chunked, batch)[1], gradients(plain, batch)[1])


def test_dropout_and_stochastic_depth_draw_the_same_masks_again(keep_all):
    batch, found = make_batch(), []
    for on in (True, False):
        keep_all(on)
        model = made("test_vit", crop_chunk=2, dropout=0.3)
        for block in model.local_backbone.network.blocks:
            block.drop_path1 = DropPath(0.5)
            block.mlp.drop1 = torch.nn.Dropout(0.5)
        found.append(gradients(model, batch)[1])
    assert_same(found[1], found[0])


@pytest.mark.slow  # smaller chunks are tested above
def test_a_chunk_of_all_crops_is_the_plain_model():
    batch = make_batch()
    expected = gradients(made("test_resnet"), batch)[1]
    found = gradients(made("test_resnet", crop_chunk=CROPS), batch)[1]
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_chunks_of_crops_stay_channels_last():
    crops = make_batch()["local_crops"]
    assert as_images(crops).data_ptr() == crops.data_ptr()
    for images in (as_images(crops), as_images(crops[:, 1:3])):
        assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def accelerator(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        yield make_accelerator(config("test_vit"), tmp_path_factory.mktemp("run"))[0]


def losses(accelerator, settings: RunConfig, steps: int, micro_steps: int) -> list[float]:
    torch.manual_seed(0)
    model = build_model(settings).train()
    optimizer = build_optimizer(parameter_groups(model, settings.optim))
    model, optimizer = accelerator.prepare(model, optimizer)
    engine, found = Engine(settings, accelerator, model, optimizer), []
    for step in range(steps):
        totals = Totals(accelerator.device)
        engine.step([make_batch(seed=10 * step + i) for i in range(micro_steps)], totals)
        found.append(totals.read(accelerator)["loss"])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("backbone", WITHOUT_BATCHNORM)
def test_thirty_steps_of_training_coincide(accelerator, backbone):
    """Compares the losses of training with and without chunks. Each step has two micro-steps."""
    plain = losses(accelerator, config(backbone), 30, 2)
    chunked = losses(accelerator, config(backbone, crop_chunk=2), 30, 2)
    assert max(plain) - min(plain) > 0.05  # something is learnt, or unlearnt
    assert chunked == pytest.approx(plain, abs=1e-3)


@pytest.mark.parametrize("chunk", [pytest.param(None, marks=pytest.mark.slow), 2])
def test_a_step_does_not_wait_for_the_device(accelerator, chunk):
    """A step must not read a number out of a tensor. On a GPU, it would wait for all queued work."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class NoReading(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default), func
            return func(*args, **(kwargs or {}))

    settings = config("test_resnet", crop_chunk=chunk)
    model = build_model(settings).train()
    model, optimizer = accelerator.prepare(model, build_optimizer(parameter_groups(model, settings.optim)))
    engine, totals = Engine(settings, accelerator, model, optimizer), Totals(accelerator.device)
    with NoReading():
        engine.step([make_batch(), make_batch(seed=1)], totals)


def tiny_step(crops: int, chunk: int | None) -> Step:
    options = {"preset": "glass_tiny", "batch_size": "2", "precision": "float32"}
    return Step(step_config({**options, "crop_chunk": str(chunk)}, crops, threads=1))


@pytest.mark.parametrize("crops", [5, pytest.param(64, marks=pytest.mark.slow)])
def test_many_crops_take_the_memory_of_4(monkeypatch, crops):
    """The memory is the total size of all tensor storages alive at the worst moment of a step."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    plain = tiny_step(4, None).count_by_storages()
    chunked = tiny_step(crops, 1).count_by_storages()
    assert chunked["peak_bytes"] <= plain["peak_bytes"]
    assert chunked["activations_bytes"] < 0.5 * plain["activations_bytes"]


def test_a_frozen_backbone_keeps_no_activations():
    batch, kept = make_batch(), {}
    for frozen in (False, True):
        counter = KeptStorages()
        model = made("test_vit", freeze_local=frozen, freeze_global=False)
        with counter.watching():
            features = model.crop_features(batch["local_crops"])
        assert features.requires_grad is not frozen
        kept[frozen] = counter.bytes_beside([])
    assert kept[True] == 0
    assert kept[False] > 1e6


@pytest.mark.slow
def test_64_crops_train_and_the_run_finishes(synthetic_shards, tmp_path, monkeypatch):
    from glass.config.overrides import apply_overrides
    from glass.presets import load_preset
    from glass.train.run import train

    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    settings = apply_overrides(
        load_preset("glass_tiny"),
        [
            "epochs=1",
            "loader.num_crops=64",
            "model.crop_chunk=4",
            "tensorboard=false",
            "loader.global_batch_size=2",
            "cpu_threads=1",
        ],
    )
    assert train(synthetic_shards, settings, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["test_vit", "test_resnet"])
def test_compiled_backbones_compute_the_same(backbone):
    """Compares gradients with and without compilation. It uses the compiler's tracing and autograd, but not its code
    generator."""
    batch = make_batch()
    expected = gradients(made(backbone, crop_chunk=2), batch)[1]
    model = made(backbone, crop_chunk=2)
    compile_backbones(model, backend="aot_eager")
    assert_same(gradients(model, batch)[1], expected, 1e-4)
    if backbone == "test_resnet":
        assert model.local_backbone.network.bn1.num_batches_tracked == 1


TWO_PROCESSES = """
    import sys
    import torch
    from torch import distributed
    from torch.nn import functional
    from torch.nn.parallel import DistributedDataParallel
    sys.path.insert(0, sys.argv[1])
    from tests.glass.model.test_chunking import made, make_batch

    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    whole = make_batch(4)
    half = {name: value[rank::2] for name, value in whole.items()}

    def gradient(model, batch):
        logits, _ = model(batch["global_view"], batch["local_crops"])
        functional.cross_entropy(logits, batch["label"]).backward()
        return [p.grad for p in model.parameters()]

    expected = gradient(made("test_vit"), whole)
    model = DistributedDataParallel(made("test_vit", crop_chunk=2), gradient_as_bucket_view=True)
    with model.no_sync():  # a micro-step before, whose gradient is then doubled
        gradient(model, half)
    for found, one in zip(gradient(model, half), expected, strict=True):
        torch.testing.assert_close(found, 2 * one, atol=1e-5, rtol=1e-3)
    distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_share_the_gradient(tmp_path, request):
    script = tmp_path / "two.py"
    script.write_text(textwrap.dedent(TWO_PROCESSES))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(script),
        str(request.config.rootpath),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
