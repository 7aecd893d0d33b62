"""Which weights are trained, what is exported, and messages about wrong settings of these."""

import pytest
import torch

from glass.config.overrides import apply_overrides
from glass.config.run_config import ModelConfig, RunConfig
from glass.export.model_folder import load_model, load_state, save_model
from glass.model.backbones import create_backbone
from glass.model.finetune import choose_weights_to_tune
from glass.model.model import build_model
from glass.presets import load_preset
from glass.train.processes import make_accelerator
from glass.train.step import Engine, Totals
from loaders import LoaderConfig
from shards.errors import InputError


def config(backbone: str = "test_vit", crop_size: int = 32, **model) -> RunConfig:
    return RunConfig(
        model=ModelConfig(global_backbone=backbone, pretrained=False, **model),
        loader=LoaderConfig(num_crops=3, crop_size=crop_size, global_size=32),
        tensorboard=False,
        cpu_threads=1,
    )


def views(crop_size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    kind = {"dtype": torch.uint8, "generator": random}
    return (
        torch.randint(0, 256, (4, 3, 32, 32), **kind),
        torch.randint(0, 256, (4, 3, 3, crop_size, crop_size), **kind),
    )


def trained(settings: RunConfig) -> torch.nn.Module:
    """A model after two training steps, so that LoRA's corrections are no longer zero."""
    torch.manual_seed(0)
    model = build_model(settings).train()
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-2)
    for _ in range(2):
        logits, _ = model(*views(settings.loader.crop_size))
        torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 0, 1])).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


@pytest.mark.parametrize(
    ("backbone", "settings"),
    [
        pytest.param("test_vit", {"lora_rank": 2}, marks=pytest.mark.slow),  # loading peft alone takes two seconds
        pytest.param("test_vit", {"lora_rank": 2, "crop_chunk": 1}, marks=pytest.mark.slow),
        pytest.param("test_resnet", {"freeze_global": True, "crop_chunk": 2}, marks=pytest.mark.slow),
        pytest.param("test_convnext", {"tune_last_blocks": 2}, marks=pytest.mark.slow),
        ("test_resnet", {"share_backbone": True, "crop_chunk": 2}),
        pytest.param("test_vit", {"share_backbone": True, "lora_rank": 2}, marks=pytest.mark.slow),
    ],
)
def test_what_was_trained_is_what_loads(tmp_path, backbone, settings):
    """The exported model has no LoRA layers and gives the same logits for the same views when it is loaded."""
    chosen = config(backbone, **settings)
    model = trained(chosen).eval()
    save_model(tmp_path, model, chosen)
    loaded, _ = load_model(tmp_path, "cpu")
    assert not any("lora" in name for name in loaded.state_dict())
    with torch.no_grad():
        expected, found = model(*views())[0], loaded(*views())[0]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow  # that what LoRA trained is exported and loads is tested above
def test_a_checkpoint_with_lora_goes_on():
    """The state of a model with LoRA can be loaded into a new model with the same settings, which then gives the same
    logits."""
    chosen = config(lora_rank=2)
    model = trained(chosen).eval()
    torch.manual_seed(5)
    fresh = build_model(chosen, with_weights=False).eval()
    load_state(fresh, model.state_dict(), "a checkpoint")
    assert torch.equal(fresh(*views())[0], model(*views())[0])


def test_lora_learns_corrections_and_head_only():
    model = build_model(config(lora_rank=2))
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in name or name.startswith(("head.", "attention_pool.")) for name in learning)
    for place in ("global", "local"):
        name = f"{place}_backbone.network.blocks.0.attn.qkv.lora_A.default.weight"
        assert name in learning
    start = build_model(config()).state_dict()
    assert len(start) < len(model.state_dict())


def test_what_is_frozen_does_not_move():
    """In training mode, neither the frozen weights nor the frozen statistics change."""
    chosen = config("test_resnet", freeze_global=True, tune_last_blocks=1)
    torch.manual_seed(0)
    before = build_model(chosen).state_dict()
    model = trained(chosen)
    after = model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(name.startswith("global_backbone.") for name in moved)
    local = {name for name in moved if name.startswith("local_backbone.")}
    assert local
    assert all(name.startswith("local_backbone.network.layer4.") for name in local)
    assert not model.global_backbone.network.bn1.training
    assert model.local_backbone.network.layer4.training


