"""A simple classifier that every detector should outperform: logistic regression on power spectra, without a network.

A generator's up-sampling layers leave periodic traces and distort the power spectrum (e.g. arXiv 2003.08685; arXiv
1911.06465). ``BINS`` numbers per channel are enough to show the distortion. A trained network that does no better than
this classifier has not even found the traces that are visible in a spectrum. The classifier scores batches as a model
does, so its results are measured in the same way.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["NUM_CROPS", "WINDOW", "SpectrumClassifier", "fit_spectrum", "log_spectra"]

WINDOW = 128
"""Side of the windows in pixels, passed to the loader as ``crop_size``."""
NUM_CROPS = 8
BINS = 48
"""Number of equally wide rings into which the spectrum is divided, from frequency 0 to the highest."""
NOISE = 1e-3
"""Power added before taking the logarithm, for pixel values in 0 … 1. It is smaller than the rounding-error power of
eight-bit values."""


class SpectrumClassifier(nn.Module):
    """Logistic regression on spectra, fitted by :func:`fit_spectrum`. It is called in the same way as
    :class:`glass.model.model.Glass`."""

    def __init__(self, weight: np.ndarray, bias: float) -> None:
        super().__init__()
        self.register_buffer("weight", torch.from_numpy(weight.astype(np.float64)))
        self.bias = bias

    def forward(
        self, global_view: torch.Tensor, local_crops: torch.Tensor, crop_mask: torch.Tensor
    ) -> tuple[torch.Tensor, None]:
        """Returns logits (B, 2) float32 for real and generated, and None in place of attention. The global view is
        ignored."""
        margin = log_spectra(local_crops, crop_mask).double() @ self.weight + self.bias
        return torch.stack([torch.zeros_like(margin), margin], dim=1).float(), None


def log_spectra(local_crops: torch.Tensor, crop_mask: torch.Tensor) -> torch.Tensor:
    """(B, 3 · BINS) float32: the mean log power for each channel and ring of frequencies.

    The mean is taken over the windows of ``local_crops`` (B, N, 3, C, C) uint8 for which ``crop_mask`` (B, N) is true.
    It is 0 for an image without windows.
    """
    side = local_crops.shape[-1]
    hann = torch.hann_window(side, periodic=False, device=local_crops.device)
    pixels = local_crops.float() / 255
    pixels = (pixels - pixels.mean(dim=(-2, -1), keepdim=True)) * hann * hann[:, None]
    power = torch.log(torch.fft.rfft2(pixels).abs().square() + NOISE).flatten(-2)
    rings = _rings(side).to(local_crops.device)
    sums = torch.zeros(*power.shape[:-1], BINS, device=power.device).index_add_(-1, rings, power)
    spectra = sums / torch.bincount(rings, minlength=BINS)
    weights = crop_mask.float() / crop_mask.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.einsum("bn,bncr->bcr", weights, spectra).flatten(1)


def fit_spectrum(loader: Iterable[Mapping[str, Any]]) -> SpectrumClassifier:
    """Fits the classifier to all samples that ``loader`` yields in one epoch. Raises ``ValueError`` if the samples
    do not include both classes."""
    # Imported here because it takes a second and only this function needs it.
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    features, labels = [], []
    for batch in loader:
        valid = batch["is_valid"]
        features.append(log_spectra(batch["local_crops"], batch["crop_mask"])[valid].double().numpy())
        labels.append(batch["label"][valid].numpy())
    scaler = StandardScaler()
    scaled = scaler.fit_transform(np.concatenate(features))
    fitted = LogisticRegression(max_iter=5000).fit(scaled, np.concatenate(labels))
    weight = fitted.coef_[0] / scaler.scale_
    return SpectrumClassifier(weight, float(fitted.intercept_[0] - weight @ scaler.mean_))


def _rings(side: int) -> torch.Tensor:
    """(side · (side // 2 + 1),) int64: the ring index of each ``rfft2`` frequency."""
    rows, columns = torch.fft.fftfreq(side), torch.fft.rfftfreq(side)
    radius = torch.hypot(rows[:, None], columns[None, :]).flatten()
    return (radius / radius.max() * (BINS - 1e-3)).long()
