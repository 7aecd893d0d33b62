"""Measures how much a detector's results degrade when images are re-saved, resized or blurred, or when noise is added.

Each row of the resulting table applies one perturbation from ``glass.measure.perturbations`` to the full images of a
split; all models score the same changed pixels. The row ``clean``, without a perturbation, uses the loader, so it
equals the result of ``glass evaluate``. Some sampling rules use the number of bits that a JPEG spends on each grid cell
of the image. If a perturbation ends by saving as JPEG, these are the bits of the new JPEG. Otherwise, they are those of
the original file, whose grid cells cover the same parts of the image. The result is a
:class:`glass.measure.robustness_schema.Robustness`.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glass.config.dataset_digest import dataset_digest
from glass.config.learnt_ids import overlap
from glass.config.versions import installed_versions
from glass.measure.bootstrap import paired_difference
from glass.measure.changed_images import SplitImages, changed_batches
from glass.measure.evaluation import evaluate_table
from glass.measure.evaluation_schema import Results
from glass.measure.perturbations import CLEAN, Perturbation
from glass.measure.predictions import prediction_table
from glass.measure.robustness_schema import (
    FORMAT_VERSION,
    ContenderResults,
    MeasuredContender,
    Robustness,
    RobustnessRow,
    WorstRow,
    check_robustness,
)
from glass.measure.scoring import Predictions, joined
from glass.measure.trained_model import TrainedModel
from loaders import LoaderConfig, build_loader
from loaders.decode.pixel_batch import pixel_batch
from loaders.windows.sampling import sampling_rule
from shards.cli.progress import progress_bar
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

__all__ = ["measure_robustness"]


@dataclass(frozen=True)
class _Contender:
    """A model to be measured, with its settings."""

    trained: TrainedModel
    loader: LoaderConfig
    """Loader settings for an evaluation: images in manifest order, windows of epoch 0, no augmentation."""
    threshold: tuple[float, str]
    """Decision threshold, and a description of its origin."""
    temperature: float
    """Temperature of the calibration in use; 1 if no calibration applies."""


def measure_robustness(
    models: Mapping[str, TrainedModel],
    dataset: ShardDataset,
    split: str,
    rows: Sequence[Perturbation],
    *,
    threads: int,
    loader_threads: int | None = None,
    draws: int = 1000,
    seed: int = 0,
    progress: bool = False,
) -> Robustness:
    """Measures ``models`` under the perturbations ``rows`` and returns the robustness document. The first row must be
    ``clean``.

    ``threads`` threads decode and change images; ``loader_threads`` threads read the unchanged images of the clean row
    (None means the number used in training). ``draws`` and ``seed`` configure the bootstrap. Raises ``InputError`` if
    the split is missing or none of its images can be read, and if a model's scores are not finite.
    """
    start = time.perf_counter()
    contenders = {name: _contender(trained, loader_threads, dataset, split) for name, trained in models.items()}
    reads_files = any(sampling_rule(contender.loader.sampling).reads_files for contender in contenders.values())
    images = SplitImages(dataset, split, with_detail=reads_files)
    measured = []
    try:
        for row in progress_bar(None, f"changing {split}", progress, over=rows, unit=" rows"):
            if row.name == CLEAN:
                predictions = _clean_scores(contenders, dataset, split)
            else:
                predictions = _changed_scores(contenders, images, row, threads)
            tables = {
                name: prediction_table(replace(scored, temperature=contenders[name].temperature), dataset, split)
                for name, scored in predictions.items()
            }
            measured.append(_measured_row(row, contenders, tables, len(images.rows), draws, seed))
    finally:
        images.close()
    content_id = images.samples.content_id[images.rows]
    document: Robustness = {
        "format_version": FORMAT_VERSION,
        "split": split,
        "dataset": dataset_digest(dataset.root),
        "models": {name: _described(contender, content_id) for name, contender in contenders.items()},
        "bootstrap": {"draws": draws, "seed": seed, "level": 0.95},
        "rows": measured,
        "worst": {name: _worst(measured, name) for name in contenders},
        "timing": {"time_s": time.perf_counter() - start},
        "versions": installed_versions(),
    }
    return check_robustness(document)


def _contender(trained: TrainedModel, threads: int | None, dataset: ShardDataset, split: str) -> _Contender:
    views = trained.views()
    calibration = trained.calibration_for(views)
    return _Contender(
        trained,
        trained.loader_config(views, {"num_threads": threads}),
        trained.threshold_for(views, dataset.root, split),
        1.0 if calibration is None else calibration.temperature,
    )


def _clean_scores(contenders: Mapping[str, _Contender], dataset: ShardDataset, split: str) -> dict[str, Predictions]:
    scores = {}
    for name, contender in contenders.items():
        with build_loader(dataset, split, contender.loader) as loader:
            scores[name] = contender.trained.score(loader)
    return scores


def _changed_scores(
    contenders: Mapping[str, _Contender], images: SplitImages, row: Perturbation, threads: int
) -> dict[str, Predictions]:
    """Maps each model's name to its scores on the changed images. Each image is changed only once, and all models score
    the result."""
    parts: dict[str, list[Predictions]] = {name: [] for name in contenders}
    samples = images.samples
    for numbers, changed in changed_batches(images, row, threads):
        pixels, details = [image.pixels for image in changed], [image.detail for image in changed]
        content_ids, labels = samples.content_id[numbers], samples.label[numbers].astype(np.int64)
        for name, contender in contenders.items():
            batch = pixel_batch(pixels, content_ids, contender.loader, labels=labels, details=details)
            batch["sample_key"] = samples.keys(numbers)
            parts[name].append(contender.trained.score([batch]))
    if not all(parts.values()):
        raise InputError(
            f"the change {row.name} failed on all images of the split: leave it out, with --rows for the others"
        )
    return {name: joined(scored) for name, scored in parts.items()}


def _measured_row(
    row: Perturbation,
    contenders: Mapping[str, _Contender],
    tables: Mapping[str, pa.Table],
    num_images: int,
    draws: int,
    seed: int,
) -> RobustnessRow:
    results = {
        name: evaluate_table(table, *contenders[name].threshold, draws=draws, seed=seed)
        for name, table in tables.items()
    }
    first, *others = tables
    return {
        "name": row.name,
        "title": row.title,
        "undecodable": num_images - len(tables[first]),
        "models": {name: _parts(result) for name, result in results.items()},
        "differences": {
            name: paired_difference(
                tables[name]["label"].to_numpy(),
                tables[name]["probability"].to_numpy(),
                tables[first]["probability"].to_numpy(),
                draws=draws,
                seed=seed,
                groups=tables[name]["group"].to_numpy(zero_copy_only=False),
            )
            for name in others
        },
    }


def _parts(result: Results) -> ContenderResults:
    return {
        "samples": result["samples"],
        "metrics": result["metrics"],
        "intervals": result["intervals"],
        "confusion": result["confusion"],
        "per_generator": result["per_generator"],
    }


def _described(contender: _Contender, content_id: npt.NDArray[np.int64]) -> MeasuredContender:
    """Returns the document's entry for one model.

    ``content_id`` (n,) holds the content ids of the images on which the model is measured.
    """
    trained, (threshold, source) = contender.trained, contender.threshold
    return {
        **trained.identity,
        "threshold": {"value": threshold, "source": source},
        "settings": asdict(contender.loader) | {"precision": trained.precision},
        "learnt": overlap(trained.learnt, content_id),
    }


def _worst(rows: Sequence[RobustnessRow], model: str) -> WorstRow:
    values = {row["name"]: row["models"][model]["metrics"]["auroc"] for row in rows}
    defined = {name: value for name, value in values.items() if value is not None}
    name = min(defined, key=lambda row: defined[row], default=None)
    return {"row": name, "auroc": None if name is None else defined[name]}
