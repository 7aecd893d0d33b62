"""Starts a training run: ``accelerate launch train.py``, ``torchrun train.py`` or ``python train.py``.

The command is defined in ``scripts/train.py``; ``glass train`` runs the same command.
"""

from scripts.train import main, parse, settings
from shards.cli.command import run_command

__all__ = ["main", "parse", "settings"]

if __name__ == "__main__":
    run_command(main)
