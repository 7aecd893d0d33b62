"""The study's commands: defaults, what they refuse, and what happens when they are run again."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import glass.presets
import glass.studies.final_runs
import glass.studies.search
import glass.studies.training_cost
from glass.config.overrides import apply_overrides
from glass.presets import load_preset, preset_names
from glass.studies import budgets, device_memory
from glass.studies.crop_study import CropPlan, finished_crop_study
from glass.studies.final_runs import FinalPlan, is_finished
from glass.studies.plan import check_trainable, settle_plan
from glass.studies.search import Search
from glass.studies.search_space import GLASS_SPACE, SearchPlan, changed_space
from glass.studies.study import Study
from glass.studies.training_cost import baseline_memory
from loaders.reading.open_shards import OpenShards
from scripts import crop_study, final_runs, study, tune
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from tests.runs.least_study import (
    SETTINGS,
    Killed,
    fake_training,
    killed_at,
    least_budget,
    make_up_memory,
    without_times,
)


def _dies(*_):
    raise Killed


COMMANDS = {
    "tune": (tune, ["--preset", "glass_tiny"]),
    "final_runs": (final_runs, ["--preset", "glass_tiny"]),
    "crop_study": (crop_study, ["--preset", "glass_tiny"]),
    "study": (study, []),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_launcher_of_several_processes_is_refused(synthetic_shards, tmp_path, monkeypatch, name):
    monkeypatch.setenv("WORLD_SIZE", "2")
    module, words = COMMANDS[name]
    out = tmp_path / "out"
    with pytest.raises(InputError, match=rf"glass {name.replace('_', '-')} runs in one process, but WORLD_SIZE is 2"):
        module.main(["--data", str(synthetic_shards), "--output", str(out), *words])
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "setting", "instead"),
    [
        ("final_runs", "epochs=3", "--epochs"),
        ("final_runs", "seed=3", "--seeds"),
        ("final_runs", "loader.seed=3", "--seeds"),
        ("final_runs", "train_split=train", "--hold-out"),
        ("final_runs", "valid_split=test", "--hold-out"),
        ("final_runs", "loader.device=cpu", "--device"),
        ("tune", "epochs=3", "--epochs"),
        ("tune", "select_by=loss", "--metric"),
        ("tune", "loader.num_crops=3", "--search num_crops="),
        ("tune", "tensorboard=true", "no TensorBoard logs"),
        ("tune", "loader.global_batch_size=3", "--search batch="),
        ("tune", "optim.lr=1e-3", "--search lr_global="),
        ("tune", "label_smoothing=0.1", "--search label_smoothing="),
        ("crop_study", "epochs=3", "--epochs"),
        ("crop_study", "loader.num_crops=3", "--crops"),
        ("crop_study", "loader.global_batch_size=3", "--batch"),
        ("crop_study", "tensorboard=true", "no TensorBoard logs"),
    ],
)
def test_what_a_command_sets_itself_is_not_taken_from_set(synthetic_shards, tmp_path, name, setting, instead):
    module, words = COMMANDS[name]
    arguments = ["--data", str(synthetic_shards), "--output", str(tmp_path / "out"), *words]
    if setting.startswith("label_smoothing"):
        arguments += ["--search", "label_smoothing=0.0,0.1"]
    key = setting.partition("=")[0]
    with pytest.raises(InputError, match=rf"^--set {key}: .*{instead}"):
        module.main([*arguments, "--set", setting])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_cannot_be_written_to_is_reported(synthetic_shards, name):
    module, words = COMMANDS[name]
    with pytest.raises(InputError, match=r"/proc cannot be written to .*give another --output"):
        module.main(["--data", str(synthetic_shards), "--output", "/proc", *words])


def test_a_plan_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "nowhere"):
        with pytest.raises(InputError, match=r"the plan .* cannot be written .*another --output"):
            settle_plan(folder / "plan.json", "a study", {})


def begun(kind: str, data: OpenShards, output: Path, *overrides: str, **changes) -> None:
    """Begins the search, final runs, crop study or baseline measurement named by ``kind`` in ``output``, and stops
    before its first training."""
    config = apply_overrides(load_preset("glass_tiny"), [*SETTINGS, *overrides])
    output.mkdir(exist_ok=True)
    if kind == "tune":
        plan = SearchPlan(config, changed_space(GLASS_SPACE, config, ["batch=4"]))
        Search(data, plan, output, f"journal:///{output}/study.log")  # ten times faster than a database
    elif kind == "final_runs":
        plan = FinalPlan(config, **{"seeds": (100,), "hold_out": 0.25} | changes)
        assert not is_finished(plan, output, data)
    elif kind == "crop_study":
        assert finished_crop_study(CropPlan(config, crops=(1, 2)), output, data) is None
    else:
        config = apply_overrides(load_preset("single_view_tiny"), overrides)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(device_memory, "training_memory", _dies)
            with pytest.raises(Killed):
                baseline_memory(data, config, 1, output)


WRONG = [
    ("loader.global_size=96", "train with --set loader.global_size=64"),
    ("model.global_backbone=test_resne", "no backbone called 'test_resne'"),
    ("loader.sampling=test", "loader.sampling='test'"),
    ("model.global_weights=nowhere.safetensors", "nowhere.safetensors"),
]
KINDS = ["tune", "final_runs", "crop_study", "baseline"]


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        pytest.param(kind, *wrong, marks=[] if kind == KINDS[place] else pytest.mark.slow)
        for place, wrong in enumerate(WRONG)
        for kind in KINDS
    ],
)
def test_what_an_error_advises_is_not_refused_afterwards(synthetic_dataset, tmp_path, kind, wrong, message):
    """No plan is written for settings that cannot be trained."""
    with OpenShards(synthetic_dataset) as data:
        with pytest.raises(InputError, match=message):
            begun(kind, data, tmp_path / "out", wrong)
        begun(kind, data, tmp_path / "out")


@pytest.mark.parametrize("seeds", ["1,1", "1,01", "-1", "x", "1,", "9" * 23, "9223372036854775808"])
def test_seeds_that_are_none_are_reported(seeds, capsys):
    with pytest.raises(SystemExit) as stopped:
        final_runs._parse(["--data", "d", "--preset", "glass_tiny", f"--seeds={seeds}"])
    assert stopped.value.code == 2
    assert "different whole numbers below" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "message"), [({"hold_out": 0.0001}, "give another --hold-out"), ({"seeds": (100, 10**22)}, "seed")]
)
def test_a_plan_of_final_runs_that_cannot_be_is_not_written_down(synthetic_dataset, tmp_path, wrong, message):
    with OpenShards(synthetic_dataset) as data:
        with pytest.raises(InputError, match=message):
            begun("final_runs", data, tmp_path / "out", **wrong)
        begun("final_runs", data, tmp_path / "out")
        with pytest.raises(InputError, match="seed"):
            begun("final_runs", data, tmp_path / "out", seeds=(100, 10**22))
        begun("final_runs", data, tmp_path / "out")


@pytest.fixture(scope="module")
def larger_shards(synthetic_images, tmp_path_factory) -> Path:
    """Shards whose global views have another size than that of the tiny presets."""
    out = tmp_path_factory.mktemp("larger") / "shards"
    shares = {"train": 0.4, "valid": 0.3, "test": 0.3}
    build_dataset(synthetic_images, out, BuildSettings(shares, global_size=224), progress=False)
    return out


@pytest.mark.parametrize(
    "model",
    [  # of its families of networks, one
        pytest.param(model, id=model.name, marks=[] if model.name.endswith("_vit") else pytest.mark.slow)
        for model in budgets.BUDGETS["tiny"].models
    ],
)
def test_the_tiny_study_takes_shards_as_they_are_built_by_default(small_images, tmp_path, model):
    """The README builds shards with these defaults, and ``study`` has no option ``--set`` to change sizes."""
    settings = BuildSettings({"train": 0.4, "valid": 0.3, "test": 0.3}, global_size=224)
    build_dataset(small_images, tmp_path / "out", settings, progress=False)
    dataset = ShardDataset.open(tmp_path / "out")
    config = budgets.BUDGETS["tiny"].config(model, dataset)
    assert config.loader.global_size == 224
    assert config.loader.crop_size == 64
    check_trainable(dataset, config)


def test_the_papers_study_names_the_size_that_it_needs(synthetic_shards, tmp_path):
    words = ["--data", str(synthetic_shards), "--output", str(tmp_path / "out"), "--budget"]
    with pytest.raises(InputError, match=r"--budget paper .*glass build --global-size 224$"):
        study.main([*words, "paper"])
    assert list((tmp_path / "out").iterdir()) == []


def test_a_study_that_cannot_be_is_reported_before_its_first_search(synthetic_shards, tmp_path, monkeypatch):
    tiny = budgets.BUDGETS["tiny"]
    monkeypatch.setitem(budgets.BUDGETS, "tiny", replace(tiny, hold_out=1e-6, models=tiny.models[:1]))
    words = ["--data", str(synthetic_shards), "--output", str(tmp_path / "out")]
    with pytest.raises(InputError, match=r"leave final_valid empty: give a data set with"):
        study.main([*words, "--budget", "tiny"])
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_a_study_of_larger_views_runs_to_its_end(larger_shards, tmp_path, cut_down):
    words = ["--data", str(larger_shards), "--budget", "tiny", "--output", str(tmp_path)]
    assert study.main(words) == 0
    document = json.loads((tmp_path / "study.json").read_text())
    assert document["results"][0]["final"]["config"]["loader"]["global_size"] == 224


@pytest.mark.parametrize(
    ("number", "count", "visible", "gpu"),
    [
        (1, 2, None, "1"),
        (3, 2, None, "1"),
        (1, 1, None, None),
        (1, 0, "", None),
        (1, 2, "4,5", "5"),
        (2, 2, "4, 5", "4"),
        (1, 2, "GPU-a,GPU-b", "GPU-b"),
        (1, 1, "7", None),
        (2, 2, "0,1,-1,3", "0"),  # CUDA sees those in front of the first that is none
    ],
)
def test_workers_share_the_gpus_that_are_visible(number, count, visible, gpu):
    assert tune.gpu_of_worker(number, count, visible) == gpu


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_gpu_that_is_not_there_is_reported(synthetic_shards, tmp_path: Path, name):
    module, words = COMMANDS[name]
    arguments = ["--data", str(synthetic_shards), "--output", str(tmp_path), *words]
    with pytest.raises(InputError, match="this machine has no CUDA device"):
        module.main([*arguments, "--device", "cuda"])


def test_defaults_are_the_studys():
    words = ["--data", "d", "--preset", "glass_resnet50"]
    searched = tune.parse(words)
    assert (searched.trials, searched.epochs, searched.min_epochs) == (100, 25, 5)
    assert searched.metric == "accuracy"
    final = final_runs._parse(words)
    assert (final.seeds, final.epochs) == ((100, 200, 300, 400, 500), 50)
    assert final.hold_out == 0.05
    crops = crop_study._parse(words)
    assert crops.crops == tuple(range(1, 17))
    assert (crops.batch, crops.epochs, crops.steps) == (32, 25, None)
    assert study.parser().parse_args(["--data", "d", "--output", "o"]).budget == "paper"


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_short(name):
    """A model is defined by a preset, not by a copy of code."""
    file = Path(glass.presets.__path__[0]) / f"{name}.py"
    assert len(file.read_text().splitlines()) <= 40


@pytest.mark.slow  # the plots themselves are tested in glass/report
@pytest.mark.usefixtures("undrawn")
def test_a_finished_search_has_its_plots_again(synthetic_shards, tmp_path, monkeypatch):
    """If a search was killed after it wrote tuning.json, its plots are missing. They are made when the command is run
    again."""
    monkeypatch.setattr(glass.studies.search, "train", fake_training())
    words = ["--data", str(synthetic_shards), "--preset", "glass_tiny", "--output", str(tmp_path)]
    words += ["--trials", "3", "--epochs", "2", "--min-epochs", "1"]
    assert tune.main(words) == 0
    plots = {path: path.read_text() for path in tmp_path.glob("*.svg")}
    assert len(plots) >= 2
    for path in plots:
        path.unlink()
    assert tune.main([*words, "--as-worker"]) == 0
    assert not list(tmp_path.glob("*.svg"))  # that is another process's work
    assert tune.main(words) == 0
    assert {path: path.read_text() for path in tmp_path.glob("*.svg")} == plots


@pytest.mark.slow  # a process
@pytest.mark.usefixtures("undrawn")
def test_a_worker_that_dies_is_reported(synthetic_shards, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(glass.studies.search, "train", fake_training())
    dies = [sys.executable, "-c", "raise SystemExit(9)"]
    monkeypatch.setattr(tune, "_start_worker", lambda words, number: subprocess.Popen(dies))
    words = ["--data", str(synthetic_shards), "--preset", "glass_tiny", "--output", str(tmp_path)]
    words += ["--trials", "2", "--epochs", "2", "--min-epochs", "1", "--workers", "2"]
    words += ["--storage", f"journal:///{tmp_path}/study.log"]  # ten times faster than a database
    assert tune.main(words) == 0
    out = capsys.readouterr().out
    assert "worker 1 ended with exit code 9; its trials were left to the other workers" in out
    assert json.loads((tmp_path / "tuning.json").read_text())["states"]["complete"] == 2


@pytest.mark.slow
def test_a_finished_crop_study_has_its_plots_again(synthetic_shards, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    make_up_memory(monkeypatch)
    words = ["--data", str(synthetic_shards), "--preset", "glass_tiny", "--output", str(tmp_path)]
    words += ["--crops", "1,2", "--steps", "1", "--batch", "4", "--set", "loader.crop_size=32"]
    assert crop_study.main(words) == 0
    plots = {path: path.read_text() for path in tmp_path.glob("*.svg")}
    assert len(plots) == 5
    for path in plots:
        path.unlink()
    assert crop_study.main(words) == 0
    assert {path: path.read_text() for path in tmp_path.glob("*.svg")} == plots


@pytest.fixture
def cut_down(monkeypatch) -> None:
    """Reduces the tiny budget to one family and the smallest settings, and replaces measured memory by made-up
    values."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    budget = replace(least_budget(1, "glass", "single_view"), trial_epochs=2, max_trials=2)
    monkeypatch.setitem(budgets.BUDGETS, "tiny", budget)
    make_up_memory(monkeypatch)


