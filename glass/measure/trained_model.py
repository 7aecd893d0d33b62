"""A trained model in use: opened once, in one way, by everything that scores images.

``evaluate``, ``calibrate``, ``predict``, ``robustness`` and the studies open a run or an exported model
here, take the settings of their loader from it, and score batches with it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from glass.config.learnt_ids import LearntIds, read_learnt_ids
from glass.config.run_config import RunConfig
from glass.export.model_folder import ModelCard, load_model, read_model_card
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
    """A model with everything that belongs to it."""

    name: str
    """Its name for the user."""
    model: Glass | SingleView
    """In evaluation mode, on ``device``."""
    config: RunConfig
    """The settings of the run that trained it."""
    card: ModelCard
    """Its ``config.json``."""
    calibration: Calibration | None
    """None where it was never calibrated."""
    learnt: LearntIds | None
    """Which images it learnt from; None where that is not known."""
    device: Literal["cpu", "cuda"]

    @classmethod
    def open(
        cls, folder: Path, *, device: str = "auto", calibrated: bool = True, name: str | None = None
    ) -> "TrainedModel":
        """The exported model in ``folder``, such as the ``model`` of a run; nothing is unpickled.

        ``device`` is ``cpu``, ``cuda``, or ``auto``, the GPU where there is one. ``calibrated=False``
        leaves its calibration unread. Raises ``InputError`` where there is no model, where a file of it
        is missing or damaged, or where there is no such device; warns with ``DecoderWarning`` where
        pixels may differ from training's.
        """
        name = str(folder) if name is None else name
        if device not in ("auto", "cpu", "cuda"):
            raise InputError(f"device {device!r} is none of auto, cpu, cuda")
        there = torch.cuda.is_available()
        if device == "cuda" and not there:
            raise InputError("device cuda was asked for, but there is none: use cpu")
        where: Literal["cpu", "cuda"] = "cuda" if there and device != "cpu" else "cpu"
        card = read_model_card(folder)
        model, config = load_model(folder, where)
        sha256 = card["weights_sha256"]
        calibration = read_calibration(folder, sha256) if calibrated else None
        warn_of_other_pixels(card.get("pixels"), name, replace(config.loader, device=where))
        return cls(name, model, config, card, calibration, read_learnt_ids(folder, sha256), where)

    @property
    def weights_sha256(self) -> str:
        """64 hexadecimal digits."""
        return self.card["weights_sha256"]

    @property
    def precision(self) -> str:
        """The setting that it computes with, see ``glass.model.precision``."""
        return precision_in_use(self.config.precision, self.device)

    @property
    def sees_crops(self) -> bool:
        """Whether it looks at windows at all."""
        return isinstance(self.model, Glass)

    @property
    def identity(self) -> MeasuredModel:
        """The model, as documents name it."""
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
        """The settings of the views that the model gets of an image; ``None`` stands for the setting that it was
        trained with.

        ``num_crops`` crops are drawn by the rule ``sampling``, in ``draws`` independent draws; ``coverage="all"`` takes
        crops that cover the whole image instead. Raises ``InputError`` if the model sees no crops and one of these was
        asked for.
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
        """The settings of a deterministic loader for images seen with ``views``, on the model's device: otherwise the
        run's own.

        ``changes`` are further fields; a None among them keeps the run's.
        """
        given = {name: value for name, value in (changes or {}).items() if value is not None}
        return self.config.loader.for_evaluation(
            num_crops=views.num_crops, sampling=views.sampling, device=self.device, **given
        )

    def score(self, batches: Iterable[Mapping[str, Any]]) -> Predictions:
        """Its scores of the valid samples of ``batches``, of this process alone.

        Raises ``InputError`` where a score is not finite, ``ValueError`` where there is no batch, and
        ``DoesNotFit`` where the memory is too small for one.
        """
        predictions = score(self.model, batches, self.device, self.precision, gather=False)
        if not np.isfinite(predictions.logits).all():
            raise InputError(
                f"the model {self.name} gives scores that are not finite: train it again, if it was"
                " trained in fp16 then with precision=float32"
            )
        return predictions

    def calibration_for(self, views: ViewSettings) -> Calibration | None:
        """Its calibration, where that says what scores of ``views`` mean."""
        return applicable(self.calibration, views)

    def data_notes(self, views: ViewSettings) -> list[str]:
        """What a reader of its verdicts must know about the data that it learnt from, and about those that scores of
        ``views`` were calibrated on; empty where nothing is said."""
        calibration = self.calibration_for(views)
        notes = [self.card.get("data_note"), None if calibration is None else calibration.data.get("note")]
        return list(dict.fromkeys(note for note in notes if note))

    def threshold_for(self, views: ViewSettings, data: Path, split: str) -> tuple[float, str]:
        """The threshold for ``split`` of the data set in ``data``, and where it comes from."""
        return decision_threshold(self.calibration, views, data, split)
