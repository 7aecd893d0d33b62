"""The data set for tests of studies."""

import pytest

from loaders.reading.open_shards import OpenShards
from shards.manifest.dataset import ShardDataset


@pytest.fixture(scope="module")
def data(synthetic_dataset: ShardDataset):
    with OpenShards(synthetic_dataset) as shards:
        yield shards
