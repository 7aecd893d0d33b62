"""Uses measurements to estimate which batch size, number of crops and chunk size fit into a GPU's memory."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from glass.config.overrides import apply_overrides
from glass.config.run_config import RunConfig
from glass.memory.memory_model import Row, ViewCosts, fitted, is_measured, view_costs
from glass.model.architectures import shapes_only
from glass.model.model import Glass, build_model

__all__ = ["USABLE_SHARE", "USED_BY_CUDA_BYTES", "Estimate", "Plan", "Planner", "advice", "usable_bytes"]

GIB = 1 << 30
USABLE_SHARE = 0.92
"""Fraction of the memory not used by CUDA itself that is available to tensors. It is below 1 because CUDA's allocator
never fills its blocks completely. Assumed, not measured."""
USED_BY_CUDA_BYTES = GIB // 2
"""Memory used by CUDA's context, kernels and workspaces. Assumed, not measured."""
FROZEN_SHARE = 0.15
"""Activation memory of a view in a frozen backbone, as a fraction of that in a trained backbone. Assumed, not
measured."""
CHECKPOINTED_SHARE = 0.4
"""Activation memory of a view in a backbone with ``model.grad_checkpoint_global``, as a fraction of that without it.
Counted from shapes: 0.40 for ResNet-50, 0.25 for ConvNeXt-T, 0.12 for ViT-B/16."""
FEWEST_WITH_BATCHNORM = 8
"""Minimum number of global views per batch that is considered sufficient for BatchNorm layers. Plans with fewer are
ranked last."""
COUNTED_BATCH, COUNTED_CROPS = 4, (1, 4)
"""Batch size and crop counts for which an unmeasured backbone's memory use is computed from tensor shapes."""


@dataclass(frozen=True)
class Estimate:
    """A step's peak memory use in bytes, broken down by purpose."""

    weights: float
    gradients: float
    optimiser: float
    activations: float
    input: float
    average: float
    """The copy of the weights for the moving average (``train.ema``); 0 if there is none."""

    @property
    def peak(self) -> float:
        """Sum of all parts."""
        return self.weights + self.gradients + self.optimiser + self.activations + self.input + self.average


@dataclass(frozen=True)
class Plan:
    """A combination of settings that makes a training step fit into memory."""

    batch: int
    """Images per micro-step on one device."""
    grad_accum_steps: int
    crops: int
    crop_chunk: int | None
    estimate: Estimate
    relative_cost: float
    """Number of operations in a step, relative to the same step without chunks. A view's backward pass counts as two
    forward passes."""


def usable_bytes(memory_bytes: float) -> float:
    """Returns how many bytes of a GPU's memory are available to tensors."""
    return max(memory_bytes - USED_BY_CUDA_BYTES, 0) * USABLE_SHARE


