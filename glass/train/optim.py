"""Sets up AdamW with a learning rate for each part of the network, and the cosine schedule that lowers the rates."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from glass.config.run_config import OptimConfig

__all__ = ["build_optimizer", "build_schedule", "parameter_groups"]


def parameter_groups(model: nn.Module, config: OptimConfig) -> list[dict[str, Any]]:
    """Returns one parameter group for each part of the network, with ``name``, ``lr`` and ``weight_decay``.

    ``Glass`` has four groups: global backbone, local backbone, attention pool and head. The last two both use
    ``lr_head`` and ``wd_head`` (0 in the study, arXiv 2601.00141). ``SingleView`` has two: global backbone and head.
    Every trained parameter belongs to exactly one group, and a group's weight decay applies to all of its parameters,
    as in the study. Raises ``ValueError`` if the model has a part without a learning rate.
    """
    rates = {
        "global_backbone": (config.lr_global, config.wd_global),
        "local_backbone": (config.lr_local, config.wd_local),
        "attention_pool": (config.lr_head, config.wd_head),
        "head": (config.lr_head, config.wd_head),
    }
    groups = []
    for name, part in model.named_children():
        if name not in rates:
            raise ValueError(f"no learning rate is set for the part {name!r} of the model")
        learning_rate, weight_decay = rates[name]
        params = [parameter for parameter in part.parameters() if parameter.requires_grad]
        groups.append({"name": name, "params": params, "lr": learning_rate, "weight_decay": weight_decay})
    return [group for group in groups if group["params"]]


def build_optimizer(groups: Iterable[dict[str, Any]]) -> torch.optim.AdamW:
    """AdamW for ``groups``, fused into one kernel on CPU and GPU. The parameters must already be on their device."""
    return torch.optim.AdamW(list(groups), fused=True)


class _Cosine(torch.optim.lr_scheduler.CosineAnnealingLR):
    """torch's cosine schedule, except that a rate below the minimum stays constant instead of rising to the minimum."""

    def get_lr(self) -> list[float | torch.Tensor]:
        return [
            lowered if start > self.eta_min else start
            for lowered, start in zip(super().get_lr(), self.base_lrs, strict=True)
        ]


def build_schedule(
    optimizer: torch.optim.Optimizer, epochs: int, lr_min: float
) -> torch.optim.lr_scheduler.LRScheduler:
    """Returns a half-cosine schedule that lowers each group's learning rate to ``lr_min``. Call its ``step`` after each
    epoch.

    Epoch e of E (from 0) runs at lr_min + (lr - lr_min) · (1 + cos(π e / E)) / 2. A group's rate does not change if it
    is ``lr_min`` or less, e.g. 0.
    """
    return _Cosine(optimizer, T_max=epochs, eta_min=lr_min)
