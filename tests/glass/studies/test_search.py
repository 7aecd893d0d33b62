"""The search: exactly the study's spaces, trials that survive kills, and storages that are refused."""

import copy
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from optuna.pruners import HyperbandPruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

import glass.studies.search
import train
from glass.config.overrides import apply_overrides
from glass.config.run_config import TrainConfig
from glass.presets import load_preset
from glass.studies.search import Search
from glass.studies.search_optuna import RepeatableHyperband
from glass.studies.search_records import BestParams, Tuning, apply_params
from glass.studies.search_space import GLASS_SPACE, SearchPlan
from scripts import crop_study, final_runs, tune
from shards.errors import InputError
from shards.files.documents import typed_document
from tests.runs.least_study import fake_training, least_search, search_plan


def trials_of(folder: Path) -> list[dict]:
    return json.loads((folder / "tuning.json").read_text())["trials"]


@pytest.mark.slow
@pytest.mark.parametrize("killed_in", ["report", "after report", "decision"])
def test_a_search_that_was_killed_ends_like_one_that_was_not(data, tmp_path, monkeypatch, killed_in):
    """The search is killed now and then between an epoch and what follows from it: its report, the decision about
    pruning, and the action."""
    monkeypatch.setattr(glass.studies.search, "train", fake_training())
    Search(data, search_plan(), tmp_path / "whole").run(14)
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
        search = Search(data, search_plan(), tmp_path / "killed")
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
    # The preset's network takes seconds to make.
    config = apply_overrides(tune.settings(options), ["loader.global_size=64", "model.global_backbone=test_resnet"])
    study = Search(data, SearchPlan(config, GLASS_SPACE), tmp_path, f"journal:///{tmp_path}/study.log").study
    assert study.sampler.seed == 606
    pruner = study.pruner
    assert (pruner._min_resource, pruner._max_resource, pruner._reduction_factor) == (5, 25, 3)
    assert isinstance(pruner, HyperbandPruner)  # by which TPE knows of brackets


def test_a_record_with_a_hole_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(glass.studies.search, "train", fake_training())
    least_search(data, tmp_path).run(2)
    document = json.loads((tmp_path / "tuning.json").read_text())
    typed_document(document, Tuning)
    for *way, last in (
        ("study",),
        ("settings",),
        ("states", "pruned"),
        ("trials", 0, "number"),
        ("trials", 0, "params"),
        ("trials", 1, "why"),
        ("importance",),
    ):
        broken = copy.deepcopy(document)
        place = broken
        for step in way:
            place = place[step]
        del place[last]
        with pytest.raises(ValueError, match=f"{last} is missing"):
            typed_document(broken, Tuning)


@pytest.mark.parametrize("direction", ["maximize", pytest.param("minimize", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("least", "most"), [(1, 9), *(pytest.param(*ends, marks=pytest.mark.slow) for ends in ((5, 25), (2, 40)))]
)
def test_decisions_are_those_of_optunas_hyperband(direction, least, most):
    """Decisions are compared trial by trial. Asking a second time gives the same decision."""
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
            frozen = study.get_trials(deepcopy=False)[trial.number]
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
    search = least_search(data, tmp_path)
    assert not search.is_finished(1)
    search.run(1)
    assert least_search(data, tmp_path).is_finished(1)
    calls: list = []
    monkeypatch.setattr(glass.studies.search, "train", fake_training(calls=calls))
    least_search(data, tmp_path).run(2)
    assert len(calls) == 1


def test_a_metric_without_values_is_reported(data, tmp_path, monkeypatch):
    monkeypatch.setattr(glass.studies.search, "train", fake_training())
    with pytest.raises(InputError, match="one class only"):
        least_search(data, tmp_path, select_by="auroc").run(2)


def test_a_storage_of_another_study_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(glass.studies.search, "train", fake_training())
    least_search(data, tmp_path).run(1)
    with pytest.raises(InputError, match="another study, with seed=0 and not 1"):
        least_search(data, tmp_path, seed=1)
    least_search(data, tmp_path, cpu_threads=2)  # changes how fast, not what


def test_a_study_begun_elsewhere_in_another_direction_is_refused(data, tmp_path):
    """Optuna would continue in the direction of the existing study, so that the worst trial would count as the best."""
    address = f"journal:///{tmp_path}/shared.log"
    name = Search(data, search_plan(), tmp_path / "out", address).study.study_name
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "shared.log")))
    optuna.delete_study(study_name=name, storage=storage)
    other = "minimize" if search_plan().direction == "maximize" else "maximize"
    for directions in ([other], [other, other]):
        made = optuna.create_study(storage=storage, study_name=name, directions=directions)
        with pytest.raises(InputError, match=r"shared\.log holds a study of another program: give another --storage"):
            Search(data, search_plan(), tmp_path / "out", address)
        assert made.user_attrs == {}
        optuna.delete_study(study_name=name, storage=storage)
    optuna.create_study(storage=storage, study_name=name, direction=search_plan().direction)
    Search(data, search_plan(), tmp_path / "out", address)


