"""The ``config.json`` of an exported model: what it holds, and how it is read. Does not import torch."""

from pathlib import Path
from typing import Any, NotRequired, TypedDict

from shards.errors import InputError
from shards.files.documents import typed_document
from shards.files.json_file import read_json
from shards.manifest.note import Note

__all__ = ["CARD_FILE", "FORMAT_VERSION", "WEIGHTS_FILE", "ModelCard", "PixelRecord", "read_model_card"]

FORMAT_VERSION = 1
WEIGHTS_FILE, CARD_FILE = "model.safetensors", "config.json"


class PixelRecord(TypedDict):
    """The rules and decoders that determine pixels."""

    rules_version: int
    decoders: dict[str, Any]
    """Maps each decoder to its version."""
    probe: dict[str, Any]
    """Maps each decoder to the digest of the test file's pixels as it decodes them, and ``global_view`` to the digest
    of two global views made from such pixels."""


class ModelCard(TypedDict):
    """The content of an exported model's ``config.json``."""

    format_version: int
    kind: str
    """``glass`` or ``single_view``."""
    label_names: list[str]
    views: dict[str, Any]
    """The loader settings that determine what the model sees."""
    normalisation: dict[str, Any]
    """Maps each backbone to the ``mean`` and ``std`` of each channel."""
    backbones: NotRequired[dict[str, Any] | None]
    """Maps each backbone to its timm name. Absent in older models."""
    weights_sha256: str
    chosen: NotRequired[dict[str, Any] | None]
    """The epoch that these weights come from, and its metrics; null if not recorded."""
    data_note: NotRequired[Note]
    """Note on the training data, to be shown to everyone who reads the model's verdicts. Absent if the data set has no
    note."""
    weight_average: NotRequired[float | None]
    """Decay of the weights' moving average; null if the weights are not averaged."""
    config: dict[str, Any]
    """The run's settings, see :func:`glass.config.run_config.config_to_dict`."""
    pixels: NotRequired[PixelRecord | None]
    """The rules and decoders that determined the pixels in training. Absent in older models."""
    versions: dict[str, Any]


def read_model_card(folder: str | Path) -> ModelCard:
    """The ``config.json`` of the exported model in ``folder``. Raises ``InputError`` if it is missing or damaged."""
    path = Path(folder) / CARD_FILE
    if not path.is_file():
        if (Path(folder) / "run.json").is_file():
            raise InputError(
                f"{folder} holds no model yet, because its training has not finished an epoch: run the training "
                "command again"
            )
        raise InputError(
            f"there is no model in {folder} ({CARD_FILE} is missing): give the folder of a trained run, or run glass "
            "train first"
        )
    try:
        card = read_json(path)
        version = card["format_version"]
        if version == FORMAT_VERSION:
            return typed_document(card, ModelCard)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged (it does not describe a model): copy it again") from error
    raise InputError(
        f"{path} has format_version {version!r}, this version reads {FORMAT_VERSION}: use the"
        " version of this project that wrote it"
    )
