"""A trained detector to use: images in, verdicts out.

>>> from glass.predict.detector import Detector
>>> detector = Detector.from_pretrained("runs/first")
>>> for verdict in detector.predict(["photo.jpg", "other.png"]): ...

Windows depend on the pixels alone, so the same pixels always get the same score: in any batch,
under any name, as a file of any format, as bytes, Pillow image or array, and the one that
``scripts.evaluate`` gives them in a shard. The rule ``sampling="texture"`` is the exception: it
reads the bits of a JPEG, and draws evenly where there is none.
"""

import logging
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch

from glass.config.learnt_ids import LearntIds, read_learnt_ids
from glass.config.run_config import RunConfig
from glass.export.model_folder import load_model, read_model_card
from glass.export.pixel_rules import warn_of_other_pixels
from glass.measure.applied_calibration import applicable
from glass.measure.calibration import Calibration, ViewSettings, read_calibration, sigmoid
from glass.measure.scoring import GENERATED, Predictions, score
from glass.memory.out_of_memory import DoesNotFit, shrinking_batches_advised
from glass.model.hub import model_folder
from glass.model.model import Glass, SingleView
from glass.model.precision import autocast, precision_in_use, resolve_precision
from glass.predict.image_sources import ImageSource, MemberSource, sources_of
from glass.predict.options import PredictOptions
from glass.predict.preparation import PreparedImage, prepare
from glass.predict.verdicts import ImageVerdict
from glass.predict.view_rows import CHANGES, ViewRow, stack_rows
from loaders.config import LoaderConfig
from loaders.loader import build_loader
from loaders.windows.grid import MAX_CELLS
from shards.cli.command import printable
from shards.errors import InputError
from shards.images.pixels import RejectedImage

__all__ = ["RAW_THRESHOLD", "Detector", "PredictOptions"]

logger = logging.getLogger(__name__)

RAW_THRESHOLD = 0.5
"""Where the verdict of a model that is not calibrated for the views turns."""

SCORED_BATCHES = 8
"""Of shards, computed before their verdicts are given: the device is not waited for after each."""

COVERING_STEP = 8
"""Crops of a covering row come in multiples of this, so that few shapes occur."""


