"""``--config run.toml`` takes effect after the preset and before ``--set``. The file that a run writes repeats that
run."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import train
from glass.config.overrides import apply_overrides, flat_settings, setting_names
from glass.config.run_config import RunConfig, config_to_dict
from glass.config.run_file import read_run_file, run_file_text
from glass.presets import load_preset, preset_names
from scripts import presets
from shards.errors import InputError

QUICK = [
    "model.global_backbone=test_vit",
    "loader.global_batch_size=12",
    "epochs=1",
    "tensorboard=false",
    "cpu_threads=1",
]


def asked(*words: object) -> RunConfig:
    return train.settings(train.parse(["--data", "d", "--output", "o", *map(str, words)]))


def written(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text)
    return path


def test_a_run_writes_the_file_that_repeats_it(synthetic_shards, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    first = tmp_path / "first"
    sets = [word for setting in QUICK for word in ("--set", setting)]
    command = ["--data", str(synthetic_shards), "--output", str(first), "--preset", "single_view_tiny"]
    command += ["--seed", "7", *sets]
    assert train.main(command) == 0
    own = json.loads((first / "run.json").read_text())["config"]
    assert own["seed"] == own["loader"]["seed"] == 7
    read = asked("--config", first / "run.toml")
    assert json.loads(json.dumps(config_to_dict(read))) == own
    assert run_file_text(read) == (first / "run.toml").read_text()


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_its_file(name, tmp_path, capsys):
    assert presets.main([name]) == 0
    assert asked("--config", written(tmp_path, capsys.readouterr().out)) == load_preset(name)


@settings(max_examples=10)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
        lambda text: text.lower() not in ("none", "null")
    ),
    rate=st.floats(0, 10),
    seed=st.integers(0, 2**63 - 1),
    flag=st.booleans(),
)
def test_any_values_come_back(text, rate, seed, flag, tmp_path_factory):
    config = load_preset("glass_tiny")
    config = replace(
        config,
        model=replace(config.model, global_weights=text, pretrained=flag, crop_chunk=None),
        optim=replace(config.optim, lr_min=rate),
        seed=seed,
    )
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(run_file_text(config), newline="")
    assert read_run_file(path, None, load_preset, [f"model.global_weights={text}"]) == config


def test_every_setting_is_in_the_file():
    text = run_file_text(load_preset("glass_tiny"))
    settings = set(flat_settings(config_to_dict(RunConfig()))) - {"preset"}
    assert settings <= set(setting_names(RunConfig()))
    assert all(f"\n{key.rpartition('.')[2]} = " in text for key in settings)


def test_preset_then_file_then_set(tmp_path):
    path = written(tmp_path, 'preset = "glass_tiny"\nepochs = 5\nseed = 3\n[optim]\nlr = 1e-3\n')
    config = asked("--config", path, "--set", "epochs=2")
    assert (config.preset, config.epochs, config.seed) == ("glass_tiny", 2, 3)
    assert config.optim.lr_global == config.optim.lr_head == 1e-3
    assert config.loader == load_preset("glass_tiny").loader
    assert asked("--config", path, "--seed", 9).seed == 9
    for words in (["--seed", 9, "--set", "seed=8"], ["--augment", "--set", "loader.augment=0"]):
        with pytest.raises(InputError, match=r"--(seed 9|augment 0\.5) contradicts --set .*: leave one of them out"):
            asked("--config", path, *words)
    for without in ("epochs = 4\n", 'preset = ""\nepochs = 4\n', "\ufeffepochs = 4\n"):  # as Notepad writes it
        assert asked("--config", written(tmp_path, without), "--preset", "single_view_tiny").epochs == 4


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('preset = "glass_tiny"\nepoch = 3', "own.toml: epoch: there is no such setting; the nearest are epochs"),
        ('preset = "glass_tiny"\n[optim]\nlr_hed = 3', "own.toml: optim.lr_hed: there is no such setting"),
        ('preset = "glass_tiny"\nepochs = "many"', "own.toml: epochs=many: must be a whole number"),
        ('preset = "glass_tiny"\nepochs = 0', "epochs=0 must lie between 1 and"),
        ('preset = "glass_tiny"\nepochs = [3]', "own.toml: epochs: a setting must be a text, a number, true or false"),
        ('preset = "glass_tiny"\nepochs = 1979-05-27', "own.toml: epochs: a setting must be a text"),
        ('format_version = 2\npreset = "glass_tiny"', "own.toml has format_version 2, this version reads 1: use"),
        ('preset = "nothing"', "there is no preset called 'nothing'"),
        ("preset = 3", "own.toml: preset=3: must be the name of a preset"),
        ("epochs = 3", "own.toml names no preset: give --preset"),
        ("epochs = = 3", "own.toml is not a TOML file of settings: Invalid value"),
        ("x = " + "[" * 5000, "own.toml is not a TOML file of settings: it is nested too deeply"),
        ("[" + "a." * 3000 + "a]\nb = 1", "own.toml is not a TOML file of settings: it is nested too deeply"),
        ("epochs = 0x" + "f" * 5000, "own.toml is not a TOML file of settings: it has a number of more than 63 bits"),
        (
            "format_version = 0x" + "f" * 5000,
            "own.toml is not a TOML file of settings: it has a number of more than 63 bits",
        ),
        ("# " + "x" * (1 << 20), "own.toml is not a TOML file of settings: it has more than 1,048,576 bytes"),
    ],
)
def test_a_wrong_file_is_one_sentence(text, sentence, tmp_path):
    with pytest.raises(InputError) as error:
        asked("--config", written(tmp_path, text))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.global_backbone", "hf-hub:stranger/network"),
        ("model.local_backbone", "local-dir:/home/somebody"),
        ("model.local_weights", "/home/somebody/weights.pth"),
        ("train.trackers", "wandb"),
    ],
)
def test_a_file_of_a_stranger_names_nothing_elsewhere(tmp_path, key, value):
    section, name = key.split(".")
    path = written(tmp_path, f'preset = "glass_lite0"\n[{section}]\n{name} = "{value}"')
    with pytest.raises(
        InputError, match=rf"own\.toml asks for files.* \({key}={value}\): .*--set {key}={value} beside --config"
    ):
        asked("--config", path)
    config = asked("--config", path, "--set", f"{key}={value}")
    assert flat_settings(config_to_dict(config))[key] == value


def test_all_that_is_elsewhere_is_named_and_quoted_for_a_shell(tmp_path):
    text = 'preset = "glass_lite0"\n[model]\nglobal_backbone = "hf-hub:a/b $(c)"\nlocal_backbone = "hf-hub:a/b"\n'
    with pytest.raises(InputError) as caught:
        asked("--config", written(tmp_path, text))
    assert str(caught.value).endswith(
        "give --set 'model.global_backbone=hf-hub:a/b $(c)' --set model.local_backbone=hf-hub:a/b beside --config"
    )


def test_a_run_that_lost_its_crops_is_repeated(tmp_path):
    """The run's file contains settings of crops that ``--set`` would refuse for a model without crops."""
    path = written(tmp_path, 'preset = "glass_tiny"\n[model]\nlocal_high_pass = true\n')
    config = asked("--config", path, "--set", "model.kind=single_view")
    assert asked("--config", written(tmp_path, run_file_text(config))) == config


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"gone\.toml cannot be read: No such file"):
        asked("--config", tmp_path / "gone.toml")
    with pytest.raises(InputError, match=r"cannot be read: not a regular file, but a folder"):
        asked("--config", tmp_path)
    path = tmp_path / "latin.toml"
    path.write_bytes(b'preset = "caf\xe9"')
    with pytest.raises(InputError, match=r"latin\.toml is not a TOML file of settings: 'utf-8'"):
        asked("--config", path)


