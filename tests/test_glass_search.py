"""The search: the study's spaces to the digit, trials that survive kills, storages that refuse."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from optuna.pruners import HyperbandPruner
from optuna.trial import TrialState

import glass.studies.search
import train
from glass.config import RunConfig
from glass.documents import check_document
from glass.engine import Engine
from glass.overrides import apply_overrides
from glass.presets import load_preset
from glass.studies.best_params import BEST_SCHEMA, apply_params
from glass.studies.repeatable_hyperband import RepeatableHyperband
from glass.studies.search import Search, SearchPlan
from glass.studies.search_record import TUNING_SCHEMA
from glass.studies.search_space import (
    GLASS_SPACE,
    SINGLE_VIEW_SPACE,
    Choice,
    LogRange,
    changed_space,
    settings_at,
)
from glass.trainer import TrainingDiverged
from loaders.open_shards import OpenShards
from scripts import final_runs, tune
from shards.command import InputError
from shards.dataset import ShardDataset

# The table of REFERENCE.md.
SPACES = {
    "glass_resnet50": {
        "batch": (16, 32, 64), "dropout": (0, 0.1, 0.2, 0.3), "num_crops": (2, 4, 6, 8, 10),
        "lr_global": (0.000001, 0.0001), "lr_local": (0.000001, 0.0001),
        "lr_head": (0.000005, 0.001),
        "wd_global": (0.0000001, 0.001), "wd_local": (0.0000001, 0.001),
    },
    "single_view_resnet50": {
        "lr": (0.000001, 0.0001), "wd": (0.0000001, 0.001), "batch": (32, 64, 128),
        "dropout": (0, 0.1, 0.2, 0.3),
    },
}  # fmt: skip
SPACE = ("lr_local=1e-4..1e-2", "num_crops=1,2", "batch=4", "dropout=0.0,0.2",
         "lr_global=1e-5..1e-3", "lr_head=1e-4..1e-2", "wd_global=0.0", "wd_local=0.0")  # fmt: skip
SETTINGS = ["loader.crop_size=32", "loader.decode=full", "tensorboard=false", "cpu_threads=1"]


@pytest.fixture(scope="module")
def data(synthetic_dataset: ShardDataset):
    with OpenShards(synthetic_dataset) as shards:
        yield shards


def plan(**changes) -> SearchPlan:
    config = apply_overrides(load_preset("glass_tiny"), SETTINGS)
    config = replace(config, epochs=3, **changes)
    space = changed_space(GLASS_SPACE, config, SPACE)
    return SearchPlan(config, space, min_epochs=1)


def fake_training(values: dict[float, list[float]] | None = None, calls: list | None = None):
    """In place of ``glass.studies.search.train``: an accuracy per epoch that hangs on the
    settings, with ``metrics.jsonl`` as the checkpoint that a second call goes on from."""

    def run(data, config: RunConfig, folder: Path, *, on_epoch) -> bool:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        if calls is not None:
            calls.append((folder.name, len(lines)))
        for epoch in range(len(lines) + 1, config.epochs + 1):
            rate = config.optim.lr_local
            value = 1 - abs(rate - 1e-3) * 50 + 0.01 * epoch
            line = {"epoch": epoch, "valid_accuracy": value, "valid_auroc": None}
            with path.open("a") as file:
                file.write(json.dumps(line) + "\n")
            if not on_epoch(line):
                return False
        return True

    return run


def trials_of(folder: Path) -> list[dict]:
    return json.loads((folder / "tuning.json").read_text())["trials"]


@pytest.mark.parametrize(("space", "name"), [
    (GLASS_SPACE, "glass_resnet50"), (SINGLE_VIEW_SPACE, "single_view_resnet50"),
])  # fmt: skip
def test_spaces_are_the_studys(space, name):
    found = {
        d.name: d.options if isinstance(d, Choice) else (d.low, d.high) for d in space
    }  # fmt: skip
    assert found == SPACES[name]
    config = load_preset(name)
    for dimension in space:  # every corner is a configuration
        ends = dimension.options if isinstance(dimension, Choice) else (
            dimension.low, dimension.high,
        )  # fmt: skip
        for value in ends:
            settings_at(config, (dimension,), {dimension.name: value})


def test_one_rate_sets_the_whole_baseline():
    config = settings_at(
        load_preset("single_view_resnet50"), SINGLE_VIEW_SPACE,
        {"lr": 2e-5, "wd": 3e-4, "batch": 64, "dropout": 0.2},
    )  # fmt: skip
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
    space = {d.name: d for d in changed_space(
        GLASS_SPACE, config, ["lr_local=1e-5..1e-2", "num_crops=3", "label_smoothing=0.0,0.1"]
    )}  # fmt: skip
    assert space["lr_local"] == LogRange("lr_local", ("optim.lr_local",), 1e-5, 1e-2)
    assert space["num_crops"] == Choice("num_crops", ("loader.num_crops",), (3,))
    assert space["label_smoothing"].options == (0.0, 0.1)


@pytest.mark.parametrize(("change", "message"), [
    ("lr=1..2", "no such setting"), ("lr_local=2..1", "LOW < HIGH"), ("lr_local", "NAME="),
    ("num_crops=0,2", "at least 1"), ("dropout=0.1,0.1", "once"), ("dropout=x", "number"),
])  # fmt: skip
def test_a_change_that_cannot_be_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        changed_space(GLASS_SPACE, load_preset("glass_resnet50"), [change])


@pytest.mark.slow
@pytest.mark.parametrize("killed_in", ["report", "after report", "decision"])
def test_a_search_that_was_killed_ends_like_one_that_was_not(
    data, tmp_path, monkeypatch, killed_in
):
    """Killed now and then between an epoch and what follows of it: told, decided, acted upon."""
    monkeypatch.setattr(glass.studies.search, "train", fake_training())
    Search(data, plan(), tmp_path / "whole").run(14)
    calls: list = []
    monkeypatch.setattr(glass.studies.search, "train", fake_training(calls=calls))
    killed_class = RepeatableHyperband if killed_in == "decision" else optuna.trial.Trial
    name = "prune" if killed_in == "decision" else "report"
    real = getattr(killed_class, name)
    told = 0

    def dies_now_and_then(*args):
        nonlocal told
        told += 1
        if told % 5 == 2 and killed_in == "report":
            raise KeyboardInterrupt
        answer = real(*args)
        if told % 5 == 2:
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(killed_class, name, dies_now_and_then)
    kills = 0
    while True:
        search = Search(data, plan(), tmp_path / "killed")
        try:
            search.run(14)
            break
        except KeyboardInterrupt:
            kills += 1
    assert kills >= 3
    assert trials_of(tmp_path / "killed") == trials_of(tmp_path / "whole")
    states = {row["state"] for row in trials_of(tmp_path / "whole")}
    assert states == {"complete", "pruned"}
    assert any(epochs for _, epochs in calls)  # gone on from what was trained, not from the start
    best = [json.loads((tmp_path / n / "best.json").read_text()) for n in ("whole", "killed")]
    assert best[0] == best[1]


def test_the_sampler_and_the_pruner_are_the_studys(data, tmp_path):
    options = tune.parse(["--data", "d", "--preset", "glass_resnet50"])
    config = tune.settings(options)
    study = Search(data, SearchPlan(config, GLASS_SPACE), tmp_path).study
    assert study.sampler.seed == 606
    pruner = study.pruner
    assert (pruner._min_resource, pruner._max_resource, pruner._reduction_factor) == (5, 25, 3)
    assert isinstance(pruner, HyperbandPruner)  # by which TPE knows of brackets


@pytest.mark.parametrize("hole", [
    ("study",), ("settings",), ("states", "pruned"), ("trials", 0, "number"),
    ("trials", 0, "params"), ("trials", 1, "why"), ("importance",),
])  # fmt: skip
def test_a_record_with_a_hole_is_refused(data, tmp_path, monkeypatch, hole):
    monkeypatch.setattr(glass.studies.search, "train", fake_training())
    Search(data, plan(), tmp_path).run(2)
    document = json.loads((tmp_path / "tuning.json").read_text())
    check_document(document, TUNING_SCHEMA)
    place = document
    for step in hole[:-1]:
        place = place[step]
    del place[hole[-1]]
    with pytest.raises(ValueError, match=f"{hole[-1]} is missing"):
        check_document(document, TUNING_SCHEMA)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize(("least", "most"), [(1, 9), (5, 25), (2, 40)])
def test_decisions_are_those_of_optunas_hyperband(direction, least, most):
    """Trial by trial; and asked a second time the answer is the same."""
    random = np.random.default_rng(7)
    ours = RepeatableHyperband(least, most)
    theirs = HyperbandPruner(min_resource=least, max_resource=most, reduction_factor=3)
    study = optuna.create_study(direction=direction, pruner=theirs, study_name="same brackets")
    theirs.prune(study, optuna.trial.create_trial(state=TrialState.RUNNING))
    pruned = 0
    for _ in range(40):
        trial = study.ask()
        for epoch in range(1, most + 1):
            trial.report(float(random.choice(5)), epoch)  # ties too
            frozen = study.get_trials()[trial.number]
            answers = [ours.prune(study, frozen) for _ in range(2)]
            assert answers == [theirs.prune(study, frozen)] * 2
            if answers[0]:
                pruned += 1
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, 0.0)
    assert 5 < pruned < 40


def test_a_finished_search_begins_nothing(data, tmp_path, monkeypatch):
    monkeypatch.setattr(glass.studies.search, "train", fake_training())
    search = Search(data, plan(), tmp_path)
    assert not search.is_finished(2)
    search.run(2)
    assert Search(data, plan(), tmp_path).is_finished(2)
    calls: list = []
    monkeypatch.setattr(glass.studies.search, "train", fake_training(calls=calls))
    Search(data, plan(), tmp_path).run(3)
    assert len(calls) == 1


@pytest.mark.slow
def test_memory_and_divergence_end_a_trial_and_not_the_search(data, tmp_path, monkeypatch):
    errors = [
        torch.OutOfMemoryError("CUDA out of memory"), TrainingDiverged("loss became nan"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError(),
    ]  # fmt: skip
    whole = fake_training()

    def fails_four_times(*args, **kwargs):
        if errors:
            raise errors.pop()
        return whole(*args, **kwargs)

    monkeypatch.setattr(glass.studies.search, "train", fails_four_times)
    document = Search(data, plan(), tmp_path).run(6)
    assert [row["state"] for row in document["trials"]][:4] == ["fail"] * 4
    assert [row["why"] for row in document["trials"]][:4] == [
        "out of memory", "out of memory", "loss became nan", "out of memory",
    ]  # fmt: skip
    assert document["states"]["failed"] == 4
    check_document(document, TUNING_SCHEMA)


def test_a_step_that_does_not_fit_fails_its_trial_alone(data, tmp_path, monkeypatch):
    """Through the real training: only the step itself runs out of memory, in the first trial."""
    real, steps = Engine._step, 0

    def greedy(self, batches, totals):
        nonlocal steps
        steps += 1
        if steps == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        real(self, batches, totals)

    monkeypatch.setattr(Engine, "_step", greedy)
    short = plan()
    short = replace(short, config=replace(short.config, epochs=1))
    rows = Search(data, short, tmp_path).run(2)["trials"]
    assert [row["state"] for row in rows] == ["fail", "complete"]
    assert rows[0]["why"] == "out of memory"


def test_a_trial_that_is_killed_again_and_again_is_given_up(data, tmp_path, monkeypatch):
    monkeypatch.setattr(glass.studies.search, "train", fake_training())

    def killed() -> int:
        """A process takes the trial and dies, which lets its lock go."""
        claim = Search(data, plan(), tmp_path).store.claim(2)
        claim.release()
        return claim.take_ups

    assert [killed() for _ in range(4)] == [0, 1, 2, 3]
    rows = Search(data, plan(), tmp_path).run(2)["trials"]
    assert [row["state"] for row in rows] == ["fail", "complete"]
    assert "was killed 4 times" in rows[0]["why"]
    assert set(rows[0]["params"]) == {change.partition("=")[0] for change in SPACE}


def test_an_epoch_or_a_person_makes_take_ups_count_anew(data, tmp_path):
    store = Search(data, plan(), tmp_path).store

    def take_up():
        claim = store.claim(1)
        claim.release()
        return claim

    trial = take_up().trial
    assert [take_up().take_ups for _ in range(3)] == [1, 2, 3]
    trial.report(0.5, 1)
    assert [take_up().take_ups for _ in range(2)] == [1, 2]
    store.forget_take_ups(trial)
    assert take_up().take_ups == 1


def test_a_defect_ends_the_search_after_three_trials(data, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(glass.studies.search, "train", broken)
    with pytest.raises(InputError, match="3 trials in a row failed"):
        Search(data, plan(), tmp_path).run(10)
    assert "ZeroDivisionError" in (tmp_path / "trials/trial-0002/error.txt").read_text()


def test_a_metric_without_values_is_told(data, tmp_path, monkeypatch):
    monkeypatch.setattr(glass.studies.search, "train", fake_training())
    with pytest.raises(InputError, match="one class only"):
        Search(data, plan(select_by="auroc"), tmp_path).run(2)


def test_a_storage_of_another_study_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(glass.studies.search, "train", fake_training())
    Search(data, plan(), tmp_path).run(1)
    with pytest.raises(InputError, match="another study, with seed=0 and not 1"):
        Search(data, plan(seed=1), tmp_path)
    Search(data, plan(cpu_threads=2), tmp_path)  # changes how fast, not what


def test_best_json_is_taken_by_training(data, tmp_path, monkeypatch):
    monkeypatch.setattr(glass.studies.search, "train", fake_training())
    Search(data, plan(), tmp_path).run(3)
    best = json.loads((tmp_path / "best.json").read_text())
    check_document(best, BEST_SCHEMA)
    arguments = ["--data", "d", "--preset", "glass_tiny", "--output", "o", "--params"]
    config = train.settings(train.parse([*arguments, str(tmp_path / "best.json")]))
    assert config.optim.lr_local == best["params"]["lr_local"]
    assert config.loader.global_batch_size == best["params"]["batch"]
    with pytest.raises(InputError, match="glass_tiny, not for glass_resnet50"):
        apply_params(load_preset("glass_resnet50"), tmp_path / "best.json")
    with pytest.raises(InputError, match=r"is not a best.json"):
        apply_params(load_preset("glass_tiny"), tmp_path / "tuning.json")


def test_best_json_brings_what_all_trials_had(data, tmp_path, monkeypatch):
    """Half the batch in each micro-step is another optimiser than all of it in the only one."""
    monkeypatch.setattr(glass.studies.search, "train", fake_training())
    changed = plan(grad_accum_steps=2, label_smoothing=0.0, compile=True)
    Search(data, changed, tmp_path).run(1)
    path = tmp_path / "best.json"
    best = json.loads(path.read_text())
    assert best["fixed"] == {
        "grad_accum_steps": 2, "label_smoothing": 0.0, "compile": True, "loader.crop_size": 32,
    }  # fmt: skip
    words = ["--data", "d", "--preset", "glass_tiny", "--output", "o", "--params", str(path)]
    single = train.settings(train.parse(words))
    final = final_runs._settings(final_runs._parse(words))
    for found in (single, final):
        assert (found.grad_accum_steps, found.loader.global_batch_size) == (2, 2)
        assert (found.label_smoothing, found.compile, found.loader.crop_size) == (0.0, True, 32)
    assert single.epochs == load_preset("glass_tiny").epochs
    asked = train.settings(train.parse([*words, "--set", "label_smoothing=0.2"]))
    assert asked.label_smoothing == 0.2


@pytest.mark.parametrize(("words", "message"), [
    (["--metric", "f1"], "--metric 'f1' is not known; there are accuracy"),
    (["--preset", "nothing"], "no preset called"),
    (["--search", "lr=1..2"], "no such setting"),
    (["--storage", "nonsense"], "--storage nonsense cannot be opened"),
    (["--device", "cuda"], "no CUDA device"),
])  # fmt: skip
def test_mistakes_are_told_in_a_sentence(synthetic_shards, tmp_path, words, message):
    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    arguments = ["--data", str(synthetic_shards), "--output", str(tmp_path / "out")]
    if "--preset" not in words:
        arguments += ["--preset", "glass_tiny"]
    with pytest.raises(InputError, match=message):
        tune.main([*arguments, *words])
