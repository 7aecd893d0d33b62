"""Bundles a trained model for others in one folder, with its calibration and a model card."""

import shutil
from contextlib import suppress
from pathlib import Path

from glass.config.learnt_ids import LEARNT_FILE, read_learnt_ids
from glass.export.card_file import CARD_FILE, WEIGHTS_FILE, ModelCard, read_model_card
from glass.measure.calibration import CALIBRATION_FILE
from glass.share.model_card import model_card
from shards.errors import InputError
from shards.files.atomic import atomic_path, write_bytes_atomic
from shards.files.documents import document_text

__all__ = ["bundle_files", "write_bundle"]

Part = str | bytes | Path
"""A file's contents, or the path of a file to copy."""


def bundle_files(folder: Path, audit: Path | None = None, with_learnt_ids: bool = False) -> dict[str, Part]:
    """Collects the files to publish for the model in ``folder``. Returns a dict that maps file names to :data:`Part`.

    The model card includes the findings in ``audit``, a file that ``glass audit --json`` wrote. If it is None, the
    audit of the run's training data is used, if there is one. ``with_learnt_ids`` adds the ids of the images used in
    training. Paths to pretrained weights are shortened to file names. Raises ``InputError`` if the model or the
    audit is damaged, or if the ids are requested but missing. Nothing is written.
    """
    card = read_model_card(folder)
    model = card["config"]["model"]
    for name in ("global_weights", "local_weights"):
        if model.get(name):
            model[name] = Path(model[name]).name
    parts: dict[str, Part] = {
        WEIGHTS_FILE: folder / WEIGHTS_FILE,
        CARD_FILE: document_text(card, ModelCard, ascii_only=True),
    }
    if (folder / CALIBRATION_FILE).is_file():
        parts[CALIBRATION_FILE] = folder / CALIBRATION_FILE
    if with_learnt_ids:
        learnt = read_learnt_ids(folder, card["weights_sha256"])
        if learnt is None:
            raise InputError(
                f"{folder} has no {LEARNT_FILE}: it was trained by a version that kept no such file, or exported "
                "without it; leave out --with-learnt-ids"
            )
        parts[LEARNT_FILE] = learnt.to_bytes(card["weights_sha256"])
    run = folder.parent if folder.name == "model" else None
    return parts | {"README.md": model_card(folder, run, audit)}


def write_bundle(to: Path, parts: dict[str, Part]) -> None:
    """Writes ``parts`` into the folder ``to``. If writing fails, newly created files are deleted again."""
    made = not to.exists()
    new = [to / name for name in parts if not (to / name).exists()]
    try:
        to.mkdir(parents=True, exist_ok=True)
        for name, part in parts.items():
            if not isinstance(part, Path):
                data = part.encode() if isinstance(part, str) else part
                write_bytes_atomic(to / name, data)
                continue
            with atomic_path(to / name) as temporary:
                shutil.copyfile(part, temporary)
    except BaseException:
        with suppress(OSError):
            for path in new:
                path.unlink(missing_ok=True)
            if made:
                to.rmdir()
        raise
