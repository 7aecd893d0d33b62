#!/usr/bin/env bash
# optuna 5.0.0, torch 2.14.1, scipy 1.17.1, Python 3.11; seen on 2026-11-30.
# One expects: after a trial that was pruned, or that failed with NaN, the sampler tries other settings.
# What happens: GPSampler learns from complete trials only. If its model expects the best detector just where training
#   diverges, nothing corrects it: it proposes that setting again, and again, until no trials are left. Of 20 trials
#   after the 10 random ones, the last 12 are the same setting to two decimals, and all are lost. The study ends without
#   an error. (TPESampler counts pruned trials as bad ones, but ignores failed ones; see optuna issue 1647.)
# What to do: with GPSampler, neither prune nor return NaN: return what a useless detector scores, here an AUROC of 0.5,
#   also where training is stopped early. Count the complete trials before believing best_params.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile optuna==5.0.0 torch==2.14.1 scipy==1.17.1 numpy==2.4.6
OMP_NUM_THREADS=1 "$folder/venv/bin/python" - <<'PYTHON'
import math

import optuna

optuna.logging.set_verbosity(optuna.logging.CRITICAL)
RANDOM, GUIDED, LAST = 10, 20, 8


def train(trial, when_lost):
    """The AUROC rises with the learning rate up to 10 ** -3.5, from where on training diverges."""
    exponent = math.log10(trial.suggest_float("learning_rate", 1e-6, 1e-1, log=True))
    decay = trial.suggest_float("weight_decay", 0, 0.2)
    diverged = exponent > -3.5
    auroc = 0.5 if diverged else 0.95 - 0.009 * (exponent + 3.2) ** 2 - 0.1 * decay
    if diverged and when_lost == "NaN":
        return math.nan
    for epoch in range(3):
        trial.report(0.5 + (auroc - 0.5) * (epoch + 1) / 3, epoch)
        if when_lost == "pruned" and trial.should_prune():
            raise optuna.TrialPruned()
    return auroc


def search(when_lost):
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.GPSampler(seed=0, n_startup_trials=RANDOM),
        pruner=optuna.pruners.ThresholdPruner(lower=0.55),
    )
    study.optimize(lambda trial: train(trial, when_lost), n_trials=RANDOM + GUIDED)
    guided = study.trials[RANDOM:]
    lost = sum(trial.value in (None, 0.5) or trial.state.name != "COMPLETE" for trial in guided)
    places = [(math.log10(trial.params["learning_rate"]), trial.params["weight_decay"]) for trial in guided[-LAST:]]
    spread = max(max(numbers) - min(numbers) for numbers in zip(*places, strict=True))
    print(f"{when_lost}: of {GUIDED} guided trials {lost} are lost; best AUROC {study.best_value:.4f}; last {LAST}:")
    print("   ", *(f"(10 ** {exponent:.2f}, {decay:.2f})" for exponent, decay in places))
    return lost, spread, study.best_value


found = {when_lost: search(when_lost) for when_lost in ("pruned", "NaN", "returned as 0.5")}
for when_lost in ("pruned", "NaN"):
    lost, spread, _ = found[when_lost]
    assert lost >= LAST and spread < 0.05, f"changed: {when_lost} trials are not repeated"
lost, _, value = found["returned as 0.5"]
assert lost <= 5 and value > max(found["pruned"][2], found["NaN"][2]) + 0.002, "changed: the remedy"
PYTHON
echo "as found: lost trials are proposed again and again"
