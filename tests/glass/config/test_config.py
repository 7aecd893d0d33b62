"""Presets have exactly the study's settings, overrides are typed, and error messages name the mistake."""

import subprocess
import sys
from dataclasses import replace

import pytest

import train
from glass.config.overrides import OF_CROPS_ALONE, apply_overrides, setting_names
from glass.config.run_config import RunConfig, config_from_dict, config_to_dict
from glass.presets import load_preset, preset_names
from shards.errors import InputError

STUDY = {  # arXiv 2601.00141's best settings: batch, dropout, three rates, two decays, crops
    "glass_vit_base": (
        "vit_base_patch16_224.augreg_in1k",
        64,
        0.3,
        1.5831167386e-5,
        4.2600409634e-5,
        6.4802356540e-5,
        3.1761532137e-5,
        6.1377852562e-6,
        10,
    ),
    "glass_convnext_tiny": (
        "convnext_tiny.fb_in1k",
        32,
        0.2,
        6.5491282725e-6,
        9.9995709970e-5,
        1.6799849359e-5,
        2.8525882087e-6,
        3.8782167347e-7,
        4,
    ),
    "glass_resnet50": (
        "resnet50.tv_in1k",
        32,
        0.3,
        2.1587776507e-6,
        6.8538001212e-5,
        2.9795095503e-5,
        1.7932951229e-7,
        6.0175135584e-7,
        6,
    ),
}
BASELINE = {  # batch, dropout, rate, decay
    "single_view_vit_base": ("vit_base_patch16_224.augreg_in1k", 128, 0.1, 7.4808549519e-5, 4.3692798107e-4),
    "single_view_convnext_tiny": ("convnext_tiny.fb_in1k", 128, 0.1, 7.1241614871e-5, 2.1340317672e-6),
    "single_view_resnet50": ("resnet50.tv_in1k", 32, 0.1, 4.5904937607e-5, 3.6425534245e-7),
}


@pytest.mark.parametrize("name", STUDY)
def test_glass_presets_are_the_study_to_the_digit(name):
    config = load_preset(name)
    optim = config.optim
    assert STUDY[name] == (
        config.model.global_backbone,
        config.loader.global_batch_size,
        config.model.dropout,
        optim.lr_global,
        optim.lr_local,
        optim.lr_head,
        optim.wd_global,
        optim.wd_local,
        config.loader.num_crops,
    )
    assert (config.model.kind, config.model.pretrained, config.model.attention_dim) == ("glass", True, 128)
    assert optim.wd_head == 0


@pytest.mark.parametrize("name", BASELINE)
def test_baseline_presets_are_the_study_to_the_digit(name):
    config = load_preset(name)
    optim = config.optim
    assert BASELINE[name] == (
        config.model.global_backbone,
        config.loader.global_batch_size,
        config.model.dropout,
        optim.lr_global,
        optim.wd_global,
    )
    assert (optim.lr_head, optim.wd_head) == (optim.lr_global, optim.wd_global)
    assert (config.model.kind, config.model.pretrained) == ("single_view", True)


@pytest.mark.parametrize("name", [*STUDY, *BASELINE])
def test_what_all_study_presets_share(name):
    config = load_preset(name)
    assert (config.epochs, config.label_smoothing, config.optim.lr_min) == (50, 0.1, 1e-6)
    assert (config.loader.crop_size, config.loader.global_size) == (224, 224)
    assert (config.precision, config.grad_accum_steps, config.select_by) == ("auto", 1, "accuracy")
    assert config.loader.sampling == "stratified_grid"


def test_every_preset_knows_its_name_and_survives_json():
    assert set(preset_names()) == {*STUDY, *BASELINE, "glass_lite0", "glass_tiny", "single_view_tiny"}
    for name in preset_names():
        config = load_preset(name)
        assert config.preset == name
        assert config_from_dict(config_to_dict(config)) == config


def test_tiny_presets_have_one_training_budget():
    """With different budgets, the report would compare the budgets and not the models."""
    glass, single = load_preset("glass_tiny"), load_preset("single_view_tiny")
    for config in (glass, single):
        assert not config.model.pretrained
    assert (glass.epochs, glass.grad_accum_steps) == (single.epochs, single.grad_accum_steps)
    # Each learns what it decides by at the same rate: crops there, the global view here.
    assert glass.optim.lr_local == single.optim.lr_global
    assert glass.optim.lr_head == single.optim.lr_head
    assert glass.loader.global_batch_size == single.loader.global_batch_size
    assert glass.loader.global_size == single.loader.global_size


def test_unknown_preset_lists_those_that_exist():
    with pytest.raises(InputError, match=r"no preset called 'resnet'.*glass_resnet50.*single_view"):
        load_preset("resnet")


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("epochs=3", lambda c: c.epochs, 3),
        ("optim.lr_local=1e-4", lambda c: c.optim.lr_local, 1e-4),
        ("optim.clip_grad_norm=1", lambda c: c.optim.clip_grad_norm, 1.0),
        ("optim.clip_grad_norm=none", lambda c: c.optim.clip_grad_norm, None),
        ("model.pretrained=false", lambda c: c.model.pretrained, False),
        ("compile=yes", lambda c: c.compile, True),
        ("model.global_weights=a=b.pth", lambda c: c.model.global_weights, "a=b.pth"),
        ("precision=bf16", lambda c: c.precision, "bf16"),
        ("loader.num_crops=16", lambda c: c.loader.num_crops, 16),
        ("train_split=train+valid", lambda c: c.train_split, "train+valid"),
    ],
)
def test_overrides_take_the_type_of_their_field(override, read, value):
    changed = read(apply_overrides(RunConfig(), [override]))
    assert changed == value
    assert type(changed) is type(value)


