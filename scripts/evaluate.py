"""How good is a trained detector? Scores a split and reports metrics with intervals.

glass evaluate RUN --data DATA --split test

Writes RUN/evaluation-<split>.json (metrics with intervals, and a row per generator) and RUN/predictions-<split>.parquet
(every image's score, windows and attention), and prints a table. If these files contain results on another data set, or
if there are none yet but RUN was trained on another data set, the new file names also contain -of- and 12 digits of
DATA's digest.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from shards.cli.command import CommandParser, printable, run_command
from shards.errors import InputError

from .arguments import add_device, at_least_one, script_parser, thread_count, threshold_advice

if TYPE_CHECKING:
    from glass.measure.evaluation_schema import Evaluation

WIDTH_WITHOUT_TERMINAL = 120


def main(argv: list[str] | None = None) -> int:
    """Scores the split, then writes and prints the metrics. Returns exit code 0."""
    arguments = parser().parse_args(argv)
    run: Path = arguments.run
    if not (run / "model" / "config.json").is_file():
        if (run / "dataset.json").is_file():
            raise InputError(f"{run} is a data set: give it as --data, and the folder of a run as RUN")
        what = "holds no trained model (model/config.json)" if run.exists() else "does not exist"
        raise InputError(
            f"{run} {what}: give the folder of a run (glass train --output), or "
            "measure an exported model or one from the hub with glass robustness MODEL --rows clean --output DIR"
        )
    # The data set opens in milliseconds, torch in seconds: mistakes are reported before the wait.
    from shards.files.outputs import make_folder
    from shards.manifest.dataset import ShardDataset

    dataset = ShardDataset.open(arguments.data)
    dataset.split_rows(arguments.split)
    make_folder(run, "RUN")
    from glass.config.dataset_digest import dataset_json_sha256
    from glass.config.unfinished_run import unfinished_warning
    from glass.export.pixel_rules import print_decoder_warnings
    from glass.measure.evaluation import EvaluationOptions, evaluate_run
    from glass.measure.predictions import predictions_path
    from glass.measure.result_files import (
        EVALUATION,
        OUR_EVALUATION,
        OUR_PREDICTIONS,
        evaluation_path,
        named_of,
        write_evaluation,
    )
    from shards.files.outputs import check_output

    options = EvaluationOptions(
        device=arguments.device,
        num_crops=arguments.crops,
        batch_size=arguments.batch_size,
        num_threads=arguments.threads,
        draws=arguments.draws,
        progress=True,
    )
    variant = "" if arguments.crops is None else f"-crops{arguments.crops}"
    digest = dataset_json_sha256(dataset.root)
    variant = named_of(run, EVALUATION, arguments.split, digest, variant)
    path = evaluation_path(run, arguments.split, variant)
    scores = predictions_path(run, arguments.split, variant)
    remedy = "move it away, because the results are written there"
    check_output(path, OUR_EVALUATION, remedy)
    check_output(scores, OUR_PREDICTIONS, remedy)
    if warning := unfinished_warning(run / "model"):
        print(printable(warning), file=sys.stderr)
    with print_decoder_warnings():
        document, table = evaluate_run(run, dataset, arguments.split, options)
    verb = "rewrote" if path.exists() else "wrote"
    try:
        write_evaluation(run, document, table, variant)
    except OSError as error:
        raise InputError(f"cannot write into {run}: {error.strerror or error}") from error
    _print(document)
    print(printable(f"{verb} {path} and {scores}"))
    return 0


def parser() -> CommandParser:
    """The command-line parser."""
    parser = script_parser("evaluate", __doc__)
    parser.advice = threshold_advice
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a training run")
    parser.add_argument("--data", type=Path, required=True, help="folder of shards")
    parser.add_argument("--split", default="test", help="split to score (default test); valid+test joins two splits")
    parser.add_argument(
        "--draws", type=at_least_one, default=1000, help="repetitions of the bootstrap (default %(default)s)"
    )
    add_device(parser)
    parser.add_argument("--batch-size", type=at_least_one, help="images per batch (default: as in training)")
    parser.add_argument("--threads", type=thread_count, help="number of threads (default: as in training)")
    parser.add_argument(
        "--crops",
        type=at_least_one,
        metavar="N",
        help="number of crops, if not as in training; the results are then named …-cropsN",
    )
    return parser


def _print(document: "Evaluation") -> None:
    """Prints the results as tables. Names from the data are printed as plain text, never as markup."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from glass.report.sentences import calibration_sentences, data_sentences, learnt_sentence
    from glass.report.tables import METRIC_ROWS, cell, generator_rows

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_WITHOUT_TERMINAL)
    samples, threshold = document["samples"], document["threshold"]
    decay = document["model"].get("weight_average")
    average = "" if decay is None else f", moving average of weights (decay {decay:g}),"
    title = (
        f"{document['model']['kind']}{average} on {printable(document['dataset']['name'])}, split "
        f"{document['split']}: {samples['real']} real and {samples['generated']} generated images "
        f"of {samples['scenes']} scenes, {samples['undecodable']} unreadable; threshold "
        f"{threshold['value']:.4g} ({threshold['source']})"
    )
    console.print(Text(title))
    for said in data_sentences(document["model"], document["dataset"]):
        console.print(Text(printable(said)))
    if sentence := learnt_sentence(document.get("learnt")):
        console.print(Text(sentence))
    metrics = Table("metric", "value (95 % interval)", "how to read it")
    for name, title, reading in METRIC_ROWS:
        value = cell(document["metrics"][name], document["intervals"][name])
        metrics.add_row(title, str(value), reading)
    console.print(metrics)
    # The columns that fit into a terminal; the document and the report have all.
    shown = {"AUROC": 0, "detected at ≤ 5 % false alarms": 3, "called generated": 5}
    generators = Table("images of", "number", *shown)
    for row in generator_rows(document["per_generator"]):
        cells = [Text(str(row.cells[place])) for place in shown.values()]
        generators.add_row(Text(printable(row.name)), row.images, *cells)
    console.print(generators)
    for sentence in calibration_sentences(document.get("calibration")):
        console.print(Text(printable(sentence)))


if __name__ == "__main__":
    run_command(main)
