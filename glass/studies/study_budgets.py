"""How large the whole study is: the paper's, and one for two CPU cores and the demo shards."""

from dataclasses import dataclass, replace

from glass.config.overrides import apply_overrides
from glass.config.run_config import RunConfig
from glass.presets import load_preset
from glass.studies.final_runs import SEEDS
from shards.manifest.dataset import ShardDataset

__all__ = ["BUDGETS", "Budget", "StudyModel"]


@dataclass(frozen=True)
class StudyModel:
    """One of the six models: a preset and what is changed of it."""

    name: str
    family: str
    """Of the backbone; a GLASS model and its baseline share it."""
    preset: str
    overrides: tuple[str, ...] = ()

    def config(self) -> RunConfig:
        """The settings."""
        return apply_overrides(load_preset(self.preset), self.overrides)


@dataclass(frozen=True)
class Budget:
    """Numbers of trials, epochs, seeds and crops; the same for all models."""

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
    """Of train and valid, held back in the final runs to choose the epoch by."""
    glass_search: tuple[str, ...] = ()
    """Changes of the search space, as ``--search`` takes them."""
    single_view_search: tuple[str, ...] = ()
    max_trials: int = 1000
    """Where giving a baseline the compute of GLASS stops in any case."""
    draws: int = 1000
    any_global_size: bool = False
    """Whether global views are taken in the size that the shards hold, and not in the presets'."""
    note: str | None = None
    """What a reader must know first."""

    def config(self, model: StudyModel, dataset: ShardDataset) -> RunConfig:
        """The settings of one of the models on these shards."""
        config = model.config()
        if not self.any_global_size:
            return config
        loader = replace(config.loader, global_size=dataset.info.global_size)
        return replace(config, loader=loader)


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
        # The study's rates are for pretrained weights; nothing learns from nothing with them. Two
        # trials find no rates either, so the ranges are narrow, around the tiny presets'.
        glass_search=(
            "batch=8",
            "dropout=0.0",
            "num_crops=4",
            "lr_global=1e-6..1e-5",
            "lr_local=4e-4..1e-3",
            "lr_head=2e-4..5e-4",
        ),
        single_view_search=("batch=8", "dropout=0.0", "lr=4e-4..1e-3"),
        note="A tiny budget: few trials, few epochs, networks of 0.4 million parameters without"
        " pretraining. These figures show that the parts work together, and nothing else.",
    ),
}
