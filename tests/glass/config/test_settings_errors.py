"""Every message about a wrong setting names the setting and the value at fault."""

import math
from typing import Any

import numpy as np
import pytest

from glass.config.overrides import apply_overrides
from glass.config.run_config import ModelConfig, OptimConfig, RunConfig, config_from_dict, config_to_dict
from loaders import LoaderConfig
from shards.adopt.settings import IndexSettings
from shards.build.settings import BuildSettings
from shards.errors import InputError

LOADER = [
    *((name, "loud") for name in ("backend", "decode", "device", "verify", "remote_reads", "shuffle")),
    *(
        (name, value)
        for name in (
            "global_batch_size",
            "num_crops",
            "crop_size",
            "global_size",
            "num_threads",
            "prefetch_batches",
            "shuffle_shards",
            "shuffle_lanes",
        )
        for value in (0, -1, "4", 2.0, None, 1 << 40)
    ),
    *((name, 4097) for name in ("num_crops", "crop_size", "global_size")),
    *(("augment", value) for value in (-0.1, 1.5, "half", None, math.nan)),
    *(("seed", value) for value in (-1, 1 << 63, "7", None)),
]
MODEL = [
    ("kind", "glas"),
    ("global_backbone", 7),
    ("local_backbone", 7),
    ("pretrained", "yes"),
    ("pretrained", 1),
    ("global_weights", 7),
    ("share_backbone", None),
    *(("dropout", value) for value in (-0.1, 1.0, math.nan, "some", True)),
    *(("attention_dim", value) for value in (0, 65537, 2.0, True, None)),
    *(("crop_chunk", value) for value in (0, 65537, "all", 1.5)),
    *(("tune_last_blocks", value) for value in (-1, 65537, "all")),
    *(("lora_rank", value) for value in (0, 65537, "all")),
]
OPTIM = [
    *(
        (name, value)
        for name in ("lr_global", "lr_local", "lr_head", "lr_min", "wd_global", "wd_local", "wd_head")
        for value in (-1e-9, 10.5, math.nan, math.inf, "1e-4", None, True)
    ),
    *(("clip_grad_norm", value) for value in (0, -1.0, 1e13, math.nan, "one")),
]
RUN = [
    *((name, value) for name in ("epochs", "grad_accum_steps") for value in (0, -1, 10**9 + 1, 1.0, True, "2")),
    *(("seed", value) for value in (-1, 1 << 63, True, 1.0)),
    *(("cpu_threads", value) for value in (0, 1 << 20, "all")),
    *(("label_smoothing", value) for value in (-0.1, 1.0, math.nan)),
    *(("max_bad_samples", value) for value in (-0.1, 1.1, math.nan)),
    *(("process_timeout_s", value) for value in (0.5, 86_401.0, math.inf)),
    ("precision", "fp8"),
    ("select_by", "luck"),
    ("train_split", 1),
    ("tensorboard", "no"),
    ("compile", None),
    ("model", {"kind": "glass"}),
]
BUILD = [
    *(("split_seed", value) for value in (-1, 1 << 63, "7", 1.0)),
    *(("samples_per_shard", value) for value in (0, 1_000_000, "7")),
    *(("global_size", value) for value in (15, 4097, "7")),
    ("lossless", "loud"),
    ("equalise", "loud"),
]
INDEX = [
    *(("split_seed", value) for value in (-1, 1 << 63, "7")),
    *(("global_size", value) for value in (15, 4097)),
    ("split", "0.7,loud"),
]
KINDS = [
    (LoaderConfig, "loader.{}", LOADER),
    (ModelConfig, "model.{}", MODEL),
    (OptimConfig, "optim.{}", OPTIM),
    (RunConfig, "{}", RUN),
    (BuildSettings, "--{}", BUILD),
    (IndexSettings, "--{}", INDEX),
]


