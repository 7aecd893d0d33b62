"""Code shared by several commands: number parsers for ``type=``, functions that add options, and checks made before a
command starts its lengthy work.
"""

import argparse
import os
from pathlib import Path

from shards.cli.command import CommandParser, program_name
from shards.cores import usable_cores
from shards.errors import InputError
from shards.files.limits import MOST_THREADS

__all__ = [
    "EXIT_STOPPED",
    "add_data_and_preset",
    "add_device",
    "add_groups",
    "add_note",
    "add_workers",
    "at_least_one",
    "choose_device",
    "given_note",
    "require_one_process",
    "script_parser",
    "thread_count",
    "threshold_advice",
]

EXIT_STOPPED = 75
"""Exit code of a command that was interrupted and left a checkpoint. Running the same command again continues from
there."""


def at_least_one(text: str) -> int:
    """Parses an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def thread_count(text: str) -> int:
    """Parses a number of threads or processes from 1 to ``MOST_THREADS``; "auto" means one per usable core."""
    if text == "auto":
        return usable_cores()
    number = at_least_one(text)
    if number > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{text} is too many: {MOST_THREADS:,} at most")
    return number


def script_parser(name: str, doc: str | None = None, *, description: str | None = None) -> CommandParser:
    """Returns a parser for the command in module ``scripts.NAME``.

    Its description is ``description`` or, if that is None, the first line of ``doc``, the module's docstring.
    """
    about = (doc or "").partition("\n")[0] if description is None else description
    return CommandParser(prog=program_name(f"python -m scripts.{name}"), description=about)


def add_data_and_preset(parser: CommandParser) -> None:
    """Adds ``--data`` and ``--preset``, both required, for commands that train."""
    from glass.presets import preset_names  # imported here, since commands that build shards do not need it

    parser.add_argument("--data", type=Path, required=True, help="folder of shards")
    parser.add_argument("--preset", required=True, help=f"one of {', '.join(preset_names())}")


def add_device(parser: CommandParser) -> None:
    """Adds ``--device``; :func:`choose_device` applies its value."""
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="device to compute on; default auto: the GPU if there is one",
    )


def add_workers(parser: CommandParser) -> None:
    """Adds ``--workers``, for commands that write a data set."""
    parser.add_argument(
        "--workers",
        type=thread_count,
        default="auto",
        metavar="N",
        help="number of processes; does not change the output (default: one per usable core)",
    )


def add_skip(parser: CommandParser) -> None:
    """Adds ``--skip``; :func:`skipped_names` reads its value."""
    parser.add_argument(
        "--skip",
        action="append",
        default=[],
        metavar="NAME",
        help="skip the images in folders of this name at any depth, such as edited (repeatable)",
    )


def skipped_names(arguments: argparse.Namespace) -> list[str]:
    """Returns the folder names given with ``--skip`` in the form that ``Words.skipped`` needs: no slashes, lower case,
    sorted.
    """
    return sorted({name.strip("/ ").lower() for name in arguments.skip})


def add_groups(parser: CommandParser) -> None:
    """Adds ``--groups``, for commands that divide images into splits."""
    parser.add_argument(
        "--groups",
        type=Path,
        metavar="FILE",
        help="CSV or Parquet list with the columns sha256,group, as glass audit --write-groups writes it: images of a "
        "group share a split; these groups are merged with those of the source",
    )


def add_note(parser: CommandParser, also: str = "") -> None:
    """Adds ``--note``, for commands that write a data set. ``also`` is appended to its help text."""
    parser.add_argument(
        "--note",
        metavar="TEXT",
        help="what readers of verdicts must know about these images, such as how they were made: a sentence or two, "
        f"shown with every verdict of a model that was trained on them{also}",
    )


def given_note(arguments: argparse.Namespace) -> str:
    """The ``--note`` text; ``""`` if the option was not given. Raises ``InputError`` if the text is not allowed."""
    if arguments.note is None:
        return ""
    from shards.manifest.note import checked_note  # imports msgspec, for which --help need not wait

    return checked_note(arguments.note, "--note")


def threshold_advice(option: str, _value: str) -> str:
    """The ``CommandParser.advice`` of commands that score images."""
    return "glass calibrate --max-fpr chooses the threshold of a model" if option == "threshold" else ""


def choose_device(device: str) -> None:
    """Applies ``--device``: ``cpu`` keeps training off the GPU; ``cuda`` raises ``InputError`` if there is no GPU."""
    if device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise InputError("--device cuda: this machine has no CUDA device; leave out --device, or give cpu")
        os.environ.pop("ACCELERATE_USE_CPU", None)


def require_one_process(command: str) -> None:
    """Raises ``InputError`` if a launcher started several processes, since each would do the whole study in the same
    folder.
    """
    processes = os.environ.get("WORLD_SIZE", "1")
    if processes != "1":
        raise InputError(
            f"{command} runs in one process, but WORLD_SIZE is {processes}: start it without torchrun or accelerate "
            "launch; on several GPUs use glass tune --workers N for a search, and train.py for single runs"
        )
