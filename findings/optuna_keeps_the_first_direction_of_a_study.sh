#!/usr/bin/env bash
# optuna 5.0.0, Python 3.11; seen on 2026-11-29.
# One expects: create_study(direction="maximize", load_if_exists=True) maximises, or refuses a study that minimises.
# What happens: where the study is there, the direction of the call is dropped without a word. Whoever forgot it the
#   first time (the default is "minimize"), adds it and runs again, goes on minimising the AUROC: the sampler looks for
#   bad settings, the pruner stops the best trials, and best_trial is the worst.
# What to do: assert study.direction == StudyDirection.MAXIMIZE after create_study. A direction cannot be changed:
#   copy the trials to a new study with new_study.add_trials(study.trials).
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet optuna==5.0.0
"$folder/venv/bin/python" - "sqlite:///$folder/study.db" <<'PYTHON'
import sys

import optuna
from optuna.study import StudyDirection

optuna.logging.set_verbosity(optuna.logging.WARNING)


def study(name="detector", **options):
    sampler, pruner = optuna.samplers.TPESampler(seed=0), optuna.pruners.MedianPruner()
    return optuna.create_study(study_name=name, storage=sys.argv[1], sampler=sampler, pruner=pruner, **options)


def train(trial):
    auroc = trial.suggest_float("quality", 0, 1)  # the better the setting, the higher the AUROC
    for epoch in range(5):
        trial.report(auroc * (epoch + 1) / 5, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned()
    return auroc


study().optimize(train, n_trials=5)
again = study(direction="maximize", load_if_exists=True)
again.optimize(train, n_trials=40)
complete = [trial.value for trial in again.trials if trial.value is not None]
best = max(trial.params["quality"] for trial in again.trials)
print(f"asked to maximise: {again.direction.name}, best_value {again.best_value:.3f}, best tried {best:.3f}")
assert again.direction == StudyDirection.MINIMIZE, "changed: the direction is taken, or refused"
assert again.best_value == min(complete) < 0.1 < 0.9 < best, "changed: best_value"

right = study("copied", direction="maximize")
right.add_trials(again.trials)
right.optimize(train, n_trials=40)
print(f"trials copied to a study that maximises: best_value {right.best_value:.3f}")
assert right.best_value > 0.95, "changed: the remedy"
PYTHON
echo "as found: the direction asked for is dropped"
