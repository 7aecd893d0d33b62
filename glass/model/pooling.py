"""Pools the features of an image's crops, with weights that express how much each crop contributes to the decision."""

import torch
from torch import nn

__all__ = ["AttentionPool"]


class AttentionPool(nn.Module):
    """Computes a weighted sum of N crop features, with learned weights.

    Linear(D, hidden) – Tanh – Dropout – Linear(hidden, 1), then a softmax over the crops that ``crop_mask`` allows
    (Ilse et al., arXiv 1802.04712; GLASS, arXiv 2601.00141).
    """

    def __init__(self, embed_dim: int, hidden_dim: int = 128, dropout: float = 0.0) -> None:
        super().__init__()
        self.score = nn.Sequential(
            nn.Linear(embed_dim, hidden_dim), nn.Tanh(), nn.Dropout(dropout), nn.Linear(hidden_dim, 1)
        )

    def forward(
        self, features: torch.Tensor, crop_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the pooled feature (B, D) and ``attention_weights`` (B, N), both float32.

        ``features`` is (B, N, D). ``crop_mask`` (B, N) bool is False for masked crops; None means that no crop is
        masked. Masked crops have weight 0, and the weights of an image's other crops sum to 1. If all crops of an image
        are masked, its weights and its pooled feature are 0. Does not synchronise with the device.
        """
        # Softmax and sum in float32 even under autocast: in half precision, the weights of many
        # crops no longer sum to 1.
        scores = self.score(features).squeeze(-1).float()
        if crop_mask is None:
            attention_weights = scores.softmax(dim=1)
        else:
            # The smallest float, not -inf: a row of -inf would give NaN, and so would its gradient.
            scores = scores.masked_fill(~crop_mask, torch.finfo(scores.dtype).min)
            attention_weights = scores.softmax(dim=1) * crop_mask
        pooled = (attention_weights.unsqueeze(-1) * features.float()).sum(dim=1)
        return pooled, attention_weights
