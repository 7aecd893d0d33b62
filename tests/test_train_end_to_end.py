"""``train.py`` on real shards: resumes exactly, exports the best, tells mistakes in a sentence."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

import train
from glass.config.overrides import apply_overrides
from glass.config.run_config import RunConfig
from glass.export.model_folder import load_model
from glass.measure import scoring
from glass.measure.scoring import score
from glass.presets import load_preset
from glass.train.checkpoint import CheckpointStore
from glass.train.run import train as train_run
from glass.train.step import Engine
from loaders import build_loader
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

ROOT = Path(__file__).resolve().parent.parent
# A ViT: no batch statistics, so that equal global batches give equal steps on any number of ranks.
# 12 training images: 3 batches of 4, or 2 steps of 2 + 1 micro-steps.
SETTINGS = [
    "model.global_backbone=test_vit",
    "model.dropout=0.2",
    "loader.global_batch_size=4",
    "loader.num_crops=2",
    "loader.crop_size=32",
    "loader.decode=full",
    "epochs=3",
    "optim.lr=1e-3",
    "tensorboard=false",
    "cpu_threads=1",
]
TIMES = ("images_per_s", "data_wait_s", "train_time_s", "valid_time_s", "epoch_time_s")


def settings(*overrides: str) -> RunConfig:
    return apply_overrides(load_preset("glass_tiny"), [*SETTINGS, *overrides])


def arguments(data: Path, output: Path, *overrides: str) -> list[str]:
    sets = [word for override in (*SETTINGS, *overrides) for word in ("--set", override)]
    return ["--data", str(data), "--preset", "glass_tiny", "--output", str(output), *sets]


def curve(run: Path) -> list[dict]:
    """The lines of ``metrics.jsonl`` without what depends on the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in line if name not in TIMES} for line in lines]


def weights(run: Path) -> dict[str, torch.Tensor]:
    newest = max((run / "checkpoints").glob("step-*"))
    return safetensors.torch.load_file(newest / "model.safetensors")


def assert_same_run(first: Path, second: Path) -> None:
    """To the last bit."""
    assert curve(first) == curve(second)
    own, other = weights(first), weights(second)
    assert all(torch.equal(own[name], other[name]) for name in own)


