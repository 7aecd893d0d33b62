"""The detector, which takes images and returns verdicts.

>>> from glass.predict.detector import Detector
>>> detector = Detector.from_pretrained("runs/first")
>>> for verdict in detector.predict(["photo.jpg", "other.png"]): ...

An image's windows depend only on its pixels, so equal pixels always get the same score, whatever the batch and the
image's name and form (a file in any format, bytes, a Pillow image or an array). ``glass evaluate`` gives the same score
if the pixels are in a shard. The only exception is ``sampling="texture"``, a rule that reads JPEG bits and draws
windows uniformly from any other image.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from glass.measure.calibration import Calibration, ViewSettings
from glass.measure.trained_model import TrainedModel
from glass.model.hub import model_folder
from glass.predict.image_scores import ImageScores, verdict_on
from glass.predict.image_sources import ImageSource, MemberSource, sources_of
from glass.predict.options import PredictOptions
from glass.predict.source_scores import scores_of_sources
from glass.predict.verdicts import ImageVerdict
from loaders.config import LoaderConfig
from shards.images.pixels import RejectedImage
from shards.manifest.dataset import ShardDataset

__all__ = ["Detector", "PredictOptions"]


class Detector:
    """A trained model that gives verdicts on images."""

    def __init__(self, trained: TrainedModel) -> None:
        self.trained = trained

    @classmethod
    def from_pretrained(
        cls, path_or_hub_id: str | Path, *, device: str = "auto", revision: str | None = None, calibrated: bool = True
    ) -> "Detector":
        """Loads a detector from a folder (a run, or an exported model) or from ``user/name`` on the Hugging Face hub.

        Nothing is unpickled. ``calibrated=False`` ignores the model's calibration. Raises ``InputError`` if no model is
        found, or if one of its files is missing or damaged. Issues a ``DecoderWarning`` if decoded pixels may differ
        from those in training.
        """
        folder = model_folder(path_or_hub_id, revision)
        return cls(TrainedModel.open(folder, device=device, calibrated=calibrated, name=str(path_or_hub_id)))

    def views(self, options: PredictOptions) -> ViewSettings:
        """Returns the settings that decide what the model sees of an image.

        Raises ``InputError`` if ``options`` set the number of crops, sampling, coverage or draws, but the model sees no
        crops.
        """
        return self.trained.views(options.num_crops, options.sampling, options.coverage, options.draws)

    def calibration_for(self, options: PredictOptions) -> Calibration | None:
        """The model's calibration, or None if it was made for views other than those set by ``options``."""
        return self.trained.calibration_for(self.views(options))

    def predict(
        self, images: Sequence[Any], options: PredictOptions | None = None, **changes: Any
    ) -> list[ImageVerdict]:
        """Returns one verdict per image. ``images`` are paths, bytes, Pillow images or (H, W, 3) uint8 arrays.

        ``changes`` are fields of :class:`PredictOptions` that replace those of ``options``. An image that cannot be
        read gets a verdict whose ``reason`` is set. Equal pixels get equal verdicts, except with the sampling rule
        ``texture``, which reads JPEG bits and draws windows uniformly from any other image (Pillow image, array, PNG).
        Raises ``TypeError`` if ``images`` is a single image instead of a list.
        """
        sources = sources_of(images)
        return list(self.predict_iter(sources, replace(options or PredictOptions(), **changes)))

    def predict_iter(self, sources: Iterable[ImageSource], options: PredictOptions) -> Iterator[ImageVerdict]:
        """Yields one verdict per source, in the same order; only a few images are in memory at a time.

        Consecutive rows of one data set are read through the loader, unless ``options`` need whole images. The loader
        decodes only an image's windows if that is cheaper than decoding the whole image.
        """
        self.views(options)
        for dataset, run in groupby(sources, lambda source: self._readable_by_rows(source, options)):
            if dataset is None:
                yield from self._from_sources(run, options)
            else:
                yield from self._from_shards(dataset, cast(list[MemberSource], list(run)), options)

    def _readable_by_rows(self, source: ImageSource, options: PredictOptions) -> ShardDataset | None:
        whole = options.stability or options.draws > 1 or options.coverage == "all"
        if whole or not isinstance(source, MemberSource) or source.dataset is None:
            return None
        fits = source.dataset.info.global_size == self.trained.config.loader.global_size
        return source.dataset if fits else None

    def _from_shards(
        self, dataset: ShardDataset, sources: list[MemberSource], options: PredictOptions
    ) -> Iterator[ImageVerdict]:
        from glass.predict.shard_scores import scores_of_rows  # not needed for files, and slow: it imports the loader

        done = 0
        rows = [source.row for source in sources]
        for place, scores in scores_of_rows(self.trained, dataset, rows, self._loader_config(options)):
            if done < place:  # the loader could not read those in between; read one by one, each gives its reason
                yield from self._from_sources(sources[done:place], options)
            yield self._verdict(sources[place], scores, options)
            done = place + 1
        yield from self._from_sources(sources[done:], options)

    def _from_sources(self, sources: Iterable[ImageSource], options: PredictOptions) -> Iterator[ImageVerdict]:
        for source, scores in scores_of_sources(self.trained, sources, self._loader_config(options), options):
            if isinstance(scores, RejectedImage):
                yield ImageVerdict(source.name, reason=str(scores))
            else:
                yield self._verdict(source, scores, options)

    def _verdict(self, source: ImageSource, scores: ImageScores, options: PredictOptions) -> ImageVerdict:
        verdict = verdict_on(source.name, scores, self.calibration_for(options), self.trained.learnt)
        return replace(verdict, data_notes=tuple(self.trained.data_notes(self.views(options))))

    def _loader_config(self, options: PredictOptions) -> LoaderConfig:
        """The loader settings that evaluation uses, changed as ``options`` specify."""
        changes = {"num_threads": options.num_threads, "global_batch_size": options.batch_size}
        return self.trained.loader_config(self.views(options), changes)
