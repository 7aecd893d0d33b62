"""Runs the whole study: tunes six models, trains each with every seed, runs their crop studies, and compares them.

GLASS is compared with the resize-only baseline twice: with equally many tuning trials, and with equal compute. For
equal compute, the baseline's search continues until it has used as many floating-point operations as the GLASS search.
Every part has its own folder and can be resumed after an interruption.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from glass.auditing.document import audit_summary, read_audit
from glass.config.dataset_digest import dataset_digest
from glass.config.run_config import RunConfig
from glass.config.versions import installed_versions
from glass.model.flops import training_flops
from glass.studies import device_memory
from glass.studies.budgets import Budget, StudyModel
from glass.studies.crop_documents import CropStudy
from glass.studies.crop_study import CropPlan, run_crop_study
from glass.studies.final_runs import FinalPlan, run_seeds
from glass.studies.search import Search
from glass.studies.search_records import Trial, Tuning, best_trial, state_of, value_of
from glass.studies.search_space import SearchPlan, changed_space, settings_at, space_for
from glass.studies.seed_results import comparisons
from glass.studies.study_documents import AboutModel, BaselineRow, SearchResult, StudyDocument, StudyResult
from glass.studies.training_cost import baseline_memory
from loaders.reading.open_shards import OpenShards
from shards.files.documents import write_document
from shards.files.outputs import make_folder

__all__ = ["Study"]

FORMAT_VERSION = 1
TUNED, EQUAL_TRIALS, EQUAL_COMPUTE = "tuned", "equal trials", "equal compute"

Report = Callable[[str], None]


@dataclass
class Study:
    """One study in one folder. ``report`` is called with a line of text for each part that is done."""

    data: OpenShards
    budget: Budget
    output: Path
    report: Report = lambda _: None

    def run(self) -> StudyDocument:
        """Runs the unfinished parts, writes ``study.json`` and returns its contents."""
        start = time.monotonic()
        audit = read_audit(Path(self.data.dataset.root))  # a damaged one is reported before the work
        searches, results = self._search_and_train()
        crop_studies = {model.name: self._crops(model) for model in self.budget.models if _sees_crops(model)}
        counts = self.data.dataset.info.counts
        document: StudyDocument = {
            "format_version": FORMAT_VERSION,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "budget": self.budget.name,
            "note": self.budget.note,
            "dataset": dataset_digest(self.data.dataset.root),
            "audit": None if audit is None else audit_summary(audit),
            "splits": {name: count.samples for name, count in counts.items()},
            "device": device_memory.device_name(),
            "versions": installed_versions(),
            "searches": searches,
            "results": results,
            "comparisons": comparisons(results),
            "crop_studies": crop_studies,
            "baseline_memory": [self._memory(model) for model in self.budget.models if not _sees_crops(model)],
            "memory_is": device_memory.meaning_of_counts(),
            "time_s": time.monotonic() - start,
        }
        write_document(self.output / "study.json", document, StudyDocument)
        return document

    def _search_and_train(self) -> tuple[list[SearchResult], list[StudyResult]]:
        """Runs all searches and final runs. Within a family, GLASS comes before its baseline."""
        searches: list[SearchResult] = []
        results: list[StudyResult] = []
        flops: dict[str, float] = {}
        for model in sorted(self.budget.models, key=lambda m: (m.family, not _sees_crops(m))):
            if _sees_crops(model):
                tuning, spent = self._tune(model, None)
                flops[model.family] = spent
            else:
                tuning, spent = self._tune(model, flops.get(model.family))
            searches.append({**_about(model), "flops": spent, "tuning": tuning})
            results += self._final(model, tuning, flops.get(model.family))
        return searches, results

    def _plan(self, model: StudyModel) -> SearchPlan:
        config = self.budget.config(model, self.data.dataset)
        config = replace(config, epochs=self.budget.trial_epochs)
        kind = "glass" if _sees_crops(model) else "single_view"
        changes = getattr(self.budget, f"{kind}_search")
        space = changed_space(space_for(config), config, changes)
        return SearchPlan(config, space, name=model.name, min_epochs=self.budget.min_epochs)

    def _tune(self, model: StudyModel, flops: float | None) -> tuple[Tuning, float]:
        """Runs the search for ``model``; returns its results and how many floating-point operations it used.

        If ``flops`` is given, the search continues beyond the budget's number of trials until it has used that many
        operations or reached the budget's ``max_trials``.
        """
        plan = self._plan(model)
        folder = self.output / model.name / "tune"
        make_folder(folder)
        search = Search(self.data, plan, folder)

        def report(trial: Any) -> None:
            found = value_of(trial)
            value = "" if found is None else f" {found:.4f}"
            self.report(f"{model.name} trial {trial.number}: {state_of(trial)}{value}")

        trials = self.budget.trials
        document = search.run(trials, report)
        spent = self._flops(plan, document["trials"])
        while flops is not None and spent < flops and trials < self.budget.max_trials:
            trials += 1
            document = search.run(trials, report)
            spent = self._flops(plan, document["trials"])
        return document, spent

    def _flops(self, plan: SearchPlan, trials: Sequence[Trial]) -> float:
        images = len(self.data.dataset.split_rows(plan.config.train_split))
        return sum(
            training_flops(settings_at(plan.config, plan.space, trial["params"]), images * trial["epochs"])
            for trial in trials
        )

    def _final(self, model: StudyModel, tuning: Tuning, glass_flops: float | None) -> list[StudyResult]:
        """Runs the final runs with the best settings in ``tuning`` and returns their results.

        A baseline has two results: one for the best of its first N trials, where N is the budget's number of trials, as
        for GLASS; and one for the best of all its trials. ``glass_flops`` is the number of floating-point operations
        that the search for the same family's GLASS model used.
        """
        wanted = {TUNED: len(tuning["trials"])}
        if not _sees_crops(model):
            wanted = {EQUAL_TRIALS: self.budget.trials, EQUAL_COMPUTE: len(tuning["trials"])}
        results: list[StudyResult] = []
        for terms, trials in wanted.items():
            among = tuning["trials"][:trials]
            found = best_trial(among, tuning["metric"])
            if found is None:
                self.report(f"{model.name}: no trial is complete, so there is nothing to train")
                continue
            _, best = found
            plan = self._plan(model)
            config = settings_at(plan.config, plan.space, best["params"])
            config = replace(config, epochs=self.budget.final_epochs)
            final = FinalPlan(config, self.budget.seeds, self.budget.hold_out)
            # Named after the trial, so that both terms share the runs if they chose the same trial.
            folder = self.output / model.name / f"final-trial-{best['number']:04d}"
            document = run_seeds(self.data, final, folder, lambda line: self.report(f"{model.name} {line}"))
            spent = self._flops(plan, among)
            results.append(
                {
                    **_about(model),
                    "terms": terms,
                    "trials": trials,
                    "search_flops": spent,
                    "best_trial": best["number"],
                    "params": best["params"],
                    "final": document,
                    "compute_share": spent / glass_flops if glass_flops else None,
                }
            )
        return results

    def _crops(self, model: StudyModel) -> CropStudy:
        config = self._at_crop_batch(model)
        plan = CropPlan(config, self.budget.crops, self.budget.crop_steps, self.budget.draws)
        return run_crop_study(
            self.data, plan, self.output / model.name / "crops", lambda line: self.report(f"{model.name} {line}")
        )

    def _memory(self, model: StudyModel) -> BaselineRow:
        config = self._at_crop_batch(model)
        folder = self.output / model.name / "memory"
        row = baseline_memory(self.data, config, self.budget.crop_steps, folder)
        self.report(f"{model.name} memory: {row['why'] or 'measured'}")
        return {"name": model.name, "family": model.family, **row}

    def _at_crop_batch(self, model: StudyModel) -> RunConfig:
        config = self.budget.config(model, self.data.dataset)
        steps = config.grad_accum_steps
        loader = replace(config.loader, global_batch_size=self.budget.crop_batch // steps)
        return replace(config, loader=loader, epochs=self.budget.crop_epochs).untracked()


def _sees_crops(model: StudyModel) -> bool:
    return model.preset.startswith("glass_")


def _about(model: StudyModel) -> AboutModel:
    kind = "glass" if _sees_crops(model) else "single_view"
    return {"name": model.name, "family": model.family, "kind": kind}