@pytest.fixture(scope="module", autouse=True)
def on_the_cpu():
    """Exact comparisons are made on the CPU, also on a machine with a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        yield


@pytest.fixture(scope="module")
def unbroken(on_the_cpu, synthetic_shards, tmp_path_factory) -> Path:
    """A run that nobody disturbed."""
    run = tmp_path_factory.mktemp("runs") / "unbroken"
    assert train.main(arguments(synthetic_shards, run)) == 0
    return run


@pytest.fixture(scope="module")
def half_way(on_the_cpu, synthetic_shards, tmp_path_factory) -> Path:
    """A run that was stopped inside its first epoch, after two steps."""
    run = tmp_path_factory.mktemp("runs") / "half"
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert train.main(arguments(synthetic_shards, run)) == 75
    return run


class Interrupted(Exception):
    """Stands for a power cut: nothing is caught or cleaned up in between."""


def at_step(monkeypatch, number: int, act) -> None:
    """Calls ``act`` when optimiser step ``number`` has been taken."""
    step, taken = Engine.step, []

    def counted(self, batches, totals):
        step(self, batches, totals)
        taken.append(None)
        if len(taken) == number:
            act()

    monkeypatch.setattr(Engine, "step", counted)


def cut_the_power():
    raise Interrupted


def test_a_run_leaves_what_it_promises(unbroken, synthetic_shards, capsys):
    record = json.loads((unbroken / "run.json").read_text())
    assert record["environment"] == {"device": "cpu", "precision": "float32", "world_size": 1, "backend": None}
    lines = curve(unbroken)
    assert [(line["epoch"], line["step"], line["train_images"]) for line in lines] == [
        (1, 3, 12),
        (2, 6, 12),
        (3, 9, 12),
    ]
    assert {name for name in lines[0] if name.startswith("lr_")} == {
        "lr_global_backbone",
        "lr_local_backbone",
        "lr_attention_pool",
        "lr_head",
    }
    assert record["finished"]["best"] in [
        json.loads(line) for line in (unbroken / "metrics.jsonl").read_text().splitlines()
    ]
    best_accuracy = max(line["valid_accuracy"] for line in lines)
    assert record["finished"]["best"]["valid_accuracy"] == best_accuracy
    assert record["backbones"] == {
        "global_backbone": {"name": "test_vit", "weights_sha256": None},
        "local_backbone": {"name": "test_vit", "weights_sha256": None},
    }
    # A finished run says so, trains nothing, and exits 0.
    before = (unbroken / "run.json").stat().st_mtime_ns
    assert train.main(arguments(synthetic_shards, unbroken)) == 0
    assert "is finished: best epoch" in capsys.readouterr().out
    assert (unbroken / "run.json").stat().st_mtime_ns == before


def test_the_exported_model_is_the_best_epoch(unbroken, synthetic_shards):
    """Scoring the validation split again gives the metrics that were written down."""
    model, config = load_model(unbroken / "model", "cpu")
    with build_loader(synthetic_shards, "valid", replace(config.loader, shuffle=False)) as loader:
        found = score(model, loader, "cpu", config.precision)
    best = json.loads((unbroken / "run.json").read_text())["finished"]["best"]
    assert len(found) == ShardDataset.open(synthetic_shards).split_rows("valid").size
    assert ((found.probability >= 0.5) == found.label).mean() == best["valid_accuracy"]
    own = torch.from_numpy(found.probability).double()
    label = torch.from_numpy(found.label).double()
    loss = torch.nn.functional.binary_cross_entropy(own, label).item()
    assert loss == pytest.approx(best["valid_loss"], rel=1e-6)


def test_equal_seeds_give_equal_runs_and_others_do_not(unbroken, synthetic_shards, tmp_path):
    train.main(arguments(synthetic_shards, tmp_path / "again"))
    assert_same_run(unbroken, tmp_path / "again")
    train.main([*arguments(synthetic_shards, tmp_path / "other", "epochs=1"), "--seed", "1"])
    assert curve(tmp_path / "other")[0]["train_loss"] != curve(unbroken)[0]["train_loss"]


@pytest.mark.parametrize("steps", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 4, 5, 8))])
def test_a_power_cut_after_any_step_changes_nothing(unbroken, synthetic_shards, tmp_path, monkeypatch, steps):
    """With a checkpoint every step the run goes on in mid-epoch; dropout and order included."""
    with monkeypatch.context() as patch:
        at_step(patch, steps, cut_the_power)
        with pytest.raises(Interrupted):
            train_run(synthetic_shards, settings(), tmp_path, checkpoint_every=1)
    assert train_run(synthetic_shards, settings(), tmp_path)
    assert_same_run(unbroken, tmp_path)


@pytest.mark.slow
def test_a_power_cut_with_checkpoints_at_epochs_only(unbroken, synthetic_shards, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        at_step(patch, 5, cut_the_power)
        with pytest.raises(Interrupted):
            train_run(synthetic_shards, settings(), tmp_path)
    assert len(curve(tmp_path)) == 1
    assert train_run(synthetic_shards, settings(), tmp_path)
    assert_same_run(unbroken, tmp_path)


def test_a_damaged_newest_checkpoint_costs_only_its_own_steps(unbroken, synthetic_shards, tmp_path, caplog):
    train_run(synthetic_shards, settings(), tmp_path, on_epoch=lambda line: line["epoch"] < 2)
    (tmp_path / "checkpoints/step-00000006/optimizer.pt").write_bytes(b"")
    assert train_run(synthetic_shards, settings(), tmp_path)
    assert "step-00000006 is damaged" in caplog.text
    assert_same_run(unbroken, tmp_path)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGUSR1, marks=pytest.mark.slow), signal.SIGINT]
)
def test_a_signal_finishes_the_step_and_the_same_command_goes_on(
    unbroken, synthetic_shards, tmp_path, monkeypatch, capsys, number
):
    command = arguments(synthetic_shards, tmp_path)
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        at_step(patch, 4, lambda: os.kill(os.getpid(), number))
        assert train.main(command) == 75
    assert "run the same command to go on" in capsys.readouterr().out
    assert signal.getsignal(number) == before
    assert (tmp_path / "checkpoints/step-00000004").is_dir()
    assert train.main(command) == 0
    assert_same_run(unbroken, tmp_path)


def test_the_second_ctrl_c_ends_at_once(synthetic_shards, tmp_path, monkeypatch):
    def press_twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    at_step(monkeypatch, 1, press_twice)
    with pytest.raises(KeyboardInterrupt):
        train.main(arguments(synthetic_shards, tmp_path))
    assert not list((tmp_path / "checkpoints").glob("step-*"))


@pytest.mark.parametrize(
    "moment", [pytest.param("the epoch's last step", marks=pytest.mark.slow), "inside the validation"]
)
def test_a_signal_before_the_end_of_the_validation_costs_no_step(
    unbroken, synthetic_shards, tmp_path, monkeypatch, moment
):
    """Validation may take longer than the time that is given before a kill."""
    command, scored, real = arguments(synthetic_shards, tmp_path), [], scoring._scored

    def signalled(*given):
        scored.append(None)
        if moment == "inside the validation" and len(scored) == 3:  # of the second epoch
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(scoring, "_scored", signalled)
        if moment == "the epoch's last step":
            at_step(patch, 6, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert train.main(command) == 75
    assert len(curve(tmp_path)) == 1
    assert (tmp_path / "checkpoints/step-00000006").is_dir()
    at_step(monkeypatch, 4, cut_the_power)  # three steps are left
    assert train.main(command) == 0
    assert_same_run(unbroken, tmp_path)


def spoilt_random(training):
    training["random"][0]["torch"] = torch.zeros(3, dtype=torch.uint8)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda training: training.pop("totals"),
        pytest.param(lambda training: training["progress"].update(surprise=1), marks=pytest.mark.slow),
        pytest.param(lambda training: training["progress"].update(step="3"), marks=pytest.mark.slow),
        pytest.param(
            lambda training: training["progress"].update(history=[{"loss": float("nan")}]), marks=pytest.mark.slow
        ),
        pytest.param(lambda training: training["schedule"].update(step=1), marks=pytest.mark.slow),
        pytest.param(lambda training: training["random"][0].update(python=(3, (1, 2), None)), marks=pytest.mark.slow),
        lambda training: training["loader"].update(batches_consumed=-7),
        pytest.param(lambda training: training.update(loader=[]), marks=pytest.mark.slow),
        spoilt_random,
    ],
)
def test_a_checkpoint_of_another_structure_is_refused(spoil, synthetic_shards, tmp_path, half_way):
    """With hashes that are right, as whoever writes one can make them."""
    shutil.copytree(half_way, tmp_path / "run")
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    model, optimizer, training = store.read(store.newest())
    spoil(training)
    store.save(2, model, optimizer, training)
    with pytest.raises(InputError, match=r"(?s)step-00000002 .* state|cannot resume the loader"):
        train_run(synthetic_shards, settings(), tmp_path / "run")


@pytest.mark.slow  # that micro-steps add up to a batch is tested in test_glass_engine
def test_micro_steps_give_the_same_run(synthetic_shards, tmp_path):
    """Batches of 8, or four micro-steps of 2; the epoch's 12 images are no multiple of either."""
    for name, size, steps in (("whole", 8, 1), ("parts", 2, 4)):
        overrides = [f"loader.global_batch_size={size}", f"grad_accum_steps={steps}"]
        config = settings(*overrides, "model.dropout=0", "epochs=2")
        assert train_run(synthetic_shards, config, tmp_path / name)
    whole, parts = curve(tmp_path / "whole"), curve(tmp_path / "parts")
    for one, other in zip(whole, parts, strict=True):
        assert one["step"] == other["step"]
        for name in ("train_loss", "valid_loss"):
            assert one[name] == pytest.approx(other[name], rel=1e-4)


