"""Search spaces: exactly the study's, and how users can change them."""

from dataclasses import replace

import pytest

from glass.config.overrides import apply_overrides
from glass.presets import load_preset
from glass.studies.search_space import (
    GLASS_SPACE,
    SINGLE_VIEW_SPACE,
    Choice,
    LogRange,
    changed_space,
    settings_at,
    space_for,
)
from shards.errors import InputError

# The table of REFERENCE.md.
SPACES = {
    "glass_resnet50": {
        "batch": (16, 32, 64),
        "dropout": (0, 0.1, 0.2, 0.3),
        "num_crops": (2, 4, 6, 8, 10),
        "lr_global": (0.000001, 0.0001),
        "lr_local": (0.000001, 0.0001),
        "lr_head": (0.000005, 0.001),
        "wd_global": (0.0000001, 0.001),
        "wd_local": (0.0000001, 0.001),
    },
    "single_view_resnet50": {
        "lr": (0.000001, 0.0001),
        "wd": (0.0000001, 0.001),
        "batch": (32, 64, 128),
        "dropout": (0, 0.1, 0.2, 0.3),
    },
}


@pytest.mark.parametrize(
    ("space", "name"), [(GLASS_SPACE, "glass_resnet50"), (SINGLE_VIEW_SPACE, "single_view_resnet50")]
)
def test_spaces_are_the_studys(space, name):
    found = {d.name: d.options if isinstance(d, Choice) else (d.low, d.high) for d in space}
    assert found == SPACES[name]
    config = load_preset(name)
    for dimension in space:  # every corner is a configuration
        ends = dimension.options if isinstance(dimension, Choice) else (dimension.low, dimension.high)
        for value in ends:
            settings_at(config, (dimension,), {dimension.name: value})


def test_one_rate_sets_the_whole_baseline():
    config = settings_at(
        load_preset("single_view_resnet50"), SINGLE_VIEW_SPACE, {"lr": 2e-5, "wd": 3e-4, "batch": 64, "dropout": 0.2}
    )
    assert (config.optim.lr_global, config.optim.lr_head) == (2e-5, 2e-5)
    assert (config.optim.wd_global, config.optim.wd_head) == (3e-4, 3e-4)
    assert (config.loader.global_batch_size, config.model.dropout) == (64, 0.2)


def test_a_batch_is_shared_out_over_micro_steps():
    config = apply_overrides(load_preset("glass_resnet50"), ["grad_accum_steps=4"])
    (batch, *_) = GLASS_SPACE
    assert settings_at(config, (batch,), {"batch": 64}).loader.global_batch_size == 16
    with pytest.raises(InputError, match="grad_accum_steps=3"):
        settings_at(replace(config, grad_accum_steps=3), (batch,), {"batch": 64})


def test_a_space_can_be_changed():
    config = load_preset("glass_resnet50")
    space = {
        d.name: d
        for d in changed_space(GLASS_SPACE, config, ["lr_local=1e-5..1e-2", "num_crops=3", "label_smoothing=0.0,0.1"])
    }
    assert space["lr_local"] == LogRange("lr_local", ("optim.lr_local",), 1e-5, 1e-2)
    assert space["num_crops"] == Choice("num_crops", ("loader.num_crops",), (3,))
    assert space["label_smoothing"].options == (0.0, 0.1)


@pytest.mark.parametrize("name", ["optim.lr_local", "loader.num_crops", "loader.global_batch_size"])
def test_a_setting_by_its_full_name_is_the_dimension_that_has_it(name):
    before = {d.name: d.settings for d in GLASS_SPACE}
    text = "1e-5..1e-2" if name.startswith("optim") else "3,4"
    space = changed_space(GLASS_SPACE, load_preset("glass_resnet50"), [f"{name}={text}"])
    assert {d.name: d.settings for d in space} == before
    (changed,) = [d for d in space if d.settings == (name,)]
    assert changed not in GLASS_SPACE


@pytest.mark.parametrize(
    ("preset", "change", "message"),
    [
        ("single_view_resnet50", "optim.lr_global=1e-5..1e-4", "give --search lr="),
        ("single_view_resnet50", "optim.lr=1e-5..1e-4", "give --search lr="),
        ("glass_resnet50", "optim.lr=1e-5..1e-4", "give --search lr_global=… or lr_local=… or lr_head"),
        ("glass_resnet50", "optim.wd=1e-5..1e-4", "give --search wd_global=… or wd_local"),
        ("glass_resnet50", "epochs=2,3", "give --epochs"),
        ("glass_resnet50", "select_by=loss,auroc", "give --metric"),
        ("glass_resnet50", "loader.device=cpu,cuda", "give --device"),
        ("glass_resnet50", "loader.num_threads=1,2", "speed .* give --set loader.num_threads="),
        ("glass_resnet50", "tensorboard=true", "do not write"),
        *(
            ("glass_resnet50", f"{key}=1,2", f"cannot be compared: give --set {key}=")
            for key in (
                "train_split",
                "valid_split",
                "seed",
                "loader.seed",
                "model.kind",
                "loader.global_size",
                "grad_accum_steps",
            )
        ),
    ],
)
def test_what_makes_a_search_wrong_is_refused(preset, change, message):
    config = load_preset(preset)
    with pytest.raises(InputError, match=rf"^--search {change.partition('=')[0]}: .*{message}"):
        changed_space(space_for(config), config, [change])


def test_a_micro_batch_is_not_searched_by_its_full_name():
    config = apply_overrides(load_preset("glass_resnet50"), ["grad_accum_steps=4"])
    with pytest.raises(InputError, match="give --search batch="):
        changed_space(GLASS_SPACE, config, ["loader.global_batch_size=16"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("lr=1..2", "no such setting"),
        ("lr_local=2..1", "LOW < HIGH"),
        ("lr_local", "NAME="),
        ("num_crops=0,2", "between 1 and"),
        ("dropout=0.1,0.1", "once"),
        ("dropout=x", "number"),
        ("batch=x", "batch=x: a batch is a whole"),
        ("batch=true", "a whole number"),
        ("batch=8.5", "a whole number"),
        ("batch=0", "between 1 and"),
        ("batch=-4", "between 1 and"),
        ("batch=1e2..1e3", "whole"),
    ],
)
def test_a_change_that_cannot_be_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        changed_space(GLASS_SPACE, load_preset("glass_resnet50"), [change])