def test_later_overrides_win_and_the_rest_stays():
    config = load_preset("glass_resnet50")
    changed = apply_overrides(config, ["epochs=3", "optim.lr_head=1e-3", "epochs=4"])
    assert (changed.epochs, changed.optim.lr_head) == (4, 1e-3)
    assert changed.optim.lr_local == config.optim.lr_local
    assert (changed.model, changed.loader) == (config.model, config.loader)


def test_one_key_sets_every_learning_rate():
    optim = apply_overrides(RunConfig(), ["optim.lr=1e-4", "optim.wd=0.1"]).optim
    assert {optim.lr_global, optim.lr_local, optim.lr_head} == {1e-4}
    assert (optim.wd_global, optim.wd_local, optim.wd_head) == (0.1, 0.1, 0.0)


@pytest.mark.parametrize(
    ("key", "first"),
    [
        ("optim.lr_locale", "optim.lr_local"),
        ("lr", "optim.lr"),
        ("num_crop", "loader.num_crops"),
        ("crop_size", "loader.crop_size"),
        ("model.pretraind", "model.pretrained"),
    ],
)
def test_an_unknown_key_names_the_nearest_three(key, first):
    with pytest.raises(InputError) as caught:
        apply_overrides(RunConfig(), [f"{key}=1"])
    message = str(caught.value)
    assert f"the nearest are {first}, " in message
    named = message.partition("nearest are ")[2].partition(" (")[0].split(", ")
    assert len(named) == 3
    assert set(named) <= set(setting_names(RunConfig()))
    assert "glass train --help lists them all" in message


def test_help_lists_all_settings(capsys):
    with pytest.raises(SystemExit):
        train.main(["--help"])
    words = set(capsys.readouterr().out.replace(",", " ").split())
    assert set(setting_names(RunConfig())) <= words


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("epochs", "key=value"),
        ("epochs=many", "a whole number"),
        ("epochs=1.5", "a whole number"),
        ("epochs=0", "between 1 and"),
        ("optim.lr_head=nan", "between 0 and 10"),
        ("optim.lr_head=-1", "between 0 and 10"),
        ("model.pretrained=maybe", "true or false"),
        ("model.kind=vit", "one of glass, single_view"),
        ("precision=bfloat", "one of auto, bf16, fp16, float32"),
        ("loader.num_crops=0", "between 1 and"),
        ("loader.crop_size=10000000", "and 4,096"),
        ("loader.global_size=4097", "and 4,096"),
        ("loader.num_crops=4097", "and 4,096"),
        ("loader.num_threads=1025", "and 1,024"),
        ("cpu_threads=1025", "between 1 and"),
        ("model.dropout=1", "between 0 and 0.99"),
        ("model=glass", "no such setting"),
        ("preset=glass_tiny", "no such setting"),
        ("optim.clip_grad_norm=0", "between"),
    ],
)
def test_a_bad_override_gets_one_sentence_that_names_it(override, words):
    with pytest.raises(InputError, match=words) as caught:
        apply_overrides(RunConfig(), [override])
    assert override.split("=")[0].split(".")[-1] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", OF_CROPS_ALONE)
def test_a_setting_of_crops_is_refused_where_none_are_seen(name):
    value = "test_vit" if name == "local_backbone" else "w.safetensors" if name == "local_weights" else "true"
    for config, kind in ((load_preset("single_view_tiny"), []), (RunConfig(), ["model.kind=single_view"])):
        with pytest.raises(
            InputError, match=rf"--set model\.{name}: .* sees no crops, so this setting would change nothing"
        ):
            apply_overrides(config, [f"model.{name}={value}", *kind])
    assert apply_overrides(load_preset("glass_resnet50"), [f"model.{name}={value}"]).model.kind == "glass"


def test_what_a_preset_sets_and_one_backbone_cannot_have_is_named_with_the_way_to_put_it_off():
    tiny, share = load_preset("glass_tiny"), "model.share_backbone=true"
    with pytest.raises(InputError, match=r"give model\.local_high_pass=false"):
        apply_overrides(tiny, [share])
    assert apply_overrides(tiny, [share, "model.local_high_pass=false"]).model.share_backbone


def test_a_preset_may_lose_its_crops():
    """If a preset with crops is changed to a model without crops, its settings of crops have no effect but are kept, so
    that they also occur in the file that repeats the run."""
    config = replace(RunConfig(), model=replace(RunConfig().model, local_high_pass=True))
    alone = apply_overrides(config, ["model.kind=single_view", "model.local_high_pass=yes"])
    assert (alone.model.kind, alone.model.local_high_pass) == ("single_view", True)


def test_settings_of_another_version_are_refused():
    with pytest.raises(InputError, match=r"unknown setting optim\.momentum"):
        config_from_dict({"optim": {"momentum": 0.9}})


def test_presets_and_overrides_load_no_torch():
    """A typing error on the command line must be reported at once, without waiting for the import of torch."""
    code = (
        "import sys, glass.config.overrides, glass.presets as p; [p.load_preset(n) for n in "
        "p.preset_names()]; print(sorted({'torch', 'timm', 'accelerate'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