@pytest.mark.parametrize(
    "text",
    [
        "mine\nmine\n",
        "[" * 50_000 + "\n",
        "\udcff\n",
        '{"op_code": 0}\nmine\nmine\n',
        *(pytest.param(text, marks=pytest.mark.slow) for text in ("mine", "{}\n", "[1]\n", "\n")),
    ],
)
def test_a_file_that_is_no_journal_is_refused_and_left_alone(data, tmp_path, text):
    file = tmp_path / "mine.log"
    file.write_text(text, errors="surrogateescape")
    before = file.read_bytes()
    with pytest.raises(InputError, match=r"--storage journal:///.*mine.log cannot be opened"):
        Search(data, search_plan(), tmp_path / "out", f"journal:///{file}")
    assert file.read_bytes() == before


@pytest.mark.slow  # a database; journals are tested beside it
def test_a_database_of_another_program_is_refused_and_left_alone(data, tmp_path):
    """Optuna would add its tables to this database. An empty database and one of Optuna are accepted."""
    file = tmp_path / "photos.db"
    with closing(sqlite3.connect(file)) as made, made:
        made.execute("create table photos (id integer primary key, path text)")
        made.execute("create table studies (subject text)")  # the name alone says nothing
    before = file.read_bytes()
    with pytest.raises(InputError, match=r"photos\.db .*tables of another program, such as 'photo"):
        Search(data, search_plan(), tmp_path / "out", f"sqlite:///{file}")
    assert file.read_bytes() == before
    (tmp_path / "empty.db").touch()
    for _ in range(2):
        Search(data, search_plan(), tmp_path / "out", f"sqlite:///{tmp_path / 'empty.db'}")


def test_a_journal_is_gone_on_with_and_an_empty_file_becomes_one(data, tmp_path):
    file = tmp_path / "empty.log"
    file.touch()
    for _ in range(2):
        search = Search(data, search_plan(), tmp_path / "out", f"journal:///{file}")
        assert search.study.user_attrs["settings"]["seed"] == 0


def test_a_storage_that_fails_later_is_reported_too(data, tmp_path, monkeypatch):
    def fails(**_):
        raise optuna.exceptions.StorageInternalError("database is locked\nmore")

    monkeypatch.setattr(optuna, "create_study", fails)
    with pytest.raises(InputError, match=r"study.db cannot be used \(database is locked\): "):
        Search(data, search_plan(), tmp_path)


def test_a_file_in_the_place_of_trials_is_reported(data, tmp_path):
    (tmp_path / "trials").write_text("mine")
    with pytest.raises(InputError, match=r"trials cannot be written to .*another --output"):
        Search(data, search_plan(), tmp_path)