@pytest.mark.slow
def test_a_study_that_was_killed_ends_the_same_and_is_finished_then(
    synthetic_shards, tmp_path, monkeypatch, cut_down, capsys
):
    words = ["--data", str(synthetic_shards), "--budget", "tiny", "--output"]
    assert study.main([*words, str(tmp_path / "whole")]) == 0
    killed = [*words, str(tmp_path / "killed")]
    for number, module in (
        (1, glass.studies.search),
        (2, glass.studies.search),
        (1, glass.studies.final_runs),
        (1, glass.studies.final_runs),
        (2, glass.studies.training_cost),
        (1, glass.studies.training_cost),
    ):
        with monkeypatch.context() as patch:
            killed_at(number, module, patch)
            with pytest.raises(Killed):
                study.main(killed)
    assert study.main(killed) == 0
    found = [json.loads((tmp_path / n / "study.json").read_text()) for n in ("whole", "killed")]
    assert without_times(found[0]) == without_times(found[1])
    capsys.readouterr()

    def begun(*args, **kwargs):
        raise AssertionError("a finished study was begun again")

    monkeypatch.setattr(Study, "run", begun)
    assert study.main(killed) == 0
    assert "is finished: see study.html" in capsys.readouterr().out
    assert json.loads((tmp_path / "killed/study.json").read_text()) == found[1]
