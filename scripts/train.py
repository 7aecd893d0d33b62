"""Trains a detector on shards; if it was stopped, the same command continues where it stopped.

accelerate launch --quiet --config_file accelerate_config.yaml train.py \\
    --data OUT --preset glass_resnet50 --output RUN [--set optim.lr_local=1e-4]

``python train.py …`` and bare ``accelerate launch train.py …`` do the same on one device, and
``torchrun --nproc-per-node 2 train.py …`` starts two processes, on GPUs or on CPUs.

On SIGTERM, SIGUSR1 or Ctrl-C, the command finishes the step, writes a checkpoint and exits with code 75
(try again): run the same command to continue. A process that loses the connection to another one also
exits with code 75. A second Ctrl-C ends the command at once, with code 130. Exit code 0: the run is
finished; 2: a user error. ``accelerate launch`` turns every code but 0 into 1, and prints a trace, which
--quiet suppresses.
"""

import argparse
import logging
import os
import sys
import time
from pathlib import Path

from glass.config.dataset_digest import dataset_digest
from glass.config.overrides import apply_overrides, refuse_contradiction, setting_names
from glass.config.run_config import RunConfig
from glass.config.run_file import read_run_file
from glass.config.run_folder import RunFolder
from glass.config.set_option import add_settings
from glass.presets import load_preset, preset_names
from glass.train.progress import report_if_slow
from loaders.fits import check_fits
from shards.cli.command import CommandParser, program_name, run_command
from shards.cli.shown_url import SafeFormatter
from shards.errors import InputError, MachineTrouble
from shards.manifest.dataset import ShardDataset

EXIT_FINISHED, EXIT_INPUT_ERROR, EXIT_STOPPED = 0, 2, 75
RANK = int(rank) if (rank := os.environ.get("RANK", "0")).isdecimal() else 0
AUGMENT_SHARE = 0.5
"""Share of images to augment if ``--augment`` is given without a number."""
PATIENCE_S = 60
"""Seconds that other processes wait after a user error, so that the main process can report it."""


def main(argv: list[str] | None = None) -> int:
    """Trains a detector; returns the exit code.

    The main process reports a user error. Any other process first waits ``PATIENCE_S`` seconds; if it is still alive
    then, the main process has not failed, so this process reports the error itself.
    """
    try:
        return run(argv)
    except (InputError, MachineTrouble):
        if RANK == 0:
            raise
        # The launcher ends all processes when the first one exits: let that be the main one, after its report. A
        # process that is still alive after that is the only one with a mistake, and reports it.
        time.sleep(PATIENCE_S)
        raise


def run(argv: list[str] | None) -> int:
    """Reads the settings, opens data and folder, trains, and prints the outcome. Returns the exit code."""
    options = parse(argv)
    config = settings(options)
    dataset = ShardDataset.open(options.data)
    folder = RunFolder(options.output)
    if folder.is_finished(config, dataset_digest(dataset.root)):
        say(f"{options.output} is finished: {outcome(folder)}")
        return EXIT_FINISHED
    if RANK == 0:  # alone, since the others may find files that it has just written
        folder.refuse_foreign()
    for split in (config.train_split, config.valid_split):
        check_fits(dataset, split, config.loader)
    log_to_stderr()

    with report_if_slow("loading PyTorch, timm and Accelerate"):  # after the mistakes that need none
        from glass.train.run import train

    try:
        finished = train(dataset, config, folder.path, checkpoint_every=options.checkpoint_every)
    except RuntimeError as error:
        from glass.train.processes import end_at_once, lost_process

        lost = lost_process(error, config.process_timeout_s)
        if lost is None or "WORLD_SIZE" not in os.environ:
            raise
        end_at_once(lost, EXIT_STOPPED)
    if not finished:
        say("stopped, with a checkpoint: run the same command to continue")
        return EXIT_STOPPED
    if RANK == 0:  # alone, since it writes the outcome, perhaps after the others have come here
        say(f"finished: {outcome(folder)}")
    return EXIT_FINISHED