class Planner:
    """Estimates the memory use of training steps for one configuration.

    The estimates are based on stored measurements. If a backbone was not measured in this precision, ``count`` is
    called to compute a step's memory use from tensor shapes (see :func:`glass.train.counted_step.count_by_shapes`). If
    ``count`` is None, ``InputError`` is raised instead.
    """

    def __init__(self, config: RunConfig, precision: str, count: Callable[[RunConfig], Row] | None = None) -> None:
        self.config = config
        model, loader = config.model, config.loader
        self._precision, self._count = "bf16" if precision == "fp16" else precision, count  # equally large
        with shapes_only():  # and no weights in memory
            network = build_model(config, with_weights=False)
        self.global_costs = self._costs(model.global_backbone, loader.global_size)
        self.local_costs, self.has_crops = self.global_costs, model.kind == "glass"
        if self.has_crops:
            self.local_costs = self._costs(model.local_backbone or model.global_backbone, loader.crop_size)
        self.has_batchnorm = any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in network.modules())
        self.weights_bytes = _bytes([*network.parameters(), *network.buffers()])
        learning = [weight for weight in network.parameters() if weight.requires_grad]
        self.gradients_bytes = _bytes(learning)
        local: nn.Module = network.global_backbone
        if isinstance(network, Glass) and not network.shares_backbone:
            local = network.local_backbone
        self.local_gradients_bytes = _bytes([w for w in local.parameters() if w.requires_grad])
        self.global_learns = any(w.requires_grad for w in network.global_backbone.parameters())
        self.local_learns = self.has_crops and self.local_gradients_bytes > 0
        self.global_is_checkpointed = model.grad_checkpoint_global
        self.local_is_checkpointed = model.grad_checkpoint_global and model.share_backbone

    def estimate(self, batch: int, crops: int, crop_chunk: int | None) -> Estimate:
        """Estimates a step's memory use on one device, for ``batch`` images with ``crops`` crops each."""
        together = min(crop_chunk or crops, crops) if self.has_crops else 0
        size = self.config.loader.global_size
        per_image = self._kept(self.global_costs, size, self.global_learns, self.global_is_checkpointed)
        if self.has_crops:
            size = self.config.loader.crop_size
            kept = self._kept(self.local_costs, size, self.local_learns, self.local_is_checkpointed)
            per_image += together * kept
        activations = batch * per_image + self._fixed()
        # While a chunk is recomputed, the gradients of later chunks are in memory. The last chunk is never recomputed.
        gradients = self.local_gradients_bytes if self.local_learns and together < crops else 0
        if gradients + activations < self.gradients_bytes:  # the peak comes at the end
            gradients, activations = self.gradients_bytes, 0
        loader = self.config.loader
        pixels = loader.global_size**2 + (crops * loader.crop_size**2 if self.has_crops else 0)
        return Estimate(
            weights=self.weights_bytes,
            gradients=gradients,
            optimiser=2 * self.gradients_bytes,
            activations=activations,
            input=batch * pixels * 3,
            average=0.0 if self.config.train.ema is None else self.weights_bytes,
        )

    def relative_cost(self, crops: int, crop_chunk: int | None) -> float:
        """Returns the number of operations in a step with chunks of ``crop_chunk`` crops, relative to the same step
        without chunks."""
        if not self.local_learns or crop_chunk is None or crop_chunk >= crops:
            return 1.0
        last = crops % crop_chunk or crop_chunk
        # A checkpointed view is computed once more.
        of_global = 3 + self.global_is_checkpointed if self.global_learns else 1
        plain = of_global + (3 + self.local_is_checkpointed) * crops
        return (plain + crops - last) / plain

    def plans(self, limit_bytes: float, crops: int) -> list[Plan]:
        """Returns the plans whose tensors fit into ``limit_bytes``, best first.

        For each batch size that divides the configured one, there is at most one plan, with the largest chunk that
        fits. Plans are sorted by the number of operations in a step, then by descending batch size; plans with too few
        images for BatchNorm come last.
        """
        config = self.config
        whole = config.loader.global_batch_size * config.grad_accum_steps
        found = []
        for batch in sorted((b for b in range(1, whole + 1) if whole % b == 0), reverse=True):
            for chunk in self._chunks(crops):
                estimate = self.estimate(batch, crops, chunk)
                if estimate.peak <= limit_bytes:
                    cost = self.relative_cost(crops, chunk)
                    found.append(Plan(batch, whole // batch, crops, chunk, estimate, cost))
                    break
        few = FEWEST_WITH_BATCHNORM if self.has_batchnorm else 1
        return sorted(found, key=lambda plan: (plan.batch < few, plan.relative_cost, -plan.batch))

    def errors(self) -> list[tuple[Row, float]]:
        """Returns (row, estimated peak / measured peak) for each measured row with this backbone and these image sizes.

        The estimate excludes the moving average, which no measurement used. The list is empty if the model has two
        different backbones, sees no crops, checkpoints activations, or has other trained weights than in the
        measurements, which froze none.
        """
        model, loader = self.config.model, self.config.loader
        sizes = (loader.global_size, loader.crop_size)
        two_kinds = model.local_backbone not in (None, model.global_backbone)
        if not self.has_crops or two_kinds or self.global_is_checkpointed:
            return []
        rows = [
            row
            for row in self.global_costs.measured
            if (row["global_size"], row["crop_size"]) == sizes
            and math.isclose(row["optimiser_bytes"], 2 * self.gradients_bytes, rel_tol=0.01)
        ]
        estimates = [self.estimate(row["batch_size"], row["num_crops"], row["crop_chunk"]) for row in rows]
        return [(row, (e.peak - e.average) / row["peak_bytes"]) for row, e in zip(rows, estimates, strict=True)]

    def _costs(self, backbone: str, image_size: int) -> ViewCosts:
        if self._count is None or is_measured(backbone, self._precision):
            return view_costs(backbone, self._precision)
        sizes = [f"{name}={image_size}" for name in ("loader.global_size", "loader.crop_size")]
        step = [f"model.global_backbone={backbone}", "model.pretrained=false", f"precision={self._precision}", *sizes]
        step += [f"loader.global_batch_size={COUNTED_BATCH}", "tensorboard=false"]
        steps = [apply_overrides(RunConfig(), [*step, f"loader.num_crops={crops}"]) for crops in COUNTED_CROPS]
        return fitted([self._count(config) for config in steps])

    def _chunks(self, crops: int) -> list[int | None]:
        if not self.has_crops:
            return [None]
        halves = [crops >> shift for shift in range(1, crops.bit_length())]
        return [None, *(chunk for chunk in halves if chunk >= 1)]

    def _kept(self, costs: ViewCosts, image_size: int, learns: bool, is_checkpointed: bool) -> float:
        area = (image_size / costs.image_size) ** 2
        share = CHECKPOINTED_SHARE if is_checkpointed else 1.0
        return costs.bytes_per_view * area * (share if learns else FROZEN_SHARE)

    def _fixed(self) -> float:
        """Bytes needed regardless of the batch size. The measured models have two backbones; for a model with only one,
        half of their fixed bytes are assumed. The reserve for temporary buffers is not halved."""
        one_backbone = not self.has_crops or self.config.model.share_backbone
        fixed = self.global_costs.fixed_bytes / 2 + self.local_costs.fixed_bytes / 2
        reserve = max(self.global_costs.reserve_bytes, self.local_costs.reserve_bytes)
        return fixed * (0.5 if one_backbone else 1.0) + reserve


def advice(config: RunConfig, precision: str, memory_bytes: float, processes: int = 1) -> str:
    """Returns a message listing the ``--set`` options that should fit, or advising a smaller backbone if nothing fits.

    Raises ``InputError`` if the backbones were not measured.
    """
    plans = Planner(config, precision).plans(usable_bytes(memory_bytes), config.loader.num_crops)
    whole = config.loader.global_batch_size * config.grad_accum_steps
    plans = [plan for plan in plans if plan.batch * processes <= whole]
    plans = [plan for plan in plans if whole % (plan.batch * processes) == 0]
    if not plans:
        return "not even one image at a time fits: choose a smaller backbone, or freeze one"
    best = plans[0]
    changes = {
        "loader.global_batch_size": best.batch * processes,
        "grad_accum_steps": whole // (best.batch * processes),
        "model.crop_chunk": best.crop_chunk,
    }
    words = " ".join(f"--set {key}={str(value).lower()}" for key, value in changes.items())
    return f"{words} should fit, with a peak of {best.estimate.peak / GIB:.1f} GiB"


def _bytes(tensors: list[Any]) -> float:
    return float(sum(tensor.numel() * tensor.element_size() for tensor in tensors))