def test_a_file_of_another_preset_is_refused(tmp_path):
    path = written(tmp_path, 'preset = "glass_tiny"')
    with pytest.raises(
        InputError, match="has the settings of preset 'glass_tiny', not 'single_view_tiny': leave out --preset"
    ):
        asked("--config", path, "--preset", "single_view_tiny")


def test_a_path_that_is_no_text_is_named():
    with pytest.raises(InputError, match=r"caf.*is not UTF-8, so it cannot be stored in run\.toml"):
        run_file_text(apply_overrides(load_preset("glass_tiny"), ["model.global_weights=caf\udce9"]))


def test_presets_are_listed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert presets.main([]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in preset_names())
    assert "64 + 4 × 64" in text
    with pytest.raises(InputError, match="--set changes the settings of a preset: give its NAME"):
        presets.main(["--set", "epochs=3"])


def test_presets_take_changes(capsys):
    assert presets.main(["glass_tiny", "--set", "train.ema=0.99"]) == 0
    assert "\n[train]\n" in (text := capsys.readouterr().out)
    assert "\nema = 0.99\n" in text
    assert '\npatience = "none"\n' in text


def test_a_misspelt_preset_is_answered_with_the_one_meant():
    with pytest.raises(InputError, match=r"no preset called 'glas_tiny': did you mean glass_tiny\?"):
        load_preset("glas_tiny")
