"""Saves and restores the random generators that training uses (dropout, stochastic depth)."""

import random
from typing import Any

import numpy as np
import torch

__all__ = ["get_random_state", "seed_all", "set_random_state"]


def seed_all(seed: int, stream: int = 0) -> None:
    """Seeds Python, NumPy and torch. The same (seed, stream) yields the same random numbers; different pairs yield
    independent ones."""
    words = np.random.SeedSequence([seed, stream]).generate_state(3, np.uint64)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]) & 0xFFFFFFFF)  # noqa: NPY002 - libraries draw from the global one
    torch.manual_seed(int(words[2]) >> 1)  # on all devices


def get_random_state(device: torch.device) -> dict[str, Any]:
    """Returns the states of all generators as tensors and plain containers, which can be loaded without executing
    code.
    """
    numpy_state: dict[str, Any] = np.random.get_state(legacy=False)  # noqa: NPY002
    inner = numpy_state["state"]
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": numpy_state | {"state": {"key": torch.from_numpy(inner["key"].astype(np.int64)), "pos": inner["pos"]}},
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Restores a state returned by :func:`get_random_state`. On a CPU, CUDA's generator state is ignored."""
    random.setstate(state["python"])
    inner = state["numpy"]["state"]
    key = inner["key"].numpy().astype(np.uint32)
    np.random.set_state(  # noqa: NPY002
        state["numpy"] | {"state": {"key": key, "pos": inner["pos"]}}
    )
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
