"""Trials that fail because of memory, divergence or a defect, or that are killed again and again."""

from dataclasses import replace

import pytest
import torch
from optuna.trial import TrialState

import glass.studies.search
from glass.studies.search import Search
from glass.studies.search_records import Tuning
from glass.studies.search_space import changed_space
from glass.train.divergence import TrainingDiverged
from glass.train.step import Engine
from shards.errors import InputError
from shards.files.documents import typed_document
from tests.runs.least_study import SEARCH_SPACE, fake_training, least_search, search_plan


@pytest.mark.slow
def test_memory_and_divergence_end_a_trial_and_not_the_search(data, tmp_path, monkeypatch):
    errors = [
        torch.OutOfMemoryError("CUDA out of memory"),
        TrainingDiverged("loss became nan"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ]
    whole = fake_training()

    def fails_four_times(*args, **kwargs):
        if errors:
            raise errors.pop()
        return whole(*args, **kwargs)

    monkeypatch.setattr(glass.studies.search, "train", fails_four_times)
    search = least_search(data, tmp_path)
    document = search.run(6)
    assert TrialState.FAIL not in [trial.state for trial in search.study.trials]  # TPE would ignore it
    assert [row["state"] for row in document["trials"]][:4] == ["fail"] * 4
    assert [row["why"] for row in document["trials"]][:4] == [
        "out of memory",
        "out of memory",
        "loss became nan",
        "out of memory",
    ]
    assert document["states"]["failed"] == 4
    typed_document(document, Tuning)


@pytest.mark.slow  # thirty trials; the state of failed trials is tested above
def test_settings_at_which_training_diverges_are_avoided(data, tmp_path, monkeypatch):
    """If the best learning rate lies just below those at which training diverges, at most half of the trials are lost.
    TPE ignores trials in the state FAIL, and lost 20 of 30."""
    whole, limit = fake_training(), 1.2e-3

    def diverges(shards, config, folder, *, on_epoch):
        if config.optim.lr_local > limit:
            raise TrainingDiverged("loss became nan")
        return whole(shards, config, folder, on_epoch=on_epoch)

    monkeypatch.setattr(glass.studies.search, "train", diverges)
    document = least_search(data, tmp_path).run(30)
    assert document["states"]["failed"] <= 15
    assert all(row["value"] is None for row in document["trials"] if row["state"] == "fail")


def test_settings_that_exclude_each_other_fail_their_trial_alone(data, tmp_path, monkeypatch):
    """Each option suits the other settings. Together, some leave nothing to train."""
    monkeypatch.setattr(glass.studies.search, "train", fake_training())
    frozen = [f"model.freeze_{part}=true,false" for part in ("global", "local")]
    plan = search_plan()
    plan = replace(plan, space=changed_space(plan.space, plan.config, frozen))
    rows = Search(data, plan, tmp_path, f"journal:///{tmp_path}/study.log").run(5)["trials"]
    both = [row["params"]["model.freeze_global"] == row["params"]["model.freeze_local"] == "true" for row in rows]
    assert any(both)
    assert not all(both)
    assert [row["state"] == "fail" for row in rows] == both
    assert all("leave no backbone to train" in row["why"] for row, bad in zip(rows, both, strict=True) if bad)


def test_a_trial_killed_while_it_was_recorded_as_failed_may_complete(data, tmp_path, monkeypatch):
    """Its reason is stored before its state, and the next process has more memory."""
    whole, fails = fake_training(), [MemoryError()]

    def fails_once(*args, **kwargs):
        if fails:
            raise fails.pop()
        return whole(*args, **kwargs)

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(glass.studies.search, "train", fails_once)
    search = least_search(data, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(search.study, "tell", killed)
        with pytest.raises(KeyboardInterrupt):
            search.run(1)
    assert [row["state"] for row in search.write_records()["trials"]] == ["running"]
    (row,) = search.run(1)["trials"]
    assert (row["state"], row["why"]) == ("complete", None)
    assert row["value"] is not None


@pytest.mark.slow  # builds a dozen networks; that options exclude each other is tested above
def test_options_that_only_suit_each_other_can_be_searched(data, tmp_path):
    """The preset's network has no attention that LoRA could adapt, but no trial has that network."""
    pytest.importorskip("peft")
    plan = search_plan()
    changes = ["model.lora_rank=2,4", "model.global_backbone=test_vit", "loader.crop_size=64"]
    Search(data, replace(plan, space=changed_space(plan.space, plan.config, changes)), tmp_path)


def test_a_machine_that_lacks_a_package_fails_no_trials(data, tmp_path, monkeypatch):
    """Several machines may work on one search. One that cannot build the network would use up all trials."""
    plan = search_plan()
    Search(data, plan, tmp_path)

    def not_installed(*_, **__):
        raise InputError("this network needs a package that is not installed")

    monkeypatch.setattr("glass.studies.plan.build_model", not_installed)
    with pytest.raises(InputError, match="a package that is not installed"):
        Search(data, plan, tmp_path)


def test_an_option_that_cannot_be_trained_is_refused_before_the_search_is_recorded(data, tmp_path):
    plan = search_plan()
    for change, words in (
        ("model.global_backbone=test_resnet,test_resnte", "no backbone called 'test_resnte'"),
        ("model.tune_last_blocks=1,50", "has only 5 blocks"),
    ):
        space = changed_space(plan.space, plan.config, [change])
        with pytest.raises(InputError, match=words):
            Search(data, replace(plan, space=space), tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_misspelt_network_is_refused_before_options_are_combined(data, tmp_path, monkeypatch):
    """Each combination builds a network, and there may be thousands."""
    monkeypatch.setattr("glass.studies.plan.check_network", lambda _: pytest.fail("a combination was tried"))
    plan = search_plan()
    changes = ["model.tune_last_blocks=1,2,none", "model.local_backbone=none,test_resnte"]
    with pytest.raises(InputError, match="no backbone called 'test_resnte'"):
        Search(data, replace(plan, space=changed_space(plan.space, plan.config, changes)), tmp_path)


@pytest.mark.slow  # a real training; what it raises is tested in test_tuning, what fails a trial here
def test_a_step_that_does_not_fit_fails_its_trial_alone(data, tmp_path, monkeypatch):
    """The real training code is used. Only the first step of the first trial runs out of memory."""
    real, steps = Engine._step, 0

    def greedy(self, batches, totals):
        nonlocal steps
        steps += 1
        if steps == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        real(self, batches, totals)

    monkeypatch.setattr(Engine, "_step", greedy)
    short = search_plan()
    short = replace(short, config=replace(short.config, epochs=1))
    rows = Search(data, short, tmp_path).run(2)["trials"]
    assert [row["state"] for row in rows] == ["fail", "complete"]
    assert rows[0]["why"] == "out of memory"


@pytest.mark.slow  # the next one counts the same kills
def test_a_trial_that_is_killed_again_and_again_is_given_up(data, tmp_path, monkeypatch):
    monkeypatch.setattr(glass.studies.search, "train", fake_training())

    def killed() -> int:
        """Imitates a process that claims the trial and dies, which releases its lock. Returns how often the trial had
        been taken up before."""
        claim = least_search(data, tmp_path).store.claim(2)
        claim.release()
        return claim.resumes

    assert [killed() for _ in range(4)] == [0, 1, 2, 3]
    rows = least_search(data, tmp_path).run(2)["trials"]
    assert [row["state"] for row in rows] == ["fail", "complete"]
    assert "was killed 4 times" in rows[0]["why"]
    assert set(rows[0]["params"]) == {change.partition("=")[0] for change in SEARCH_SPACE}


def test_an_epoch_or_a_person_makes_resumes_count_anew(data, tmp_path):
    store = least_search(data, tmp_path).store

    def resume():
        claim = store.claim(1)
        claim.release()
        return claim

    trial = resume().trial
    assert [resume().resumes for _ in range(3)] == [1, 2, 3]
    trial.report(0.5, 1)
    assert [resume().resumes for _ in range(2)] == [1, 2]
    store.forget_resumes(trial)
    assert resume().resumes == 1


def test_kills_that_an_earlier_version_recorded_count(data, tmp_path):
    """The name of the attribute in Optuna's storage must not change, or old studies would count from 0 again."""
    store = least_search(data, tmp_path).store
    claim = store.claim(1)
    claim.trial.set_user_attr("take_ups", {"epochs": 0, "times": 2})
    claim.release()
    claim = store.claim(1)
    claim.release()
    assert claim.resumes == 3


def test_a_defect_ends_the_search_after_three_trials(data, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(glass.studies.search, "train", broken)
    with pytest.raises(InputError, match="3 trials in a row failed"):
        least_search(data, tmp_path).run(10)
    assert "ZeroDivisionError" in (tmp_path / "trials/trial-0002/error.txt").read_text()
