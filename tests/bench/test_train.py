"""``bench train`` on small data."""

import json
from types import SimpleNamespace

import pytest
from accelerate import Accelerator
from torch.nn import functional

from bench import train
from bench.harness.schemas import check_result
from bench.harness.table import print_step_times
from glass.config.overrides import apply_overrides
from glass.presets import load_preset
from shards.errors import InputError

pytestmark = pytest.mark.usefixtures("quick_look")

QUICK = ["--presets", "glass_tiny", "--batch", "2", "--steps", "2", "--threads", "1"]
SMALL = ["--set", "loader.crop_size=32", "--set", "loader.num_crops=2"]


def last_line(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_parts_of_a_step_add_up(synthetic_shards, tmp_path, capsys):
    arguments = ["--data", str(synthetic_shards), *QUICK, *SMALL, "--output", str(tmp_path)]
    assert train.main([*arguments, "--rounds", "2"]) == 0
    document = last_line(capsys)
    check_result("train", document)
    assert json.loads((tmp_path / "train.json").read_text()) == document
    (row,) = document["rows"]
    assert (row["num_crops"], row["rounds"], row["steps"]) == (2, 2, 2)
    assert row["settings"] == ["loader.crop_size=32", "loader.num_crops=2"]
    assert min(row[name] for name in train.PARTS[1:]) > 0
    for name, (low, high) in row["ranges"].items():
        assert low <= row[name] <= high
    rates = {"images_per_s", "loader_images_per_s", "share_of_loader"}
    assert set(row["ranges"]) == {"step_s", *train.PARTS, *rates}


def test_rates_are_medians_of_rounds_and_shares_are_taken_round_by_round():
    def step(seconds):
        return dict.fromkeys(train.PARTS, seconds / 4)

    turns = [([step(1.0), step(3.0)], 8.0), ([step(4.0)], 2.0), ([step(1.0)], 16.0)]
    found = train._figures(turns, batch=4)
    assert found["step_s"] == 2.0  # of 1, 3, 4 and 1
    assert found["ranges"]["step_s"] == [1.0, 4.0]
    assert found["images_per_s"] == 2.0  # of 2, 1 and 4
    assert found["share_of_loader"] == 0.25  # of 2/8, 1/2 and 4/16
    assert found["ranges"]["share_of_loader"] == [0.25, 0.5]


def test_tables_of_steps_fit_and_wrap_no_number(capsys):
    row = {"preset": "glass_convnext_tiny", "batch_size": 256, "num_crops": 16, "ranges": {}}
    rates = ("images_per_s", "loader_images_per_s", "share_of_loader")
    for name in ("step_s", *train.PARTS, *rates):
        row[name], row["ranges"][name] = 2.345, [1.234, 12.345]
    print_step_times([row], train.PARTS)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 130
    assert out.count("100%") == 4
    assert out.count("1,234–12,345") == 5
    assert out.count("1.23–12.3") == 3


def test_the_loss_counts_with_the_forward_pass(synthetic_dataset, monkeypatch):
    """The time of the loss counts as forward, that of gradient clipping as backward, and neither as optimiser."""
    now = 0.0

    def clock():
        nonlocal now
        now += 1e-6
        return now

    def give_time(owner, name, seconds):
        """Makes ``owner.name`` take ``seconds`` by the bench's clock."""
        real = getattr(owner, name)

        def timed(*arguments, **named):
            nonlocal now
            now += seconds
            return real(*arguments, **named)

        monkeypatch.setattr(owner, name, timed)

    monkeypatch.setattr(train, "time", SimpleNamespace(perf_counter=clock))
    give_time(functional, "cross_entropy", 20.0)
    give_time(Accelerator, "clip_grad_norm_", 10.0)
    config = apply_overrides(
        load_preset("glass_tiny"),
        [
            "loader.crop_size=32",
            "loader.num_crops=1",
            "loader.global_size=64",
            "cpu_threads=1",
            "loader.num_threads=1",
            "loader.global_batch_size=2",
            "optim.clip_grad_norm=1",
            "tensorboard=false",
        ],
    )
    row = train.measure_steps(synthetic_dataset, config, steps=1, rounds=1)
    parts = {name: round(row[name], 3) for name in train.PARTS}
    assert parts == {"data_wait_s": 0.0, "forward_s": 20.0, "backward_s": 10.0, "optimiser_s": 0.0}


def test_too_few_images_are_reported(synthetic_shards):
    with pytest.raises(InputError, match="fewer --steps"):
        train.main(["--data", str(synthetic_shards), *QUICK[:4], "--steps", "99", *SMALL])


def test_settings_that_no_measured_step_has_are_refused(synthetic_shards):
    """Rows record the settings that were given, and these would have changed nothing."""
    for setting in ("grad_accum_steps=2", "train.ema=0.9"):
        with pytest.raises(InputError, match=f"--set {setting.partition('=')[0]}: .*leave it out"):
            train.main(["--data", str(synthetic_shards), "--set", setting])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch", "4", "--set", "loader.global_batch_size=8"], "--batch 4 contradicts --set loader.global_batch"),
        (["--set", "cpu_threads=1"], "--set cpu_threads: this command sets cpu_threads itself: give --threads"),
    ],
)
def test_a_setting_that_an_option_sets_is_refused(words, message):
    with pytest.raises(InputError, match=message):
        train.main(["--data", "none", *words])
