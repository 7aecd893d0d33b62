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
                    model against the first: ``glass.measure.metrics.paired_difference`` of the AUROC)
``worst``           model → ``row`` and ``auroc`` of the row with its lowest AUROC
``timing``          ``time_s``
``versions``        distribution → version
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glass.config.learnt_ids import LearntIds, overlap, read_learnt_ids
from glass.config.run_config import RunConfig
from glass.config.run_folder import dataset_digest
from glass.config.versions import installed_versions
from glass.export.model_folder import load_model, read_model_card
from glass.export.pixel_rules import warn_of_other_pixels
from glass.measure.applied_calibration import applicable, decision_threshold
from glass.measure.calibration import ViewSettings, read_calibration
from glass.measure.encoded_image import decode_file
from glass.measure.evaluation import evaluate_table
from glass.measure.metrics import paired_difference
from glass.measure.perturbations import CLEAN, Perturbation
from glass.measure.predictions import prediction_table
from glass.measure.scoring import Predictions, score
from glass.model.precision import precision_in_use
from loaders import LoaderConfig, build_loader
from loaders.decode.pixel_batch import pixel_batch
from loaders.reading.checksums import BadChecksum, Checksums
from loaders.reading.mapped_shards import MappedShards, UnreadableMember
from loaders.reading.sample_table import SampleTable
from loaders.windows.detail import Detail, detail_of_file
from loaders.windows.sampling import sampling_rule
from shards.errors import InputError, require_sound_machine
from shards.images.pixels import RejectedImage, decode_rgb
from shards.manifest.dataset import ShardDataset

__all__ = ["Contender", "check_robustness", "load_contender", "measure_robustness"]

FORMAT_VERSION = 1

IMAGES_AT_A_TIME = 8
"""Changed images held in memory per batch; a second batch is prepared meanwhile."""

Pixels = npt.NDArray[np.uint8]

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
class Contender:
    """A model to be measured."""

    model: Any
    config: RunConfig
    loader: LoaderConfig
    """As in evaluation: in order, with the windows of epoch 0, nothing augmented."""
    card: dict[str, Any]
    threshold: tuple[float, str]
    """Its value, and where it comes from."""
    temperature: float
    """Of its calibration, 1 without one."""
    learnt: LearntIds | None = None
    """Which images it learnt from; None where that is not known."""

    @property
    def precision(self) -> str:
        """The setting that it computes with."""
        return precision_in_use(self.config.precision, self.loader.device)


def load_contender(folder: Path, device: str, num_threads: int | None, data: Path, split: str) -> Contender:
    """The exported model in ``folder``, for ``split`` of the data set in ``data``. Raises
    ``InputError`` where there is none; warns with ``DecoderWarning`` where pixels may differ from
    training's."""
    model, config = load_model(folder, device)
    card = read_model_card(folder)
    warn_of_other_pixels(card.get("pixels"), str(folder))
    loader = config.loader.for_evaluation(device=device, num_threads=num_threads or config.loader.num_threads)
    calibration = read_calibration(folder, card["weights_sha256"])
    views = ViewSettings(loader.num_crops, loader.sampling)
    applied = applicable(calibration, views)
    return Contender(
        model,
        config,
        loader,
        card,
        decision_threshold(calibration, views, data, split),
        1.0 if applied is None else applied.temperature,
        read_learnt_ids(folder, card["weights_sha256"]),
    )


