"""The loader as a torch ``IterableDataset``, for training code that needs a ``DataLoader``:
python docs/examples/torch_data_loader.py SHARDS
"""

import sys
from collections.abc import Iterator

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from loaders import Batch, LoaderConfig, build_loader


class Batches(IterableDataset):
    """Iterates over a split's batches, as the loader yields them (see ``docs/loader.md``). Wrap it in a ``DataLoader``
    with ``batch_size=None``, since its items are already whole batches."""

    def __init__(self, data: str, split: str, config: LoaderConfig, rank: int = 0, world_size: int = 1) -> None:
        self.loader = build_loader(data, split, config, rank, world_size)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        if get_worker_info() is not None:
            raise RuntimeError(
                "num_workers must be 0: the loader reads ahead in threads, and each worker would read all data"
            )
        yield from self.loader


def mean_loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The mean loss over the valid samples. Fillers, and images that could not be read, do not count."""
    losses = cross_entropy(logits, batch["label"], reduction="none")
    return losses[batch["is_valid"]].sum() / batch["is_valid"].sum().clamp(min=1)


def train(data: str, config: LoaderConfig, epochs: int) -> list[float]:
    """Trains a small example network on the global views; returns the mean loss of each epoch."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 5, stride=4), torch.nn.ReLU(), torch.nn.Flatten(1), torch.nn.LazyLinear(2)
    )
    batches = Batches(data, "train", config)
    loader = DataLoader(batches, batch_size=None)
    network(next(iter(loader))["global_view"].float() / 255)  # gives the last layer its shape
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    means = []
    for epoch in range(epochs):
        batches.loader.set_epoch(epoch)  # a new order and new windows
        losses = []
        for batch in loader:
            loss = mean_loss(network(batch["global_view"].float() / 255), batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        means.append(sum(losses) / len(losses))
    return means


if __name__ == "__main__":
    (shards,) = sys.argv[1:]
    print(train(shards, LoaderConfig(global_batch_size=8, global_size=64, crop_size=64), epochs=3))
