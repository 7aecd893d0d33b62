"""Groups of images that show the same picture, as a list for ``glass build --groups``."""

import numpy as np

from glass.auditing.duplicates import Duplicates
from shards.manifest.dataset import ShardDataset
from shards.manifest.groups import joined_groups

__all__ = ["found_groups"]


def found_groups(dataset: ShardDataset, duplicates: Duplicates) -> list[tuple[bytes, str, str]]:
    """Returns (SHA-256, group, source path) for every image in a group of at least two images, sorted by group and
    path.

    Images are connected by ``duplicates.pairs`` and by the groups that the data set already has; each connected
    component is a group. A component that contains existing groups takes the alphabetically first of their names. Any
    other component is named ``same-`` plus the first 16 hexadecimal digits of the lowest SHA-256 among its images.
    """
    pairs, given = duplicates.pairs, dataset.column("group")
    rows = np.union1d(np.flatnonzero(given != ""), pairs)
    ties: list[list[int]] = [[] for _ in rows]
    for number, pair in enumerate(np.searchsorted(rows, pairs).tolist()):
        for place in pair:
            ties[place].append(number)
    hashes = [digest.tobytes() for digest in dataset.column("sha256")[rows]]
    groups = joined_groups(given[rows].tolist(), ties, [f"same-{digest.hex()[:16]}" for digest in hashes])
    _, places, counts = np.unique(np.array(groups, object), return_inverse=True, return_counts=True)
    paths = dataset.column("source_path")[rows]
    return sorted(
        ((hashes[i], groups[i], paths[i]) for i in np.flatnonzero(counts[places] > 1)),
        key=lambda row: (row[1], row[2], row[0]),
    )
