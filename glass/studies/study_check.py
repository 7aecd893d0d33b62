"""Whether the whole study can be done on a data set, asked before its first search of hours."""

from glass.studies.hold_out import hold_back
from glass.studies.study_budgets import Budget
from glass.studies.usable import check_usable
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

__all__ = ["check_study"]


def check_study(dataset: ShardDataset, budget: Budget) -> None:
    """Raises ``InputError`` where a part of the study would refuse the data set."""
    stored = dataset.info.global_size
    for model in budget.models:
        config = budget.config(model, dataset)
        wanted = config.loader.global_size
        if wanted != stored:
            raise InputError(
                f"--budget {budget.name} takes global views of {wanted} pixels, and the shards in"
                f" {dataset.where} hold some of {stored}: build them with"
                f" python -m scripts.build_shards --global-size {wanted}"
            )
        check_usable(dataset, config)
    hold_back(dataset, "train+valid", budget.hold_out, "give a data set with more images")