def parser() -> CommandParser:
    """The command-line parser."""
    command = CommandParser(
        prog=program_name("train.py"),
        description=(__doc__ or "").split("\n\n")[0],
        epilog=f"settings (explained in glass/config/run_config.py): {', '.join(setting_names(RunConfig()))}",
    )
    command.add_argument("--data", type=Path, help="folder of shards, made by glass build")
    command.add_argument("--preset", help=f"one of {', '.join(preset_names())}")
    command.add_argument(
        "--config", type=Path, metavar="FILE", help="a run.toml, which names a preset and changes its settings"
    )
    command.add_argument("--output", type=Path, help="folder for this run")
    command.add_argument(
        "--params",
        type=Path,
        metavar="FILE",
        help="a best.json of glass tune for this preset, whose settings the run takes",
    )
    add_settings(command, "change a setting of the preset, e.g. epochs=3 or optim.lr_local=1e-4 (repeatable)")
    command.add_argument(
        "--augment",
        nargs="?",
        type=float,
        const=AUGMENT_SHARE,
        metavar="SHARE",
        help="augment this share of the training images at random: JPEG, WebP, blur, resize, noise (default "
        f"{AUGMENT_SHARE})",
    )
    command.add_argument("--seed", type=int, help="seed of weights, dropout, order of images and windows")
    command.add_argument(
        "--checkpoint-every",
        type=int,
        metavar="STEPS",
        help="optimiser steps between checkpoints within an epoch (default: checkpoints at the end of an epoch only)",
    )
    return command


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parses the options. Raises ``InputError``, whose message says what to give, if a required option is missing."""
    options = parser().parse_args(argv)
    if options.data is None:
        raise InputError(
            "--data is missing: run glass build SRC OUT, then glass train --data OUT --preset glass_resnet50 "
            "--output RUN"
        )
    if options.preset is None and options.config is None:
        raise InputError(f"give --preset, one of {', '.join(preset_names())}, or a settings file with --config")
    if options.output is None:
        raise InputError("give --output, a folder for the run, such as runs/first")
    if options.checkpoint_every is not None and options.checkpoint_every < 1:
        raise InputError(f"--checkpoint-every {options.checkpoint_every} must be at least 1")
    return options


def settings(options: argparse.Namespace) -> RunConfig:
    """The preset's settings, changed by ``--config``, then ``--params``, then ``--seed`` and ``--augment``, then
    ``--set``. Raises ``InputError`` if ``--set`` contradicts ``--seed`` or ``--augment``.
    """
    flags = [] if options.seed is None else [f"seed={options.seed}", f"loader.seed={options.seed}"]
    if options.augment is not None:
        flags.append(f"loader.augment={options.augment}")
    for option, setting, value in (("seed", "seed", options.seed), ("augment", "loader.augment", options.augment)):
        if value is not None:
            refuse_contradiction(f"--{option} {value}", f"{setting}={value}", options.set)
    if options.config is None:
        preset = load_preset(options.preset)
    else:
        preset = read_run_file(options.config, options.preset, load_preset, options.set)
    if options.params is not None:
        from glass.studies.search_records import apply_params

        preset = apply_params(preset, options.params, options.set)
    return apply_overrides(preset, [*flags, *options.set])


def log_to_stderr() -> None:
    """Makes the main process log to standard error: messages from ``glass`` and ``loaders`` at level INFO and above,
    and warnings from other packages. Other processes do not log.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(SafeFormatter("%(message)s"))
    if RANK == 0:
        for package in ("glass", "loaders"):
            logging.getLogger(package).setLevel(logging.INFO)
    else:
        logging.disable(logging.CRITICAL)


def outcome(folder: RunFolder) -> str:
    """States which epoch was kept, its metrics, and its model's folder."""
    record = folder.record()
    assert record is not None
    best = (record["finished"] or {})["best"]
    metrics = ", ".join(
        f"{words} {best[name]:.3f}"
        for name, words in (("valid_accuracy", "accuracy"), ("valid_auroc", "AUROC"))
        if best[name] is not None
    )
    return f"best epoch {best['epoch']} (validation {metrics}), model in {folder.model}"


def say(text: str) -> None:
    """Prints ``text`` only from the main process, so that it appears once."""
    if RANK == 0:
        print(text, flush=True)


if __name__ == "__main__":
    run_command(main)