@pytest.mark.parametrize(("kind", "shown", "table"), KINDS, ids=lambda given: getattr(given, "__name__", ""))
def test_the_setting_and_its_value_are_named(kind, shown, table):
    wrong = []
    for name, value in table:
        name_shown = shown.format(name.replace("_", "-") if shown.startswith("--") else name)
        try:
            kind(**{name: value})
            wrong.append((name, value, "is taken"))
        except InputError as error:
            if name_shown not in str(error) or str(value) not in str(error) or "\n" in str(error):
                wrong.append((name, value, str(error)))
    assert not wrong


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"class_balanced": True, "shuffle": "shard"}, ("loader.class_balanced", "loader.shuffle", "shard")),
        (
            {"shuffle": "shard", "shuffle_lanes": 3, "global_batch_size": 32},
            ("loader.shuffle_lanes=3", "loader.global_batch_size=32"),
        ),
    ],
)
def test_settings_of_the_loader_that_exclude_each_other(settings, named):
    with pytest.raises(InputError) as caught:
        LoaderConfig(**settings)
    assert all(word in str(caught.value) for word in named)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"freeze_global": True, "freeze_local": True}, ("model.freeze_global", "model.freeze_local")),
        ({"lora_rank": 4, "tune_last_blocks": 1}, ("model.lora_rank", "model.tune_last_blocks")),
        ({"share_backbone": True, "freeze_local": True}, ("model.share_backbone", "model.freeze_local")),
        ({"share_backbone": True, "local_backbone": "x"}, ("model.share_backbone", "model.local_backbone")),
    ],
)
def test_settings_of_the_model_that_exclude_each_other(settings, named):
    with pytest.raises(InputError) as caught:
        ModelConfig(**settings)
    assert all(word in str(caught.value) for word in named)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("loader.num_crops=many", "--set loader.num_crops=many: must be a whole number"),
        ("optim.lr=fast", "--set optim.lr=fast: must be a number"),
        ("model.pretrained=perhaps", "--set model.pretrained=perhaps: must be true or false"),
        ("model.crop_chunk=some", "--set model.crop_chunk=some: must be a whole number or none"),
        ("precision=fp8", "--set precision=fp8: must be one of auto, bf16, fp16, float32"),
        ("loader.shuffle=perhaps", "--set loader.shuffle=perhaps: must be one of true, false, shard"),
        ("loader.num_crop=4", "--set loader.num_crop: there is no such setting; the nearest are loader.num_crops"),
        ("loader.num_crops=0", "loader.num_crops=0 must "),
        ("optim.lr=11", "optim.lr_global=11.0 must "),
        ("epochs", "--set 'epochs' must have the form key=value"),
    ],
)
def test_overrides(override, named):
    with pytest.raises(InputError) as caught:
        apply_overrides(RunConfig(), [override])
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"loader": {"num_crops": 0}}, "loader.num_crops=0"),
        ({"loader": {"num_crop": 4}}, "unknown setting loader.num_crop"),
        ({"surprise": 4}, "unknown setting surprise"),
        ({"optim": {"lr_min": "low"}}, "optim.lr_min='low'"),
    ],
)
def test_settings_in_a_file(change, named):
    with pytest.raises(InputError) as caught:
        config_from_dict(change)
    assert named in str(caught.value)


def test_settings_come_back_from_a_file_as_they_were_written():
    """A whole number for a fractional setting keeps its text. Settings that older files lack get their defaults."""
    values: dict[str, Any] = config_to_dict(RunConfig(label_smoothing=0, optim=OptimConfig(lr_min=0)))
    assert repr(values["label_smoothing"]) == repr(values["optim"]["lr_min"]) == "0"
    again = config_from_dict(values)
    assert config_to_dict(again) == values
    assert repr(config_to_dict(again)["label_smoothing"]) == "0"
    del values["loader"]["shuffle_lanes"], values["optim"], values["precision"]
    assert config_from_dict(values) == RunConfig(label_smoothing=0)


def test_shares_are_any_numbers_and_shown_as_they_are_typed():
    assert BuildSettings(split_shares={"train": np.float64(0.5), "test": 0.5}).split_shares["train"] == 0.5
    with pytest.raises(InputError, match=r"^--split half,0\.5: must be names, each with a number$"):
        BuildSettings(split_shares={"train": "half", "test": 0.5})
