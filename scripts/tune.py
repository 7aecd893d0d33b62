"""Searches settings for a preset: TPE proposes them, Hyperband prunes trials, and a killed search can be continued.

glass tune --data DATA --preset glass_resnet50 [--trials 100] [--epochs 25]

Writes OUTPUT/tuning.json (all trials), OUTPUT/best.json (train.py --params takes it) and plots. The same command, run
again, continues the search; with a larger --trials it adds trials. Several processes (--workers) and several machines
may work on one study: give them the same --output and the same --storage (sqlite:///FILE on one machine;
journal:///FILE or a database on several).
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from glass.config.overrides import apply_overrides, refuse_fixed
from glass.config.run_config import RunConfig, SelectBy
from glass.config.set_option import add_settings
from glass.presets import load_preset
from shards.cli.command import CommandParser, printable, run_command
from shards.cli.wording import counted
from shards.cores import usable_cores
from shards.errors import InputError
from shards.files.outputs import make_folder
from shards.manifest.dataset import ShardDataset
from shards.optional import require_installed

from .arguments import (
    EXIT_STOPPED,
    add_data_and_preset,
    add_device,
    at_least_one,
    choose_device,
    require_one_process,
    script_parser,
)

if TYPE_CHECKING:
    from glass.studies.search import Search
    from glass.studies.search_records import Tuning
    from glass.studies.search_space import Dimension

FIXED = {
    "epochs": "give --epochs",
    "select_by": "give --metric",
    "loader.device": "give --device",
    "tensorboard": "leave it out, because its trials write no TensorBoard logs",
    "train.trackers": "leave it out, because its trials are not tracked",
}


def main(argv: list[str] | None = None) -> int:
    """Runs or continues a search, then writes and prints the results. Returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    options = parse(words)
    if options.as_worker:
        threading.Thread(target=_stop_with_parent, args=(os.getppid(),), daemon=True).start()
    require_one_process("glass tune")
    config = settings(options)
    space = _space(options, config)
    dataset = ShardDataset.open(options.data)
    for split in (config.train_split, config.valid_split):
        dataset.split_rows(split)
    choose_device(options.device)
    require_installed("optuna", "a search over settings")
    from glass.studies.search import Search  # takes seconds; mistakes are reported first
    from glass.studies.search_space import SearchPlan
    from glass.train.run import TrainingStopped
    from loaders.reading.open_shards import OpenShards

    plan = SearchPlan(config, space, min_epochs=options.min_epochs)
    make_folder(options.output)
    with OpenShards(dataset) as data:
        search = Search(data, plan, options.output, options.storage)
        if search.is_finished(options.trials):
            document = search.write_records()
            if not options.as_worker:
                _write_plots(document, options.output)  # an earlier run may have been killed before it wrote them
            print(f"{options.output} is finished: {summary(document)}")
            return 0
        try:
            if options.as_worker:
                search.work(options.trials, _tell)
                return 0
            document = _work_with_others(search, options, words)
        except TrainingStopped:
            if not options.as_worker:
                print("stopped, with a checkpoint: run the same command to continue")
            return EXIT_STOPPED
    _write_plots(document, options.output)
    print(printable(f"wrote {options.output}/tuning.json and plots: {summary(document)}"))
    return 0


