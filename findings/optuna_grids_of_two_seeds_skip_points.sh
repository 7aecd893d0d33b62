#!/usr/bin/env bash
# optuna 5.0.0, Python 3.11; seen on 2026-11-30.
# One expects: a grid search tries every point of its grid, whatever seed a sampler has; a seed changes the order only.
# What happens: a trial records the number of its point, and each seed numbers the points differently. If a study of 36
#   points is searched with a seed for each of four workers (as is right for other samplers), or resumed with another
#   seed, 9 or 11 points are never trained, and as many trials repeat others. Yet the study stops by itself, and
#   is_exhausted() is True for each sampler. The best setting can be among those left out.
#   (The documentation warns of duplicates only. A seed of None counts as 0. See optuna issue 5489.)
# What to do: give all workers and all runs of a grid search the same seed, or none. Compare the distinct settings of
#   study.trials with the grid before naming the best.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile optuna==5.0.0
"$folder/venv/bin/python" - "sqlite:///$folder/study.db" <<'PYTHON'
import itertools
import sys

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
GRID = {"learning_rate": [1e-5, 1e-4, 1e-3, 1e-2], "side": [224, 256, 384], "weight_decay": [0.0, 0.01, 0.05]}
POINTS = set(itertools.product(*GRID.values()))


def train(trial):
    rate = trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True)
    decay = trial.suggest_float("weight_decay", 0, 0.05)
    return 0.9 - abs(rate - 1e-4) - decay + trial.suggest_int("side", 224, 384) / 1e4


def search(name, seeds, trials_each):
    """One study; each seed belongs to a sampler as in a process of its own. They take turns."""
    study = optuna.create_study(study_name=name, storage=sys.argv[1], direction="maximize")
    workers = [
        optuna.load_study(study_name=name, storage=sys.argv[1], sampler=optuna.samplers.GridSampler(GRID, seed=seed))
        for seed in seeds
    ]
    while not all(worker.sampler.is_exhausted(worker) for worker in workers):
        for worker in workers:
            if not worker.sampler.is_exhausted(worker):
                worker.optimize(train, n_trials=trials_each)
    tried = {tuple(trial.params[key] for key in GRID) for trial in study.trials}
    assert tried <= POINTS, "changed: points outside of the grid"
    print(f"{name}: {len(study.trials)} trials, {len(tried)} of {len(POINTS)} points, all samplers call it exhausted")
    return len(study.trials), len(tried)


same = search("four workers, one seed", [0, 0, 0, 0], 1)
unseeded = search("four workers, no seed", [None] * 4, 1)
others = search("four workers, seeds 0 to 3", range(4), 1)
resumed = search("half with seed 0, resumed with seed 1", [0, 1], 18)

assert same == unseeded == (36, 36), "changed: one seed leaves points out"
assert others[0] == resumed[0] == 36, "changed: the number of trials"
assert others[1] < 30 and resumed[1] < 30, "changed: several seeds try every point"
PYTHON
echo "as found: a grid searched with several seeds is called exhausted, but is not"