class Detector:
    """A model, its calibration, and the settings it was trained with."""

    def __init__(
        self,
        model: Glass | SingleView,
        config: RunConfig,
        card: dict[str, Any],
        calibration: Calibration | None,
        device: Literal["cpu", "cuda"],
        learnt: LearntIds | None = None,
    ) -> None:
        """``model`` in evaluation mode on ``device``; ``card`` is its ``config.json``; ``learnt``
        says which images it learnt from, None where that is not known."""
        self.learnt = learnt
        self.model, self.config, self.card = model, config, card
        self.calibration, self.device = calibration, device
        self.precision = precision_in_use(config.precision, device)
        self._format = resolve_precision(self.precision, device)[0]

    @classmethod
    def from_pretrained(
        cls, path_or_hub_id: str | Path, *, device: str = "auto", revision: str | None = None, calibrated: bool = True
    ) -> "Detector":
        """The detector in a folder (a run, or an exported model), or ``user/name`` on the hub.

        Nothing is unpickled. ``calibrated=False`` leaves its calibration unread. Raises
        ``InputError`` where there is no model or a file of it is missing or damaged; warns with
        ``DecoderWarning`` where pixels may differ from training's.
        """
        folder = model_folder(path_or_hub_id, revision)
        there = torch.cuda.is_available()
        if device == "cuda" and not there:
            raise InputError("device cuda was asked for, but there is none: use cpu")
        where: Literal["cpu", "cuda"] = "cuda" if there and device != "cpu" else "cpu"
        card = read_model_card(folder)
        model, config = load_model(folder, where)
        calibration = read_calibration(folder, card["weights_sha256"]) if calibrated else None
        warn_of_other_pixels(card.get("pixels"), str(path_or_hub_id))
        learnt = read_learnt_ids(folder, card["weights_sha256"])
        return cls(model, config, card, calibration, where, learnt)

    @property
    def sees_crops(self) -> bool:
        """Whether the model looks at windows at all."""
        return isinstance(self.model, Glass)

    def views(self, options: PredictOptions) -> ViewSettings:
        """What the model will see of an image. Raises ``InputError`` where it sees no crops and
        ``options`` ask for some."""
        if not self.sees_crops and (
            options.num_crops or options.sampling or options.draws > 1 or options.coverage == "all"
        ):
            raise InputError("a single_view model sees no crops: leave out crops, draws, coverage")
        if options.coverage == "all":
            # Whatever the model was trained with: the rule that covers, and all it has to give.
            return ViewSettings(MAX_CELLS, "all", "all", options.draws)
        loader = self.config.loader
        return ViewSettings(
            num_crops=options.num_crops or loader.num_crops,
            sampling=options.sampling or loader.sampling,
            coverage=options.coverage,
            draws=options.draws,
        )

    def calibration_for(self, options: PredictOptions) -> Calibration | None:
        """The calibration, where it says what scores of the views of ``options`` mean."""
        return applicable(self.calibration, self.views(options))

    def predict(
        self, images: Sequence[Any], options: PredictOptions | None = None, **changes: Any
    ) -> list[ImageVerdict]:
        """A verdict for each of ``images``: paths, bytes, Pillow images or (H, W, 3) uint8 arrays.

        ``changes`` are fields of :class:`PredictOptions`. What cannot be read gets a verdict with
        its ``reason``. Equal pixels get equal verdicts, but for models with the sampling rule
        ``texture``: it reads the bits of a JPEG, which Pillow images and arrays do not bring along,
        so these are drawn evenly, as a PNG is. Raises ``TypeError`` for a single image.
        """
        sources = sources_of(images)
        return list(self.predict_iter(sources, replace(options or PredictOptions(), **changes)))

    def predict_iter(self, sources: Iterable[ImageSource], options: PredictOptions) -> Iterator[ImageVerdict]:
        """Verdicts in the order of ``sources``; few images are held at a time.

        Rows of one data set that follow each other are read through the loader, by windows where
        that is cheaper, if nothing is asked that needs whole images.
        """
        self.views(options)
        for dataset, run in groupby(sources, lambda source: self._readable_by_rows(source, options)):
            if dataset is None:
                yield from self._from_sources(run, options)
            else:
                yield from self._from_shards(dataset, cast(list[MemberSource], list(run)), options)

    def _readable_by_rows(self, source: ImageSource, options: PredictOptions) -> Any:
        whole = options.stability or options.draws > 1 or options.coverage == "all"
        if whole or not isinstance(source, MemberSource) or source.dataset is None:
            return None
        fits = source.dataset.info.global_size == self.config.loader.global_size
        return source.dataset if fits else None

    def _batch_size(self, options: PredictOptions) -> int:
        return options.batch_size or self.config.loader.global_batch_size

    def _loader_config(self, options: PredictOptions) -> LoaderConfig:
        """Of evaluation, with the views of ``options``."""
        views = self.views(options)
        return self.config.loader.for_evaluation(
            num_crops=views.num_crops,
            sampling=views.sampling,
            num_threads=options.num_threads,
            global_batch_size=self._batch_size(options),
            device=self.device,
        )

    def _from_shards(
        self, dataset: Any, sources: list[MemberSource], options: PredictOptions
    ) -> Iterator[ImageVerdict]:
        """The loader keeps the order of the rows, so verdicts come as it goes on."""
        rows = np.array([source.row for source in sources], np.int64)
        keys = dataset.table.column("sample_key").take(rows).to_pylist()
        height, width = dataset.column("height")[rows], dataset.column("width")[rows]
        left = deque(zip(sources, keys, height.tolist(), width.tolist(), strict=True))
        for scored in self._scored_rows(dataset, rows, options):
            margins = _finite(scored.margin)
            for place, scored_key in enumerate(scored.sample_key):
                source, key, *size = left.popleft()
                while key != scored_key:  # the loader masked it; read alone, it says why
                    yield from self._from_sources([source], options)
                    source, key, *size = left.popleft()
                weights, mask = scored.attention_weights, scored.crop_mask[place]
                yield self._verdict(
                    source.name,
                    options,
                    margins[place : place + 1],
                    {},
                    scored.crop_windows[place],
                    mask,
                    None if weights is None else weights[place],
                    (size[0], size[1]),
                    int(scored.content_id[place]),
                )
        # Where a shard could not be read: one by one, each image tells what is wrong.
        yield from self._from_sources([source for source, *_ in left], options)

    def _scored_rows(self, dataset: Any, rows: npt.NDArray[np.int64], options: PredictOptions) -> Iterator[Predictions]:
        """The scores of manifest rows through the loader, some batches at a time; they end early
        where a shard cannot be read, which ends a loader whole."""
        config = self._loader_config(options)
        try:
            with build_loader(dataset.with_splits({"chosen": rows}), "chosen", config) as loader:
                batches = iter(cast(Iterable[dict[str, Any]], loader))
                for first in batches:
                    part = chain([first], islice(batches, SCORED_BATCHES - 1))
                    yield score(self.model, part, self.device, self.precision)
        except DoesNotFit:
            raise
        except InputError as error:
            logger.warning("shards are read image by image: %s", printable(str(error)))

    def _from_sources(self, sources: Iterable[ImageSource], options: PredictOptions) -> Iterator[ImageVerdict]:
        """Chunks of whole batches; while one is computed on, the next is decoded."""
        remaining = iter(sources)
        rows_per_image = options.draws * (1 + len(CHANGES) if options.stability else 1)
        batch_size = 1 if options.coverage == "all" else self._batch_size(options)
        whole = batch_size // math.gcd(batch_size, rows_per_image)  # images that fill batches
        # Few come several times at a time, so that all threads have something to decode.
        step = whole * -(-2 * options.num_threads // whole)
        config = self._loader_config(options)
        waiting: deque[list[tuple[ImageSource, Future[PreparedImage | RejectedImage]]]] = deque()
        with ThreadPoolExecutor(options.num_threads, thread_name_prefix="predict") as pool:
            try:
                while True:
                    chunk = list(islice(remaining, step))
                    if chunk:
                        waiting.append([(s, pool.submit(prepare, s, config, options)) for s in chunk])
                    if len(waiting) > 1 or (waiting and not chunk):
                        yield from self._finish(waiting.popleft(), options)
                    elif not chunk:
                        return
            finally:
                pool.shutdown(cancel_futures=True)

    def _finish(
        self, chunk: list[tuple[ImageSource, "Future[PreparedImage | RejectedImage]"]], options: PredictOptions
    ) -> Iterator[ImageVerdict]:
        prepared = [future.result() for _, future in chunk]
        rows = [row for image in prepared if isinstance(image, PreparedImage) for row in image.rows]
        covering = options.coverage == "all"
        margins, attention = self.score_rows(rows, self._batch_size(options), covering)
        start = 0
        for (source, _), image in zip(chunk, prepared, strict=True):
            if isinstance(image, RejectedImage):
                yield ImageVerdict(source.name, reason=str(image))
                continue
            mine = slice(start, start + len(image.rows))
            start = mine.stop
            first = image.rows[0]
            draws, *changed = margins[mine].reshape(-1, options.draws)
            means = (float(np.mean(draws)) for draws in changed)
            changes = dict(zip(image.changes, means, strict=True))
            yield self._verdict(
                source.name,
                options,
                draws,
                changes,
                first.windows,
                first.mask,
                attention[mine.start],
                image.size,
                image.content_id,
            )

    def score_rows(
        self, rows: Sequence[ViewRow], batch_size: int, covering: bool = False
    ) -> tuple[npt.NDArray[np.float64], list[npt.NDArray[np.float32] | None]]:
        """The margin, logit(generated) - logit(real), of each row, and its attention weights (N,),
        None without attention.

        Rows have equally many crops and come in batches of one shape; ``covering`` rows differ in
        that, so each is a batch, of a shape that depends on the image alone. Raises ``InputError``
        for a model whose scores are not finite.
        """
        size = 1 if covering else batch_size
        margins: list[npt.NDArray[np.float64]] = []
        attention: list[npt.NDArray[np.float32] | None] = []
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            count = len(part[0].crops)
            padded = -(-count // COVERING_STEP) * COVERING_STEP if covering else count
            logits, weights = self._forward(stack_rows(part, size, padded, self.device))
            margins.append((logits[:, GENERATED] - logits[:, 0])[: len(part)])
            attention += [None if weights is None else weights[k][:count] for k in range(len(part))]
        if not margins:
            return np.zeros(0), []
        return _finite(np.concatenate(margins)), attention

    def _forward(
        self, batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32] | None]:
        _, local_crops, _ = batch
        with torch.no_grad(), autocast(self._format, self.device), shrinking_batches_advised(local_crops):
            logits, weights = self.model(*batch)
        as_array = logits.double().cpu().numpy()
        return as_array, None if weights is None else weights.cpu().numpy()

    def _verdict(
        self,
        name: str,
        options: PredictOptions,
        draws: npt.NDArray[np.float64],
        changes: Mapping[str, float],
        windows: npt.NDArray[np.int32],
        mask: npt.NDArray[np.bool_],
        attention: npt.NDArray[np.float32] | None,
        size: tuple[int, int],
        content_id: int,
    ) -> ImageVerdict:
        calibration = self.calibration_for(options)
        margin = float(np.mean(draws))
        probability = None if calibration is None else float(calibration.probability(margin))
        verdict = self._word(margin, calibration)
        unstable = None
        if changes:  # none where that was not asked, or the image is too long for all of them
            unstable = any(self._word(m, calibration) != verdict for m in changes.values())
        shown = mask if self.sees_crops else np.zeros_like(mask)
        return ImageVerdict(
            name,
            score=float(sigmoid(margin)),
            margin=margin,
            probability=probability,
            verdict=verdict,
            unstable=unstable,
            height=size[0],
            width=size[1],
            content_id=content_id,
            learnt=None if self.learnt is None else self.learnt.use_of(content_id),
            windows=windows[shown],
            attention=None if attention is None else attention[: len(shown)][shown],
            draw_scores=tuple(sigmoid(draws).tolist()),
            change_scores={name: float(sigmoid(m)) for name, m in changes.items()},
        )

    def _word(self, margin: float, calibration: Calibration | None) -> str:
        """The verdict at a margin."""
        if calibration is not None:
            return calibration.verdict(float(calibration.probability(margin)))
        return "generated" if sigmoid(margin) >= RAW_THRESHOLD else "real"


def _finite(margins: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if not np.isfinite(margins).all():
        raise InputError("the model gives scores that are not finite: train it again")
    return margins