def test_the_baseline_and_tensorboard(synthetic_shards, tmp_path):
    config = apply_overrides(load_preset("single_view_tiny"), ["loader.global_batch_size=8", "epochs=1"])
    assert train_run(synthetic_shards, config, tmp_path)
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
    assert load_model(tmp_path / "model", "cpu")[1].model.kind == "single_view"


def test_a_loss_that_is_no_number_ends_the_run_with_advice(synthetic_shards, tmp_path):
    # Decay by 1 - 10 * 10 a step: on any machine the weights pass every number within 20 steps.
    changes = settings("optim.lr=10", "optim.wd=10", "epochs=30")
    # Where the last steps of an epoch only make them huge, the validation's scores tell.
    with pytest.raises(InputError, match=r"(loss became|no longer finite) .*optim\.lr"):
        train_run(synthetic_shards, changes, tmp_path)


class TestMistakes:
    """Exit code 2 and one sentence, before anything slow happens."""

    def refused(self, words: str, *command: str) -> None:
        with pytest.raises(InputError, match=words) as caught:
            train.main(list(command))
        assert "\n" not in str(caught.value)

    def test_nothing_given(self):
        self.refused(r"nothing to train on: run python -m scripts\.build_shards SRC OUT, then")

    def test_no_preset_or_output(self, synthetic_shards):
        data = ["--data", str(synthetic_shards)]
        self.refused("give --preset, one of glass_convnext_tiny, ", *data)
        self.refused("give --output", *data, "--preset", "glass_tiny")

    def test_unknown_preset_and_setting(self, synthetic_shards, tmp_path):
        command = ["--data", str(synthetic_shards), "--output", str(tmp_path / "run")]
        self.refused("no preset called 'glas'", *command, "--preset", "glas")
        self.refused("no such setting", *arguments(synthetic_shards, tmp_path / "run", "lr=1"))
        assert not (tmp_path / "run").exists()

    def test_no_data_set(self, tmp_path):
        self.refused("nowhere", *arguments(tmp_path / "nowhere", tmp_path / "run"))

    def test_checkpoints_every_zero_steps(self, synthetic_shards, tmp_path):
        command = arguments(synthetic_shards, tmp_path / "run")
        self.refused("--checkpoint-every 0", *command, "--checkpoint-every", "0")

    def test_views_of_another_size_than_the_shards_hold(self, synthetic_shards, tmp_path):
        """And the folder may be used again with the right setting."""
        wrong = arguments(synthetic_shards, tmp_path / "run", "loader.global_size=96")
        self.refused(r"global_size=96.*64: give --set loader\.global_size=64", *wrong)
        assert not (tmp_path / "run").exists()
        assert train.main(arguments(synthetic_shards, tmp_path / "run", "epochs=1")) == 0

    def test_views_that_a_backbone_does_not_take(self, synthetic_shards, tmp_path):
        """Before a folder is made or weights are fetched."""
        wrong = ["loader.crop_size=40", "model.pretrained=true"]
        self.refused(
            r"crop_size=40 does not fit test_vit.*: 32 and 48 would fit",
            *arguments(synthetic_shards, tmp_path / "run", *wrong),
        )
        assert not (tmp_path / "run").exists()

    def test_a_split_that_is_not_there(self, synthetic_shards, tmp_path):
        self.refused("calibration", *arguments(synthetic_shards, tmp_path / "run", "valid_split=calibration"))

    def test_the_folder_of_another_run(self, unbroken, synthetic_shards):
        self.refused(
            "holds a run with model.dropout=0.2, not 0.1", *arguments(synthetic_shards, unbroken, "model.dropout=0.1")
        )

    def test_a_checkpoint_of_another_model(self, unbroken, synthetic_shards, tmp_path):
        """Copied into a run's folder by hand: the tensor that does not fit is named."""
        config = settings("model.attention_dim=32")
        train_run(synthetic_shards, config, tmp_path, on_epoch=lambda line: False)
        mine = max((tmp_path / "checkpoints").glob("step-*"))
        other = max((unbroken / "checkpoints").glob("step-*"))
        for path in other.iterdir():
            (mine / path.name).write_bytes(path.read_bytes())
        with pytest.raises(InputError, match=r"another model: attention_pool\.score\.0\.weight"):
            train_run(synthetic_shards, config, tmp_path)


