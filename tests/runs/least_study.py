"""The smallest settings for tests of the studies, fake training runs, and a way to kill training."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from glass.config.overrides import apply_overrides
from glass.config.run_config import RunConfig
from glass.presets import load_preset
from glass.studies import device_memory
from glass.studies.budgets import BUDGETS, Budget, StudyModel
from glass.studies.search import Search
from glass.studies.search_space import GLASS_SPACE, SearchPlan, changed_space
from loaders.reading.open_shards import OpenShards

SETTINGS = (
    "loader.crop_size=32",
    "loader.decode=full",
    "tensorboard=false",
    "cpu_threads=1",
    "loader.global_batch_size=4",
    "loader.num_crops=2",
)
TIMES = {
    "train_time_s",
    "step_time_s",
    "epoch_time_s",
    "data_wait_s",
    "images_per_s",
    "latency_s",
    "created",
    "time_s",
    "fits",
}

SEARCH_SPACE = (
    "lr_local=1e-4..1e-2",
    "num_crops=1,2",
    "batch=4",
    "dropout=0.0,0.2",
    "lr_global=1e-5..1e-3",
    "lr_head=1e-4..1e-2",
    "wd_global=0.0",
    "wd_local=0.0",
)
SEARCH_SETTINGS = SETTINGS[:4]  # batch and crops are searched


class Killed(BaseException):
    """Raised where a real process would be killed by SIGKILL."""


def least_config(*overrides: str, preset: str = "glass_tiny") -> RunConfig:
    """The settings of a run of two epochs that are as small as possible."""
    return replace(apply_overrides(load_preset(preset), [*SETTINGS, *overrides]), epochs=2)


def make_up_memory(patch: pytest.MonkeyPatch) -> None:
    """Replaces the functions that count memory with ones that return made-up values, because counting takes seconds."""
    patch.setattr(
        device_memory, "training_memory", lambda config: {"tensor_bytes": 100.0 + 10 * config.loader.num_crops}
    )
    patch.setattr(
        device_memory, "inference_memory", lambda model, batch: {"tensor_bytes": float(batch["local_crops"].numel())}
    )


def killed_at(number: int, module: ModuleType, patch: pytest.MonkeyPatch) -> None:
    """Makes ``module.train`` raise :class:`Killed` at the end of epoch ``number``, counted over all of its calls."""
    real, seen = module.train, 0

    def dying(*args: Any, on_epoch: Any = None, **kwargs: Any) -> bool:
        def counted(line: dict[str, Any]) -> bool:
            nonlocal seen
            seen += 1
            if seen == number:
                raise Killed
            return on_epoch is None or on_epoch(line)

        return real(*args, on_epoch=counted, **kwargs)

    patch.setattr(module, "train", dying)


def without_times(value: Any) -> Any:
    """``value`` without the fields that depend on the clock."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def least_budget(trials: int, *kinds: str) -> Budget:
    """The smallest budget of a study with one family of backbones and ``trials`` trials per search. ``kinds`` are the
    kinds of models, "glass" and "single_view"."""
    models = tuple(
        StudyModel(f"{kind}_vit", "ViT", f"{kind}_tiny", (*SETTINGS, "model.global_backbone=test_vit"))
        for kind in kinds
    )
    return replace(
        BUDGETS["tiny"],
        models=models,
        trials=trials,
        trial_epochs=1,
        seeds=(100, 200),
        final_epochs=1,
        crops=(1, 2),
        crop_steps=1,
        max_trials=3,
        draws=50,
        crop_batch=4,
        hold_out=0.25,
        glass_search=("batch=4", "num_crops=2"),
        single_view_search=("batch=4",),
    )


def search_plan(**changes: Any) -> SearchPlan:
    """The plan of a search whose trials are ``glass_tiny``, trained for three epochs. ``changes`` replace fields of its
    settings."""
    config = apply_overrides(load_preset("glass_tiny"), SEARCH_SETTINGS)
    config = replace(config, epochs=3, **changes)
    space = changed_space(GLASS_SPACE, config, SEARCH_SPACE)
    return SearchPlan(config, space, min_epochs=1)


def fake_training(calls: list | None = None) -> Callable[..., bool]:
    """Returns a replacement for ``glass.studies.search.train``. It reports an accuracy per epoch that depends on the
    settings, and continues from ``metrics.jsonl`` when it is called again. ``calls`` records each call."""

    def run(data: Any, config: RunConfig, folder: Path, *, on_epoch: Any) -> bool:
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


def least_search(data: OpenShards, folder: Path, **changes: Any) -> Search:
    """Returns a search with the plan ``search_plan(**changes)``. Optuna stores it in a journal, which is ten times
    faster than a database."""
    return Search(data, search_plan(**changes), folder, f"journal:///{folder}/study.log")
