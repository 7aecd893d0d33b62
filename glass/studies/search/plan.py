"""What is searched: the settings that vary, those that do not, and the data."""

from dataclasses import dataclass
from typing import Any

from glass.config.overrides import flat_settings
from glass.config.run_config import RunConfig, config_to_dict
from glass.config.run_folder import FREE_TO_CHANGE, dataset_digest
from glass.studies.search.seeded_sampler import SAMPLER_SEED
from glass.studies.search.space import Dimension, space_record
from loaders.reading.open_shards import OpenShards

__all__ = ["SearchPlan"]


@dataclass(frozen=True)
class SearchPlan:
    """What is searched; ``config.epochs`` are those of a trial, ``config.select_by`` the metric."""

    config: RunConfig
    space: tuple[Dimension, ...]
    name: str = ""
    """Of the study in its storage; empty: the preset's."""
    min_epochs: int = 5
    """Epochs that every trial gets, at most ``config.epochs``."""

    @property
    def direction(self) -> str:
        """Whether the metric is better high or low."""
        return "minimize" if self.config.select_by == "loss" else "maximize"

    def record(self, data: OpenShards) -> dict[str, Any]:
        """What a storage remembers, to refuse to go on with another search."""
        varied = {key for dimension in self.space for key in dimension.settings}
        flat = flat_settings(config_to_dict(self.config))
        fixed = {k: v for k, v in flat.items() if k not in varied and k not in FREE_TO_CHANGE}
        return {
            **fixed,
            "space": space_record(self.space),
            "min_epochs": self.min_epochs,
            "sampler_seed": SAMPLER_SEED,
            "data": dataset_digest(data.dataset.root)["dataset_json_sha256"],
        }