# -- real processes ------------------------------------------------------------------------------

PATIENCE_S = 600
"""They need half a minute; shared machines have been seen to stand still for three."""


def start(command: list[str], **options) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def torchrun(data: Path, output: Path, *overrides: str) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*launcher, "--nproc-per-node=2", "train.py", *arguments(data, output, *overrides)]


def assert_close_runs(first: Path, second: Path, tolerance: float = 1e-5) -> None:
    """The same global batches, summed in another order: 1e-7 apart, growing with the steps."""
    for one, other in zip(curve(first), curve(second), strict=True):
        for name in ("train_loss", "valid_loss"):
            assert one[name] == pytest.approx(other[name], rel=tolerance)
        assert (one["step"], one["train_images"]) == (other["step"], other["train_images"])


@pytest.mark.slow
def test_two_processes_do_what_one_does(synthetic_shards, tmp_path):
    """Two micro-steps per step; the last step of an epoch has one."""
    overrides = ["model.dropout=0", "grad_accum_steps=2"]
    two = start(torchrun(synthetic_shards, tmp_path / "two", *overrides))
    output, errors = two.communicate(timeout=PATIENCE_S)
    assert two.returncode == 0, errors
    assert output.count("finished: best epoch") == 1  # one process speaks
    assert "2 processes over gloo" in errors
    record = json.loads((tmp_path / "two/run.json").read_text())
    assert record["environment"]["world_size"] == 2
    assert train_run(synthetic_shards, settings(*overrides), tmp_path / "one")
    assert_close_runs(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_with_one(synthetic_shards, tmp_path):
    """SIGTERM to the launcher, as a cluster sends it; the curves are those of an unbroken run."""
    overrides = ["model.dropout=0", "epochs=20", "loader.global_batch_size=2", "optim.lr=1e-4"]
    two = start(torchrun(synthetic_shards, tmp_path / "two", *overrides))
    deadline = time.monotonic() + PATIENCE_S
    while not (tmp_path / "two/metrics.jsonl").exists():
        assert two.poll() is None, two.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    two.send_signal(signal.SIGTERM)
    two.communicate(timeout=PATIENCE_S)
    done = curve(tmp_path / "two")
    assert 0 < len(done) < 20
    assert train_run(synthetic_shards, settings(*overrides), tmp_path / "two")
    assert train_run(synthetic_shards, settings(*overrides), tmp_path / "one")
    assert_close_runs(tmp_path / "one", tmp_path / "two", tolerance=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("config_file", [True, False])
def test_accelerate_launch_with_and_without_our_file(unbroken, synthetic_shards, tmp_path, config_file):
    """The file unedited, and no file at all: the same run, in the preset's precision."""
    launcher = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--quiet"]
    flag = ["--config_file", "accelerate_config.yaml"] if config_file else []
    command = [*launcher, *flag, "train.py", *arguments(synthetic_shards, tmp_path)]
    process = start(command)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    assert "float32" in errors
    assert_close_runs(unbroken, tmp_path)


@pytest.mark.slow
def test_a_process_that_ends_before_the_main_one_needs_no_outcome(synthetic_shards, tmp_path, monkeypatch):
    """The main process writes it; another one may be done before, and an error of it would end both."""
    monkeypatch.setattr(train, "RANK", 1)
    monkeypatch.setattr("glass.train.run.train", lambda *_, **__: True)
    arguments = ["--data", str(synthetic_shards), "--preset", "glass_tiny", "--output", str(tmp_path / "run")]
    assert train.main(arguments) == 0


@pytest.mark.slow
def test_a_mistake_is_told_once_by_two_processes(synthetic_shards, tmp_path):
    process = start(torchrun(synthetic_shards, tmp_path / "run", "loader.global_size=96"))
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode != 0
    assert errors.count("error: loader.global_size=96") == 1
    assert 'File "train.py"' not in errors
    assert f'File "{ROOT}/glass' not in errors
