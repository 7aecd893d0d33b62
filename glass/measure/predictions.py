"""Joins a split's scores with the manifest in a table with one row per image.

The table is stored as ``predictions-<split>.parquet`` in the run's folder. Changing the threshold, applying a
calibration or comparing two models on the same images therefore does not require scoring the images again.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shards.errors import InputError
from shards.files.parquet_file import read_parquet

if TYPE_CHECKING:  # torch takes seconds to import, and reading predictions does not need it
    from glass.measure.scoring import Predictions
    from shards.manifest.dataset import ShardDataset

__all__ = ["PREDICTION_SCHEMA", "prediction_table", "predictions_path", "read_predictions"]

PREDICTION_SCHEMA = pa.schema(
    [
        pa.field("sample_key", pa.string()),
        pa.field("content_id", pa.int64()),
        pa.field("label", pa.int8()),  # 1 = generated, 0 = real
        pa.field("generator", pa.string()),  # "" for real images
        pa.field("group", pa.string()),
        pa.field("probability", pa.float64()),  # of "generated"; calibrated if the model is
        pa.field("logits", pa.list_(pa.float32())),  # real, generated
        pa.field("attention_weights", pa.list_(pa.float32())),  # one per window; null for a model without attention
        pa.field("crop_windows", pa.list_(pa.list_(pa.int32()))),  # top, left, height, width
        pa.field("source_path", pa.string()),  # relative to the folder the shards were built from
    ]
)


def prediction_table(predictions: "Predictions", dataset: "ShardDataset", split: str) -> pa.Table:
    """Returns ``predictions`` as a table that follows PREDICTION_SCHEMA, adding each sample's generator, group and
    source path from the manifest.

    Raises ``ValueError`` if a scored sample is not in the manifest, or if its content id differs from the manifest's.
    """
    columns = ["sample_key", "content_id", "generator", "group", "source_path"]
    manifest = dataset.table.select(columns).take(pa.array(dataset.split_rows(split)))
    keys = pa.array(list(predictions.sample_key), pa.string())
    places = pc.index_in(keys, value_set=manifest["sample_key"].combine_chunks())
    if places.null_count:
        raise ValueError(f"{places.null_count} scored samples are not in the manifest's {split}")
    manifest = manifest.take(places)
    if not np.array_equal(manifest["content_id"].to_numpy(), np.asarray(predictions.content_id)):
        raise ValueError("content ids of the scores and of the manifest differ")
    logits = np.asarray(predictions.logits, np.float32)
    weights = predictions.attention_weights
    values = {
        "sample_key": keys,
        "content_id": manifest["content_id"],
        "label": pa.array(np.asarray(predictions.label).astype(np.int8)),
        "probability": pa.array(np.asarray(predictions.probability, np.float64)),
        "logits": pa.array(logits.tolist()),
        "attention_weights": pa.array(
            [None] * len(keys) if weights is None else np.asarray(weights, np.float32).tolist()
        ),
        "crop_windows": pa.array(np.asarray(predictions.crop_windows, np.int32).tolist()),
        **{name: manifest[name] for name in ("generator", "group", "source_path")},
    }
    arrays = [values[field.name].cast(field.type) for field in PREDICTION_SCHEMA]
    return pa.table(arrays, schema=PREDICTION_SCHEMA)


def predictions_path(run: Path, split: str, variant: str = "") -> Path:
    """Returns the path of ``predictions-<split>.parquet``.

    ``variant`` (e.g. "-crops8") is inserted before the extension to tell apart predictions made with different
    settings.
    """
    return run / f"predictions-{split}{variant}.parquet"


def read_predictions(run: Path, split: str, variant: str = "") -> pa.Table:
    """Returns the prediction table (PREDICTION_SCHEMA) of ``split`` in ``run``. Raises ``InputError`` if it is missing
    or damaged."""
    path = predictions_path(run, split, variant)
    try:
        table = read_parquet(path)
        if table.schema.equals(PREDICTION_SCHEMA):
            _check_values(table)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): move it away and run glass evaluate again") from error
    if not table.schema.equals(PREDICTION_SCHEMA):
        raise InputError(f"{path} does not have the columns of this version: run glass evaluate again")
    return table


def _check_values(table: pa.Table) -> None:
    """Raises ``ValueError`` if the table contains values that no evaluation can have written."""
    for name in table.column_names:
        if name != "attention_weights" and table[name].null_count:
            raise ValueError(f"{name} lacks values")
    probability, label = table["probability"].to_numpy(), table["label"].to_numpy()
    if not ((probability >= 0) & (probability <= 1)).all() or not np.isin(label, (0, 1)).all():
        raise ValueError("probability or label is out of range")
