"""Starts a training: ``accelerate launch train.py``, ``torchrun train.py`` or ``python train.py``.

The command itself is ``scripts/train.py``, which ``glass train`` runs, too.
"""

from scripts.train import main, parse, settings
from shards.cli.command import run_command

__all__ = ["main", "parse", "settings"]

if __name__ == "__main__":
    run_command(main)
