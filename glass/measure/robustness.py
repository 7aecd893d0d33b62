"""How much of a detector is left once images have been re-saved, resized, blurred: a table.

Every row of ``glass.measure.perturbations`` is done to the whole images of a split, and one or several
models score the outcome, all on the same pixels. The clean row goes through the loader, so it
equals ``scripts.evaluate``. Sampling rules that read a file's bits read those of the JPEG that a
change ends in, or else those of the original, whose cells are the same shares of the image. The
document (checked by :func:`check_robustness` whenever one is
written or read):

``format_version``  int, 1
``split``           str
``dataset``         ``name`` of its folder, ``dataset_json_sha256``
``models``          name → ``kind``, ``weights_sha256``, ``chosen``, ``threshold`` (``value``,
                    ``source``), ``settings`` (the loader's, ``precision``, ``device``)
``bootstrap``       ``draws``, ``seed``, ``level``
``rows``            list, the clean one first: ``name``, ``title``, ``undecodable``, ``models``
                    (name → ``metrics``, ``intervals``, ``confusion``, ``samples``,
                    ``per_generator`` as in an evaluation) and ``differences`` (each further
                    model against the first: ``glass.measure.bootstrap.paired_difference`` of the AUROC)
``worst``           model → ``row`` and ``auroc`` of the row with its lowest AUROC
``timing``          ``time_s``
``versions``        distribution → version
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tqdm import tqdm

from glass.config.learnt_ids import overlap
from glass.config.run_folder import dataset_digest
from glass.config.versions import installed_versions
from glass.measure.bootstrap import paired_difference
from glass.measure.changed_images import SplitImages, changed_batches
from glass.measure.evaluation import evaluate_table
from glass.measure.perturbations import CLEAN, Perturbation
from glass.measure.predictions import prediction_table
from glass.measure.scoring import Predictions, joined
from glass.measure.trained_model import TrainedModel
from loaders import LoaderConfig, build_loader
from loaders.decode.pixel_batch import pixel_batch
from loaders.windows.sampling import sampling_rule
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

__all__ = ["check_robustness", "measure_robustness"]

FORMAT_VERSION = 1

_FIELDS: dict[str, type] = {
    "format_version": int,
    "split": str,
    "dataset": dict,
    "models": dict,
    "bootstrap": dict,
    "rows": list,
    "worst": dict,
    "timing": dict,
    "versions": dict,
}
_MODEL_PARTS = {"kind", "weights_sha256", "chosen", "threshold", "settings"}
_ROW_PARTS = {"name", "title", "undecodable", "models", "differences"}
_RESULT_PARTS = ("samples", "metrics", "intervals", "confusion", "per_generator")


@dataclass(frozen=True)
class _Contender:
    """A model to be measured, and how."""

    trained: TrainedModel
    loader: LoaderConfig
    """As in evaluation: in order, with the windows of epoch 0, nothing augmented."""
    threshold: tuple[float, str]
    """Its value, and where it comes from."""
    temperature: float
    """That of its calibration, 1 without one."""


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
) -> dict[str, Any]:
    """The document of ``models`` on ``rows``, of which the first is the clean one.

    ``threads`` decode and change images, ``loader_threads`` read those of the clean row (None: as in
    training); ``draws`` and ``seed`` are the bootstrap's. Raises ``InputError`` for a split that is not
    there or holds nothing readable, and for a model whose scores are not finite.
    """
    start = time.perf_counter()
    contenders = {name: _contender(trained, loader_threads, dataset, split) for name, trained in models.items()}
    reads_files = any(sampling_rule(contender.loader.sampling).reads_files for contender in contenders.values())
    images = SplitImages(dataset, split, with_detail=reads_files)
    measured = []
    try:
        for row in tqdm(rows, f"changing {split}", unit=" rows", disable=not progress):
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
    document = {
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
    check_robustness(document)
    return document


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
    """Every contender's scores of the split's changed images: the pixels are made once."""
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
        raise InputError(f"no image of the split could be changed by {row.name}: leave that row out")
    return {name: joined(scored) for name, scored in parts.items()}


def _measured_row(
    row: Perturbation,
    contenders: Mapping[str, _Contender],
    tables: Mapping[str, pa.Table],
    num_images: int,
    draws: int,
    seed: int,
) -> dict[str, Any]:
    results = {
        name: evaluate_table(table, *contenders[name].threshold, draws=draws, seed=seed)
        for name, table in tables.items()
    }
    first, *others = tables
    return {
        "name": row.name,
        "title": row.title,
        "undecodable": num_images - len(tables[first]),
        "models": {name: {part: result[part] for part in _RESULT_PARTS} for name, result in results.items()},
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


def _described(contender: _Contender, content_id: npt.NDArray[np.int64]) -> dict[str, Any]:
    """``content_id`` (n,) of the images measured on."""
    trained = contender.trained
    return {
        **trained.identity,
        "threshold": dict(zip(("value", "source"), contender.threshold, strict=True)),
        "settings": asdict(contender.loader) | {"precision": trained.precision},
        "learnt": overlap(trained.learnt, content_id),
    }


def _worst(rows: Sequence[Mapping[str, Any]], model: str) -> dict[str, Any]:
    values = {row["name"]: row["models"][model]["metrics"]["auroc"] for row in rows}
    defined = {name: value for name, value in values.items() if value is not None}
    name = min(defined, key=lambda row: defined[row], default=None)
    return {"row": name, "auroc": None if name is None else defined[name]}


def check_robustness(document: Any) -> None:
    """Raises ``ValueError`` naming the first field that is missing or of another kind."""
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    for name, kind in _FIELDS.items():
        if not isinstance(document.get(name, ...), kind):
            raise ValueError(f"field {name} is missing or of another type")
    if document["format_version"] != FORMAT_VERSION:
        raise ValueError(f"format_version {document['format_version']} is not {FORMAT_VERSION}")
    models = set(document["models"])
    for name, described in document["models"].items():
        if missing := sorted(_MODEL_PARTS - set(described)):
            raise ValueError(f"model {name} lacks {', '.join(missing)}")
    if not models or not document["rows"]:
        raise ValueError("no model, or no row")
    for row in document["rows"]:
        if missing := sorted(_ROW_PARTS - set(row)):
            raise ValueError(f"a row lacks {', '.join(missing)}")
        if set(row["models"]) != models or set(document["worst"]) != models:
            raise ValueError(f"row {row['name']} is not of the models {', '.join(sorted(models))}")
        for name, result in row["models"].items():
            if missing := sorted(set(_RESULT_PARTS) - set(result)):
                raise ValueError(f"row {row['name']} of {name} lacks {', '.join(missing)}")
