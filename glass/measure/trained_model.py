"""Opens a trained model with its settings and calibration, and scores images with it.

``evaluate``, ``calibrate``, ``predict``, ``robustness`` and the studies all use :class:`TrainedModel` to open a model,
derive loader settings for it, and score batches.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from glass.config.learnt_ids import LearntIds, read_learnt_ids
from glass.config.run_config import RunConfig
from glass.export.card_file import ModelCard, read_model_card
from glass.export.model_folder import load_model
from glass.export.pixel_rules import warn_of_other_pixels
from glass.measure.applied_calibration import applicable, decision_threshold
from glass.measure.calibration import Calibration, ViewSettings, read_calibration
from glass.measure.evaluation_schema import MeasuredModel
from glass.measure.scoring import Predictions, score
from glass.model.model import Glass, SingleView
from glass.model.precision import precision_in_use
from loaders.config import LoaderConfig
from loaders.windows.grid import MAX_CELLS
from shards.errors import InputError

__all__ = ["TrainedModel"]


@dataclass(frozen=True)
class TrainedModel:
    """A model with its settings, its calibration, and the record of the images that it learnt from."""

    name: str
    """The model's name in messages."""
    model: Glass | SingleView
    """The network, in evaluation mode on ``device``."""
    config: RunConfig
    """The settings of the run that trained it."""
    card: ModelCard
    """The content of its ``config.json``."""
    calibration: Calibration | None
    """The model's calibration; None if it has none or was opened with ``calibrated=False``."""
    learnt: LearntIds | None
    """The images that were used to train the model or to choose its epoch; None if unknown."""
    device: Literal["cpu", "cuda"]

    @classmethod
    def open(
        cls, folder: Path, *, device: str = "auto", calibrated: bool = True, name: str | None = None
    ) -> "TrainedModel":
        """Opens the exported model in ``folder``, such as a run's ``model`` folder. Nothing is unpickled.

        ``device`` is ``cpu``, ``cuda``, or ``auto``, which uses the GPU if there is one. ``calibrated=False`` ignores
        the model's calibration. Raises ``InputError`` if there is no model, if one of its files is missing or damaged,
        or if the device does not exist. Warns with ``DecoderWarning`` if pixels may differ from those in training.
        """
        name = str(folder) if name is None else name
        if device not in ("auto", "cpu", "cuda"):
            raise InputError(f"device {device!r} is unknown: choose auto, cpu or cuda")
        there = torch.cuda.is_available()
        if device == "cuda" and not there:
            raise InputError("device cuda was requested, but this machine has no CUDA device: use cpu")
        where: Literal["cpu", "cuda"] = "cuda" if there and device != "cpu" else "cpu"
        card = read_model_card(folder)
        model, config = load_model(folder, where)
        sha256 = card["weights_sha256"]
        calibration = read_calibration(folder, sha256) if calibrated else None
        warn_of_other_pixels(card.get("pixels"), name, replace(config.loader, device=where))
        return cls(name, model, config, card, calibration, read_learnt_ids(folder, sha256), where)

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights file: 64 hexadecimal digits."""
        return self.card["weights_sha256"]

    @property
    def precision(self) -> str:
        """The ``precision`` setting to run the model with (``auto``, ``bf16``, ``fp16`` or ``float32``)."""
        return precision_in_use(self.config.precision, self.device)

    @property
    def sees_crops(self) -> bool:
        """Whether the model uses crops; False for a ``single_view`` model."""
        return isinstance(self.model, Glass)

    @property
    def identity(self) -> MeasuredModel:
        """The entry that identifies the model in result documents."""
        identity: MeasuredModel = {
            "kind": self.config.model.kind,
            "weights_sha256": self.weights_sha256,
            "chosen": self.card.get("chosen"),
        }
        if (decay := self.card.get("weight_average")) is not None:
            identity["weight_average"] = decay
        if note := self.card.get("data_note"):
            identity["data_note"] = note
        return identity

    def views(
        self, num_crops: int | None = None, sampling: str | None = None, coverage: str = "sample", draws: int = 1
    ) -> ViewSettings:
        """Returns the view settings for this model; arguments that are None default to the values used in training.

        In each of ``draws`` independent draws, the sampling rule ``sampling`` chooses ``num_crops`` crops. With
        ``coverage="all"``, the crops instead cover the whole image. Raises ``InputError`` if an argument that concerns
        crops is given for a model that uses none.
        """
        asked = {
            "crops": num_crops is not None,
            "sampling": sampling is not None,
            "coverage": coverage != "sample",
            "draws": draws > 1,
        }
        if not self.sees_crops and any(asked.values()):
            listed = ", ".join(name for name, given in asked.items() if given)
            raise InputError(f"a single_view model sees no crops: leave out {listed}")
        if coverage == "all":  # the rule that covers an image, and all cells that a grid can have
            return ViewSettings(MAX_CELLS, "all", coverage, draws)
        loader = self.config.loader
        return ViewSettings(
            loader.num_crops if num_crops is None else num_crops, sampling or loader.sampling, coverage, draws
        )

    def loader_config(self, views: ViewSettings, changes: Mapping[str, Any] | None = None) -> LoaderConfig:
        """Returns the run's loader settings, changed so that the loader is deterministic and produces ``views`` on the
        model's device.

        ``changes`` maps the names of further settings to new values; None values are ignored.
        """
        given = {name: value for name, value in (changes or {}).items() if value is not None}
        return self.config.loader.for_evaluation(
            num_crops=views.num_crops, sampling=views.sampling, device=self.device, **given
        )

    def score(self, batches: Iterable[Mapping[str, Any]]) -> Predictions:
        """Scores the valid samples in ``batches``, in this process only.

        Raises ``InputError`` if a score is not finite, ``ValueError`` if there is no batch, and ``DoesNotFit`` if a
        batch does not fit in memory.
        """
        predictions = score(self.model, batches, self.device, self.precision, gather=False)
        if not np.isfinite(predictions.logits).all():
            raise InputError(
                f"the model {self.name} gives scores that are not finite numbers: train it again (with "
                "precision=float32, if it was trained in fp16)"
            )
        return predictions

    def calibration_for(self, views: ViewSettings) -> Calibration | None:
        """The model's calibration if it applies to scores computed with ``views``, else None."""
        return applicable(self.calibration, views)

    def data_notes(self, views: ViewSettings) -> list[str]:
        """Returns the notes of the data sets used to train and to calibrate the model, to be shown with its verdicts;
        may be empty.

        The calibration's data set is included only if the calibration applies to scores computed with ``views``.
        """
        calibration = self.calibration_for(views)
        notes = [self.card.get("data_note"), None if calibration is None else calibration.data.get("note")]
        return list(dict.fromkeys(note for note in notes if note))

    def threshold_for(self, views: ViewSettings, data: Path, split: str) -> tuple[float, str]:
        """Returns (threshold, description of its origin) for ``split`` of the data set in the folder ``data``."""
        return decision_threshold(self.calibration, views, data, split)
