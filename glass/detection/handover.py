"""A trained model as others get it: its files, its calibration and a card, in a folder."""

import json
import shutil
from pathlib import Path

from glass.detection.calibration import CALIBRATION_FILE
from glass.detection.model_card import model_card
from glass.export import CARD_FILE, WEIGHTS_FILE, read_model_card
from shards.atomic import write_text_atomic

__all__ = ["hand_over"]


def hand_over(folder: Path, to: Path, audit: Path | None = None) -> None:
    """Copies the exported model in ``folder`` to ``to`` and writes its card, with the findings of
    ``audit`` (of the run's own data set unless given). Paths of this machine are left behind."""
    to.mkdir(parents=True, exist_ok=True)
    card = read_model_card(folder)
    model = card["config"]["model"]
    for name in ("global_weights", "local_weights"):
        if model.get(name):
            model[name] = Path(model[name]).name
    shutil.copyfile(folder / WEIGHTS_FILE, to / WEIGHTS_FILE)
    write_text_atomic(to / CARD_FILE, json.dumps(card, indent=2, allow_nan=False) + "\n")
    if (folder / CALIBRATION_FILE).is_file():
        shutil.copyfile(folder / CALIBRATION_FILE, to / CALIBRATION_FILE)
    run = folder.parent if folder.name == "model" else None
    write_text_atomic(to / "README.md", model_card(to, run, audit))