def measure_robustness(
    contenders: Mapping[str, Contender],
    dataset: ShardDataset,
    split: str,
    rows: Sequence[Perturbation],
    *,
    threads: int,
    draws: int = 1000,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """The document of ``contenders`` on ``rows``, of which the first is the clean one.

    ``threads`` decode and change images; ``draws`` and ``seed`` are the bootstrap's. Raises
    ``InputError`` for a split that is not there or holds nothing readable.
    """
    from tqdm import tqdm

    start = time.perf_counter()
    reads_files = any(sampling_rule(contender.loader.sampling).reads_files for contender in contenders.values())
    images = _SplitImages(dataset, split, reads_files)
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
    document = {
        "format_version": FORMAT_VERSION,
        "split": split,
        "dataset": dataset_digest(dataset.root),
        "models": {
            name: _described(contender, images.samples.content_id[images.rows])
            for name, contender in contenders.items()
        },
        "bootstrap": {"draws": draws, "seed": seed, "level": 0.95},
        "rows": measured,
        "worst": {name: _worst(measured, name) for name in contenders},
        "timing": {"time_s": time.perf_counter() - start},
        "versions": installed_versions(),
    }
    check_robustness(document)
    return document


@dataclass(frozen=True)
class _ChangedImage:
    pixels: Pixels
    detail: Detail | None


class _SplitImages:
    """The images of a split, in the loader's order without shuffling."""

    def __init__(self, dataset: ShardDataset, split: str, with_detail: bool) -> None:
        """``with_detail``: whether a sampling rule wants it; that takes a walk through files."""
        self._with_detail = with_detail
        self.rows = dataset.split_rows(split)
        self.samples = SampleTable(dataset)
        self._shards = MappedShards([dataset.shard_path(name) for name in self.samples.shards])
        self._checksums = Checksums(len(dataset))

    def changed(self, row: int, perturbation: Perturbation) -> _ChangedImage | None:
        """The changed image of a manifest row; None where it cannot be read, decoded or saved,
        or where its bytes are not those that were written."""
        samples = self.samples
        where = int(samples.image.offset[row]), int(samples.image.length[row])
        try:
            member = self._shards.member(int(samples.shard[row]), *where)
            if not self._checksums.is_sound(row):
                self._checksums.check(row, {"image": (member, int(samples.crc32["image"][row]))})
            data = member.tobytes()
            pixels = decode_file(data)
            change = perturbation.change((pixels.shape[0], pixels.shape[1]), int(samples.content_id[row]))
            jpeg = change.as_jpeg(pixels)
            if jpeg is not None:
                return _ChangedImage(decode_rgb(jpeg), self._detail(jpeg))
            # As in the loader, a file that was converted for the shard has no bits of its own.
            converted = samples.forms[samples.stored_as[row]] == "baseline"
            detail = None if converted else self._detail(data)
            return _ChangedImage(change.on_image(pixels), detail)
        except (UnreadableMember, BadChecksum, RejectedImage, ValueError, OSError) as error:
            require_sound_machine(error)
            # The last two: a WebP has 16,383 pixels a side at most, a JPEG 65,500.
            return None

    def _detail(self, data: bytes) -> Detail | None:
        return detail_of_file(data) if self._with_detail else None

    def close(self) -> None:
        """Lets go of the shards."""
        self._shards.close()


def _clean_scores(contenders: Mapping[str, Contender], dataset: ShardDataset, split: str) -> dict[str, Predictions]:
    scores = {}
    for name, contender in contenders.items():
        with build_loader(dataset, split, contender.loader) as loader:
            scores[name] = _scored(name, contender, cast(Any, loader))
    return scores


def _scored(name: str, contender: Contender, batches: Iterable[dict[str, Any]]) -> Predictions:
    scored = score(contender.model, batches, contender.loader.device, contender.precision)
    if not np.isfinite(scored.logits).all():
        raise InputError(f"the model {name} gives scores that are not finite: train it again")
    return scored


def _changed_scores(
    contenders: Mapping[str, Contender], images: _SplitImages, row: Perturbation, threads: int
) -> dict[str, Predictions]:
    """Every contender's scores of the split's changed images: the pixels are made once."""
    parts: dict[str, list[Predictions]] = {name: [] for name in contenders}
    with ThreadPoolExecutor(threads, thread_name_prefix="changing") as pool:
        for numbers, changed in _batches(images, row, pool):
            pixels = [image.pixels for image in changed]
            details = [image.detail for image in changed]
            content_ids = images.samples.content_id[numbers]
            labels = images.samples.label[numbers].astype(np.int64)
            for name, contender in contenders.items():
                batch = pixel_batch(pixels, content_ids, contender.loader, labels=labels, details=details)
                scored = _scored(name, contender, [dict(batch)])
                parts[name].append(replace(scored, sample_key=images.samples.keys(numbers)))
    if not all(parts.values()):
        raise InputError(f"no image of the split could be changed by {row.name}: leave that row out")
    return {name: _joined(scored) for name, scored in parts.items()}


def _batches(
    images: _SplitImages, row: Perturbation, pool: ThreadPoolExecutor
) -> Iterator[tuple[npt.NDArray[np.int64], list[_ChangedImage]]]:
    """Manifest rows and changed images, one batch ahead of whoever asks."""
    pending: list[tuple[npt.NDArray[np.int64], list[Future[_ChangedImage | None]]]] = []
    for start in range(0, len(images.rows) + IMAGES_AT_A_TIME, IMAGES_AT_A_TIME):
        numbers = images.rows[start : start + IMAGES_AT_A_TIME]
        futures = [pool.submit(images.changed, number, row) for number in numbers.tolist()]
        pending.append((numbers, futures))
        if len(pending) > 1:
            before, done = pending.pop(0)
            images_done = [future.result() for future in done]
            readable = np.array([image is not None for image in images_done])
            if readable.any():
                yield before[readable], [image for image in images_done if image is not None]


def _joined(parts: Sequence[Predictions]) -> Predictions:
    def together(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else np.concatenate(values)

    return Predictions(
        sample_key=[key for part in parts for key in part.sample_key],
        content_id=together("content_id"),
        label=together("label"),
        logits=together("logits"),
        attention_weights=together("attention_weights"),
        crop_windows=together("crop_windows"),
        crop_mask=together("crop_mask"),
    )


def _measured_row(
    row: Perturbation,
    contenders: Mapping[str, Contender],
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


def _described(contender: Contender, content_id: npt.NDArray[np.int64]) -> dict[str, Any]:
    """``content_id`` (n,) of the images measured on."""
    return {
        "kind": contender.config.model.kind,
        "weights_sha256": contender.card["weights_sha256"],
        "chosen": contender.card.get("chosen"),
        "threshold": dict(zip(("value", "source"), contender.threshold, strict=True)),
        "settings": asdict(contender.loader) | {"precision": contender.precision},
        "learnt": overlap(contender.learnt, content_id),
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