@pytest.mark.parametrize(
    "backbone", ["test_vit", *(pytest.param(name, marks=pytest.mark.slow) for name in ("test_convnext", "test_resnet"))]
)
def test_the_last_blocks_are_counted_from_the_end(backbone):
    counts = []
    for blocks in (0, 1, 2, None):
        model = build_model(config(backbone, tune_last_blocks=blocks))
        weights = model.local_backbone.parameters()
        counts.append(sum(p.numel() for p in weights if p.requires_grad))
    assert counts[0] == 0
    assert counts[1] > 1000  # a block and not merely the norm after it
    assert counts == sorted(set(counts))


def test_a_shared_backbone_exists_once():
    shared, two = build_model(config(share_backbone=True)), build_model(config())
    numbers = [sum(p.numel() for p in model.parameters()) for model in (shared, two)]
    backbone = sum(p.numel() for p in shared.global_backbone.parameters())
    assert numbers[0] == numbers[1] - backbone
    # A network without a position table takes two sizes.
    model = build_model(config("test_resnet", crop_size=64, share_backbone=True))
    assert model(*views(64))[0].shape == (4, 2)


@pytest.mark.parametrize(
    "backbone",
    # With batch statistics, which computing again must not change twice.
    ["test_resnet", *(pytest.param(name, marks=pytest.mark.slow) for name in ("test_vit", "test_convnext"))],
)
def test_checkpointing_the_global_backbone_changes_nothing(backbone):
    found = []
    for on in (False, True):
        torch.manual_seed(0)
        model = build_model(config(backbone, grad_checkpoint_global=on)).train()
        model(*views())[0].square().sum().backward()
        found.append({name: p.grad for name, p in model.named_parameters()})
        found[-1].update(model.named_buffers())
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.crop_chunk=0"], r"model\.crop_chunk=0 must lie between 1"),
        (["model.crop_chunk=-2"], r"model\.crop_chunk=-2 must lie between 1"),
        (["model.crop_chunk=1.5"], r"model\.crop_chunk=1\.5: must be a whole number or none"),
        (["model.tune_last_blocks=-1"], "must lie between 0"),
        (["model.lora_rank=0"], "must lie between 1"),
        (["model.freeze_global=true", "model.freeze_local=true"], r"leave no backbone to train.*tune_last_blocks=0"),
        (["model.lora_rank=2", "model.tune_last_blocks=1"], "exclude each other"),
        (["model.share_backbone=true", "model.freeze_local=true"], "one backbone.*freeze_local"),
        (["model.share_backbone=true", "model.local_backbone=test_vit"], "local_backbone"),
    ],
)
def test_settings_that_make_no_sense_get_one_sentence(overrides, words):
    with pytest.raises(InputError, match=words) as caught:
        apply_overrides(load_preset("glass_tiny"), overrides)
    assert "\n" not in str(caught.value)


def test_a_baseline_with_everything_frozen_is_refused():
    with pytest.raises(InputError, match="no backbone to train"):
        ModelConfig(kind="single_view", freeze_global=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (config("test_resnet", lora_rank=2), "test_resnet has no attention"),
        pytest.param(config("test_convnext", lora_rank=2), "test_convnext has no attention", marks=pytest.mark.slow),
        (config(tune_last_blocks=99), "tune_last_blocks=99: test_vit has .* blocks"),
        (config(crop_size=64, share_backbone=True), "crops as large as the global view for test_vit"),
    ],
)
def test_a_backbone_without_what_is_asked_for_gets_one_sentence(settings, words):
    with pytest.raises(InputError, match=words) as caught:
        build_model(settings)
    assert "\n" not in str(caught.value)


def test_blocks_that_timm_does_not_count_get_one_sentence():
    """timm does not divide PiT, PoolFormer and its relatives, and CSATv2 into blocks."""
    backbone = create_backbone("pit_ti_224", 64, pretrained=False)
    with pytest.raises(InputError, match=r"does not divide pit_ti_224 into blocks.*freeze_global"):
        choose_weights_to_tune(backbone, ModelConfig(tune_last_blocks=1), frozen=False)
    assert all(weight.requires_grad for weight in backbone.parameters())


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_a_step_that_does_not_fit_says_what_would(error, monkeypatch, tmp_path):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    settings = load_preset("glass_tiny")
    accelerator, _ = make_accelerator(settings, tmp_path)

    def too_much(*_):
        raise error

    engine = Engine(settings, accelerator, too_much, None)
    batch = {
        "local_crops": torch.zeros(2, 6, 3, 8, 8),
        "global_view": torch.zeros(2, 3, 8, 8),
        "crop_mask": torch.ones(2, 6),
        "label": torch.zeros(2),
        "is_valid": torch.ones(2),
    }
    with pytest.raises(InputError, match=r"2 images of 6 crops does not fit.*--set") as caught:
        engine.step([batch], Totals(torch.device("cpu")))
    assert "\n" not in str(caught.value)
