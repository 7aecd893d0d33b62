"""Saves and loads a trained model as two pickle-free files, ``config.json`` and ``model.safetensors``.

A score depends on the weights and on ``config.json``, which holds:

* the label names, all run settings, and the versions of installed software;
* the loader settings for the global view and the crops, including the seed that determines the crop windows;
* for each backbone, its timm name and the mean and standard deviation for normalising pixels;
* the rules and decoders that determine the pixels;
* the SHA-256 of the weights file.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from glass.config.run_config import RunConfig, config_from_dict, config_to_dict
from glass.config.versions import installed_versions
from glass.export.card_file import CARD_FILE, FORMAT_VERSION, WEIGHTS_FILE, ModelCard, read_model_card
from glass.export.pixel_rules import pixel_record
from glass.model.backbones import Backbone
from glass.model.finetune import exported_state
from glass.model.model import Glass, SingleView, build_model, require_views_run
from glass.model.timm_library import timm
from glass.model.unfilled import WithoutRandomWeights
from shards.errors import InputError, require_openable, require_sound_machine
from shards.files.atomic import atomic_path, write_text_atomic
from shards.files.documents import document_text
from shards.files.patience import read_or_end
from shards.files.regular_file import file_sha256, require_regular

__all__ = ["LABEL_NAMES", "holds_model", "load_model", "load_state", "save_model"]

LABEL_NAMES = ("real", "generated")


def save_model(
    folder: Path,
    model: Glass | SingleView,
    config: RunConfig,
    chosen: dict[str, Any] | None = None,
    data_note: str = "",
) -> None:
    """Writes ``model`` into ``folder``.

    ``chosen`` records the epoch that the weights come from, and its metrics; ``data_note`` is the training data's note.
    Each file is replaced atomically, the weights first. If the process is killed between the two, :func:`load_model`
    refuses the folder, so weights are never used with another model's settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in exported_state(model).items()}
    try:
        with atomic_path(folder / WEIGHTS_FILE) as temporary:
            safetensors.torch.save_file(tensors, temporary, metadata={"format": "pt"})
    except safetensors.SafetensorError as error:  # the disk's error, but without its errno
        raise InputError(f"{folder / WEIGHTS_FILE} cannot be written: {error}") from error
    card: ModelCard = {
        "format_version": FORMAT_VERSION,
        "kind": config.model.kind,
        "label_names": list(LABEL_NAMES),
        "views": {
            name: getattr(config.loader, name) for name in ("global_size", "crop_size", "num_crops", "sampling", "seed")
        },
        "normalisation": {
            name: {"mean": list(backbone.mean), "std": list(backbone.std)} for name, backbone in _backbones(model)
        },
        "backbones": {name: backbone.architecture for name, backbone in _backbones(model)},
        "weights_sha256": _sha256(folder / WEIGHTS_FILE),
        "chosen": chosen,
        "weight_average": config.train.ema,
        "config": config_to_dict(config),
        "pixels": pixel_record(config.loader),
        "versions": installed_versions(),
    }
    if data_note:
        card["data_note"] = data_note
    write_text_atomic(folder / CARD_FILE, document_text(card, ModelCard, ascii_only=True))


def holds_model(folder: Path, chosen: dict[str, Any]) -> bool:
    """Whether ``folder`` holds a complete model that :func:`save_model` wrote with the same value of ``chosen``."""
    try:
        card, sha256 = read_model_card(folder), _sha256(folder / WEIGHTS_FILE)
        return card.get("chosen") == chosen and card["weights_sha256"] == sha256
    except (InputError, OSError) as error:
        require_sound_machine(error, folder)
        return False


def load_model(folder: str | Path, device: torch.device | str) -> tuple[Glass | SingleView, RunConfig]:
    """Returns the model in ``folder``, in evaluation mode on ``device``, and its run's settings.

    Raises ``InputError`` if a file is missing, damaged, or belongs to another model.
    """
    folder = Path(folder)
    card = read_model_card(folder)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise InputError(f"{weights} is missing: copy both files of the model, or train again")
    if _sha256(weights) != card["weights_sha256"]:
        raise InputError(
            f"{weights} is not the file that {folder / CARD_FILE} describes: copy both files of the same model, or, "
            "if its training was interrupted, run the training command again"
        )
    damaged = f"{folder / CARD_FILE} is damaged: copy it again"
    try:
        config = config_from_dict(card["config"])
    except (TypeError, AttributeError) as error:
        raise InputError(damaged) from error
    except InputError as error:
        raise InputError(f"{folder / CARD_FILE}: {error}") from error
    config = _with_own_names(config, card, folder / CARD_FILE)
    with WithoutRandomWeights():
        model = build_model(config, with_weights=False, for_training=False)
    load_state(model, _tensors(weights), str(weights))
    try:
        for name, backbone in _backbones(model):
            # The values recorded with the model, even if timm's have changed since.
            backbone.set_normalisation(**card["normalisation"][name])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(damaged) from error
    require_views_run(model, config)
    return model.to(device).eval(), config


def _with_own_names(config: RunConfig, card: ModelCard, path: Path) -> RunConfig:
    """Returns ``config`` with backbone names that timm lacks (``hf-hub:…``) replaced by the timm names in ``card``.

    A model folder may only name networks that timm contains: opening a stranger's model must not fetch or read a
    network from elsewhere. Raises ``InputError`` if ``card`` gives no timm name for such a backbone.
    """
    names: dict[str, Any] = {}
    for key in ("global_backbone", "local_backbone"):
        asked = getattr(config.model, key)
        if asked is None or timm.is_model(asked):
            continue
        recorded = (card.get("backbones") or {}).get(key)
        if not (isinstance(recorded, str) and timm.is_model(recorded)):
            raise InputError(
                f"{path}: {key}={asked!r} is not one of timm's networks, and model folders may name no others; if the "
                f"model is your own, write timm's name of the network into that file, under backbones, {key}"
            )
        names[key] = recorded
    return replace(config, model=replace(config.model, **names)) if names else config


def load_state(model: nn.Module, tensors: dict[str, torch.Tensor], source: str) -> None:
    """Copies ``tensors`` into ``model``. Raises ``InputError`` naming the first tensor that does not fit.

    In messages, ``source`` says where the tensors come from.
    """
    own = model.state_dict()
    for name, place in own.items():
        if name not in tensors:
            raise InputError(f"{source} belongs to another model: it lacks {name}")
        if tensors[name].shape != place.shape:
            raise InputError(
                f"{source} belongs to another model: {name} is {tuple(tensors[name].shape)} there"
                f" and {tuple(place.shape)} here"
            )
    for name in tensors:
        if name not in own:
            raise InputError(f"{source} belongs to another model: this one has no {name}")
    model.load_state_dict(tensors)


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        require_regular(path)
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        require_sound_machine(error, path)
        require_openable(path)
        raise InputError(f"{path} is damaged ({error}): copy it again") from error


def _backbones(model: nn.Module) -> list[tuple[str, Backbone]]:
    return [(name, part) for name, part in model.named_children() if isinstance(part, Backbone)]


def _sha256(path: Path) -> str:
    return read_or_end(path, lambda: file_sha256(path))