def test_best_json_is_taken_by_training(data, tmp_path, monkeypatch):
    monkeypatch.setattr(glass.studies.search, "train", fake_training())
    least_search(data, tmp_path).run(1)
    best = json.loads((tmp_path / "best.json").read_text())
    typed_document(best, BestParams)
    arguments = ["--data", "d", "--preset", "glass_tiny", "--output", "o", "--params"]
    config = train.settings(train.parse([*arguments, str(tmp_path / "best.json")]))
    assert config.optim.lr_local == best["params"]["lr_local"]
    assert config.loader.global_batch_size == best["params"]["batch"]
    with pytest.raises(InputError, match="glass_tiny, not for glass_resnet50"):
        apply_params(load_preset("glass_resnet50"), tmp_path / "best.json")
    with pytest.raises(InputError, match=r"is not a best.json"):
        apply_params(load_preset("glass_tiny"), tmp_path / "tuning.json")


def test_best_json_brings_what_all_trials_had(data, tmp_path, monkeypatch):
    """Training with two micro-steps of half a batch each differs from training with one micro-step. ``best.json`` must
    contain such settings."""
    monkeypatch.setattr(glass.studies.search, "train", fake_training())
    changed = {"grad_accum_steps": 2, "label_smoothing": 0.0, "compile": True}
    least_search(data, tmp_path, **changed, train=TrainConfig(patience=3)).run(1)
    path = tmp_path / "best.json"
    best = json.loads(path.read_text())
    assert best["fixed"] == {**changed, "loader.crop_size": 32, "train.patience": 3}
    words = ["--data", "d", "--preset", "glass_tiny", "--output", "o", "--params", str(path)]
    single = train.settings(train.parse(words))
    final = final_runs._settings(final_runs._parse(words))
    for found in (single, final):
        assert (found.grad_accum_steps, found.loader.global_batch_size) == (2, 2)
        assert (found.label_smoothing, found.compile, found.loader.crop_size) == (0.0, True, 32)
        assert found.train.patience == 3
    crops = crop_study._settings(crop_study._parse(words))
    assert crops.label_smoothing == 0.0
    assert crops.train.patience is None  # all of its runs are equally long
    assert single.epochs == load_preset("glass_tiny").epochs
    asked = train.settings(train.parse([*words, "--set", "label_smoothing=0.2"]))
    assert asked.label_smoothing == 0.2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.global_backbone", "hf-hub:somebody/network"),
        ("model.local_backbone", "local-dir:/somewhere"),
        ("model.global_weights", "/somewhere/weights.safetensors"),
    ],
)
@pytest.mark.parametrize("command", [train, final_runs, crop_study])
def test_a_best_json_of_a_stranger_names_nothing_elsewhere(tmp_path, command, key, value):
    best = {
        "format_version": 1,
        "preset": "glass_tiny",
        "kind": "glass",
        "metric": "auroc",
        "value": 0.9,
        "trial": 0,
        "trials": 1,
        "params": {},
        "settings": {},
        "fixed": {key: value},
    }
    path = tmp_path / "best.json"
    path.write_text(json.dumps(best))
    words = ["--data", "d", "--preset", "glass_tiny", "--output", "o", "--params", str(path)]
    parse = getattr(command, "parse", None) or command._parse
    settings = getattr(command, "settings", None) or command._settings
    with pytest.raises(InputError, match=rf"best.json asks for .*\({key}=.*--set {key}={value} beside"):
        settings(parse(words))
    config = settings(parse([*words, "--set", f"{key}={value}"]))
    assert getattr(config.model, key.partition(".")[2]) == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metric", "f1"], "--metric 'f1' is unknown: choose from accuracy"),
        (["--preset", "nothing"], "no preset called"),
        (["--search", "lr=1..2"], "no such setting"),
        (["--storage", "nonsense"], "--storage nonsense cannot be opened"),
        (["--device", "cuda"], "no CUDA device"),
    ],
)
def test_mistakes_are_reported_in_a_sentence(synthetic_shards, tmp_path, words, message):
    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    arguments = ["--data", str(synthetic_shards), "--output", str(tmp_path / "out")]
    if "--preset" not in words:
        arguments += ["--preset", "glass_tiny"]
    with pytest.raises(InputError, match=message):
        tune.main([*arguments, *words])
