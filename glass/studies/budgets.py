"""Defines two budgets for the whole study: the paper's, and a tiny one for the demo shards and two CPU cores."""

from dataclasses import dataclass, replace

from glass.config.overrides import apply_overrides
from glass.config.run_config import RunConfig
from glass.presets import load_preset
from glass.studies.final_runs import SEEDS
from glass.studies.hold_out import hold_back
from glass.studies.plan import check_trainable
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

__all__ = ["BUDGETS", "Budget", "StudyModel"]


@dataclass(frozen=True)
class StudyModel:
    """One of the six models: a preset with some settings changed."""

    name: str
    family: str
    """The backbone family, which a GLASS model shares with its baseline."""
    preset: str
    overrides: tuple[str, ...] = ()

    def config(self) -> RunConfig:
        """The model's settings."""
        return apply_overrides(load_preset(self.preset), self.overrides)


@dataclass(frozen=True)
class Budget:
    """A study's size: its models, and how many trials, epochs, seeds and crops each of them gets."""

    name: str
    models: tuple[StudyModel, ...]
    trials: int
    trial_epochs: int
    min_epochs: int
    seeds: tuple[int, ...]
    final_epochs: int
    crops: tuple[int, ...]
    crop_batch: int
    crop_epochs: int
    crop_steps: int | None = None
    hold_out: float = 0.05
    """Fraction of the train and valid splits that final runs hold back to choose the epoch."""
    glass_search: tuple[str, ...] = ()
    """Changes to the GLASS models' search space, in the form that ``--search`` takes."""
    single_view_search: tuple[str, ...] = ()
    max_trials: int = 1000
    """Maximum number of trials for a baseline, whose search ends when it reaches this number or has used as much
    compute as the GLASS search."""
    draws: int = 1000
    """Number of bootstrap repetitions for each interval."""
    any_global_size: bool = False
    """Whether to take the global view size from the shards rather than from the preset."""
    note: str | None = None
    """A warning displayed at the top of the study's report."""

    def config(self, model: StudyModel, dataset: ShardDataset) -> RunConfig:
        """The settings of ``model`` for the shards of ``dataset``."""
        config = model.config()
        if not self.any_global_size:
            return config
        loader = replace(config.loader, global_size=dataset.info.global_size)
        return replace(config, loader=loader)

    def check(self, dataset: ShardDataset) -> None:
        """Raises ``InputError`` if any part of the study would reject ``dataset``, which might otherwise only surface
        after hours of searching.
        """
        stored = dataset.info.global_size
        for model in self.models:
            config = self.config(model, dataset)
            wanted = config.loader.global_size
            if wanted != stored:
                raise InputError(
                    f"--budget {self.name} needs global views of {wanted} pixels, but the shards in {dataset.where} "
                    f"have views of {stored}: build them again with glass build --global-size {wanted}"
                )
            check_trainable(dataset, config)
        hold_back(dataset, "train+valid", self.hold_out, "give a data set with more images")


def _tiny_models() -> tuple[StudyModel, ...]:
    backbones = (("ViT", "test_vit"), ("ConvNeXt", "test_convnext"), ("ResNet", "test_resnet"))
    return tuple(
        StudyModel(f"{kind}_{backbone}", family, f"{kind}_tiny", (f"model.global_backbone={backbone}",))
        for family, backbone in backbones
        for kind in ("glass", "single_view")
    )


def _paper_models() -> tuple[StudyModel, ...]:
    families = (("ViT-B/16", "vit_base"), ("ConvNeXt-T", "convnext_tiny"), ("ResNet-50", "resnet50"))
    return tuple(
        StudyModel(f"{kind}_{name}", family, f"{kind}_{name}")
        for family, name in families
        for kind in ("glass", "single_view")
    )


BUDGETS = {
    "paper": Budget(
        name="paper",
        models=_paper_models(),
        trials=100,
        trial_epochs=25,
        min_epochs=5,
        seeds=SEEDS,
        final_epochs=50,
        crops=tuple(range(1, 17)),
        crop_batch=32,
        crop_epochs=25,
    ),
    "tiny": Budget(
        name="tiny",
        models=_tiny_models(),
        trials=2,
        trial_epochs=2,
        min_epochs=1,
        seeds=(100, 200),
        final_epochs=10,
        crops=(1, 2, 4, 8),
        crop_batch=8,
        crop_epochs=1,
        crop_steps=8,
        max_trials=12,
        draws=200,
        any_global_size=True,
        # The study's learning rates suit pretrained weights; an untrained network would learn nothing. Two trials are
        # too few to find better rates, so the ranges are narrow, around the rates of the tiny presets.
        glass_search=(
            "batch=8",
            "dropout=0.0",
            "num_crops=4",
            "lr_global=1e-6..1e-5",
            "lr_local=4e-4..1e-3",
            "lr_head=2e-4..5e-4",
        ),
        single_view_search=("batch=8", "dropout=0.0", "lr=4e-4..1e-3"),
        note="A tiny budget: few trials, few epochs, networks of 0.4 million parameters without pretraining. The "
        "figures show only that the parts work together.",
    ),
}