def parser() -> CommandParser:
    """The command-line parser."""
    parser = script_parser("tune", __doc__)
    add_data_and_preset(parser)
    parser.add_argument("--output", type=Path, help="folder of the search (default runs/tune-PRESET)")
    parser.add_argument("--trials", type=at_least_one, default=100, help="number of trials; default 100")
    parser.add_argument("--epochs", type=at_least_one, default=25, help="epochs of a trial; default 25")
    parser.add_argument(
        "--min-epochs", type=at_least_one, default=5, help="epochs before a trial may be pruned; default 5"
    )
    parser.add_argument(
        "--metric",
        default="accuracy",
        help=f"metric of a trial's best epoch: {', '.join(get_args(SelectBy))} (default %(default)s)",
    )
    parser.add_argument(
        "--storage", metavar="URL", help="database of the trials (default: a SQLite file in the folder)"
    )
    parser.add_argument("--workers", type=at_least_one, default=1, help="number of processes; default 1")
    parser.add_argument(
        "--search",
        action="append",
        default=[],
        metavar="NAME=LOW..HIGH|A,B,C",
        help="change the search space, such as lr_local=1e-5..1e-3 or num_crops=2,4 (repeatable)",
    )
    add_settings(parser, "change a setting that is not searched, as in glass train (repeatable)")
    add_device(parser)
    parser.add_argument("--as-worker", action="store_true", help=argparse.SUPPRESS)
    return parser


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command-line options."""
    options = parser().parse_args(argv)
    options.output = options.output or Path("runs") / f"tune-{options.preset}"
    return options


def settings(options: argparse.Namespace) -> RunConfig:
    """Returns the preset's settings, changed by ``--set``, ``--epochs`` and ``--metric``. Raises ``InputError`` if the
    metric is unknown.

    If there are several workers and the settings do not fix the thread count, each worker uses an equal share of the
    cores.
    """
    if options.metric not in get_args(SelectBy):
        raise InputError(f"--metric {options.metric!r} is unknown: choose from {', '.join(get_args(SelectBy))}")
    config = apply_overrides(load_preset(options.preset), options.set)
    if options.workers > 1 and config.cpu_threads is None:
        config = replace(config, cpu_threads=max(usable_cores() // options.workers, 1))
    return replace(config, epochs=options.epochs, select_by=options.metric)


def _space(options: argparse.Namespace, config: RunConfig) -> "tuple[Dimension, ...]":
    """The dimensions to search. Raises ``InputError`` if ``--set`` names a setting that is searched or that another
    option sets."""
    from glass.studies.search_space import changed_space, space_for

    space = changed_space(space_for(config), config, options.search)
    searched = {
        key: f"this setting is searched, so give --search {dimension.name}=VALUE"
        for dimension in space
        for key in dimension.settings
    }
    refuse_fixed(options.set, FIXED | searched)
    return space


def summary(document: "Tuning") -> str:
    """States how many trials are in each state, and which is best."""
    from glass.studies.search_records import best_trial

    states = document["states"]
    text = ", ".join(f"{number} {name}" for name, number in states.items() if number)
    found = best_trial(document["trials"], document["metric"])
    if found is None:
        return f"{text}; no trial is complete"
    value, best = found
    point = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in best["params"].items()
    )
    return f"{text}; best validation {document['metric']} {value:.4f} by trial {best['number']}: {point}"


def _work_with_others(search: "Search", options: argparse.Namespace, words: list[str]) -> "Tuning":
    """Starts ``--workers`` - 1 more processes with this command, and runs trials alongside them. When they have ended,
    runs the trials they left unfinished.
    """
    before = signal.signal(signal.SIGTERM, _stop)
    others: list[subprocess.Popen[bytes]] = []
    try:
        others.extend(_start_worker(words, number) for number in range(1, options.workers))
        search.work(options.trials, _tell)
        for number, other in enumerate(others, start=1):
            if code := other.wait():
                print(f"worker {number} ended with exit code {code}; its trials were left to the other workers")
    finally:
        for other in others:
            if other.poll() is None:
                other.terminate()
        for other in others:  # a job may end with this process, and they are writing checkpoints
            other.wait()
        signal.signal(signal.SIGTERM, before)
    return search.run(options.trials, _tell)  # including trials of workers that died


def _stop(*_: Any) -> NoReturn:
    """Handles a signal that comes between trainings, for example while this process waits for the last worker."""
    from glass.train.run import TrainingStopped

    raise TrainingStopped


def _start_worker(words: list[str], number: int) -> "subprocess.Popen[bytes]":
    import torch

    gpu = gpu_of_worker(number, torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    environment = os.environ | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})
    return subprocess.Popen([sys.executable, "-m", f"{__package__}.tune", *words, "--as-worker"], env=environment)


def _stop_with_parent(parent: int) -> None:
    """Waits in a worker until the process that started it has ended, then stops the worker, with a checkpoint.

    Otherwise, a search whose main process was killed would go on unseen.
    """
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def gpu_of_worker(number: int, count: int, visible: str | None) -> str | None:
    """Returns the CUDA_VISIBLE_DEVICES value that assigns one GPU to the worker with index ``number``. Returns None if
    there are fewer than two GPUs; the variable should then stay as it is.

    ``count`` is the number of GPUs that CUDA finds. ``visible`` is this process's CUDA_VISIBLE_DEVICES, or None. The
    worker's GPU is one of those in ``visible``: a scheduler may have given this command only GPUs 4 and 5 of a machine,
    or may identify GPUs by name.
    """
    if count < 2:
        return None
    names = [str(index) for index in range(count)] if visible is None else visible.split(",")
    return names[number % count].strip()


def _tell(trial: Any) -> None:
    """Prints a line about a trial that has ended."""
    from glass.studies.search_records import state_of, value_of, why_failed

    found = value_of(trial)
    value = "" if found is None else f" {found:.4f}"
    epochs = counted(len(trial.intermediate_values), "epoch")
    text = f"trial {trial.number}: {state_of(trial)}{value} after {epochs}"
    print(printable(f"{text} {why_failed(trial) or ''}".strip()), flush=True)


def _write_plots(document: "Tuning", output: Path) -> None:
    from glass.report.search_plots import save_svg, search_svgs

    for name, svg in search_svgs(document).items():
        save_svg(svg, output / f"{name}.svg")


if __name__ == "__main__":
    run_command(main)
