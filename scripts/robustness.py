"""How well does a detector work on images that were re-saved, resized or blurred? Writes a table and a heat map.

glass robustness MODEL --data DATA [--split test] [--rows "jpeg-*" --rows web]
glass robustness --model before=RUN --model after=RUN --data DATA --output DIR

Writes robustness-<split>.json and robustness-<split>.png into DIR (default: MODEL's folder; for a model on the hub,
--output is required). If these files contain results on another data set, or if there are none yet but DIR is a run
trained on another data set, the new file names also contain -of- and 12 digits of DATA's digest.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from shards.cli.command import CommandParser, printable, run_command
from shards.cores import usable_cores
from shards.errors import InputError
from shards.files.json_file import read_json
from shards.files.outputs import check_output, is_json_with

from .arguments import add_device, at_least_one, script_parser, thread_count, threshold_advice

if TYPE_CHECKING:
    from glass.measure.perturbations import Perturbation
    from glass.measure.robustness_schema import Robustness
    from shards.manifest.dataset import ShardDataset

WIDTH_WITHOUT_TERMINAL = 120


def main(argv: list[str] | None = None) -> int:
    """Scores the changed images, then writes and prints the results. Returns exit code 0."""
    arguments = _parse(argv)
    from glass.measure.perturbations import chosen_rows
    from shards.manifest.dataset import ShardDataset

    rows = chosen_rows(arguments.rows)
    dataset = ShardDataset.open(arguments.data)
    dataset.require_local()
    dataset.split_rows(arguments.split)
    # The data set opens in milliseconds, torch in seconds: mistakes are reported before the wait.
    from glass.config.dataset_digest import dataset_json_sha256
    from glass.export.pixel_rules import print_decoder_warnings
    from glass.measure.result_files import ROBUSTNESS, named_of, robustness_path
    from glass.model.hub import model_folder
    from shards.files.outputs import make_folder

    folders = {name: model_folder(path) for name, path in arguments.models.items()}
    output = _output(arguments)
    make_folder(output)
    digest = dataset_json_sha256(dataset.root)
    variant = named_of(output, ROBUSTNESS, arguments.split, digest)
    path = robustness_path(output, arguments.split, variant)
    _check_target(path, set(folders), {row.name for row in rows})
    verb = "rewrote" if path.exists() else "wrote"
    with print_decoder_warnings():
        document = _measure(arguments, folders, dataset, rows)
    try:
        output.mkdir(parents=True, exist_ok=True)
        _write(path, document)
    except OSError as error:
        raise InputError(f"cannot write into {output}: {error.strerror or error}") from error
    _print(document)
    print(printable(f"{verb} {path} and {path.with_suffix('.png').name}"))
    return 0


def parser() -> CommandParser:
    """The command-line parser."""
    parser = script_parser("robustness", __doc__)
    parser.advice = threshold_advice
    parser.add_argument("model", nargs="?", metavar="MODEL", help="folder of a training run or an exported model")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        dest="named",
        metavar="NAME=MODEL",
        help="a further model and its name; all are compared with the first (repeatable)",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of shards")
    parser.add_argument("--split", default="test", help="split to score (default test); valid+test joins two splits")
    parser.add_argument(
        "--rows",
        action="append",
        default=[],
        metavar="PATTERN",
        help='only these changes, beside the unchanged images, such as "jpeg-*" (repeatable)',
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder for the results (default: that of the first MODEL)"
    )
    parser.add_argument("--threads", type=thread_count, help="number of threads (default: one per usable core)")
    parser.add_argument(
        "--draws", type=at_least_one, default=1000, help="repetitions of the bootstrap (default %(default)s)"
    )
    add_device(parser)
    return parser


def _parse(argv: list[str] | None) -> argparse.Namespace:
    arguments = parser().parse_args(argv)
    arguments.models = _models(arguments.model, arguments.named)
    return arguments


def _models(positional: str | None, named: list[str]) -> dict[str, str]:
    """Maps each model's name to its path or hub id, in the order given."""
    models = {} if positional is None else {Path(positional).resolve().name: positional}
    for text in named:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise InputError(f"--model {text!r} must be NAME=MODEL, such as before=runs/first")
        if name in models:
            raise InputError(f"the name {name!r} is given to two models: give each model its own")
        models[name] = path
    if not models:
        raise InputError("give a model: the folder of a training run, or --model NAME=MODEL")
    return models


def _output(arguments: argparse.Namespace) -> Path:
    """Returns the folder for the results. Raises ``InputError`` if the model is on the hub and ``--output`` is missing:
    the default would be a new folder with the model's name, which later commands would mistake for the model.
    """
    given: Path | None = arguments.output
    first = next(iter(arguments.models.values()))
    if given is None and not Path(first).is_dir():
        raise InputError(f"{first} is not a local folder, so the results cannot be written there: give --output DIR")
    return given or Path(first)


def _check_target(path: Path, models: set[str], rows: set[str]) -> None:
    """Raises ``InputError`` if a file that would be replaced was not written by this command, or contains results of
    other models or other changes, which would be lost.
    """
    from glass.measure.robustness_schema import check_robustness

    remedy = "move it away or give another --output"
    picture = _picture(path)
    replaced = check_output(path, is_json_with(check=check_robustness), remedy)
    # This command writes the table first, so an image without a table is not its own.
    check_output(picture, lambda _: replaced, remedy)
    if not replaced:
        return
    before = read_json(path)
    lost = sorted(set(before["models"]) - models) or [r["name"] for r in before["rows"] if r["name"] not in rows]
    if lost:
        raise InputError(f"{path} holds results of {', '.join(lost)}, which would be lost: {remedy}")


def _picture(path: Path) -> Path:
    return path.with_suffix(".png")


def _measure(
    arguments: argparse.Namespace, folders: dict[str, Path], dataset: "ShardDataset", rows: "list[Perturbation]"
) -> "Robustness":
    from glass.measure.robustness import measure_robustness
    from glass.measure.trained_model import TrainedModel

    models = {name: TrainedModel.open(folder, device=arguments.device, name=name) for name, folder in folders.items()}
    return measure_robustness(
        models,
        dataset,
        arguments.split,
        rows,
        threads=arguments.threads or usable_cores(),
        loader_threads=arguments.threads,
        draws=arguments.draws,
        progress=True,
    )


def _write(path: Path, document: "Robustness") -> None:
    from glass.measure.result_files import write_robustness
    from glass.report.heat_map import heat_map_png
    from shards.files.atomic import write_bytes_atomic

    picture = heat_map_png(document)
    write_robustness(path, document)
    write_bytes_atomic(_picture(path), picture)


def _print(document: "Robustness") -> None:
    """Prints the results as tables. Names from the data are printed as plain text, never as markup."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from glass.report.robustness import robustness_table
    from glass.report.sentences import data_sentences, learnt_sentence
    from glass.report.tables import number

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_WITHOUT_TERMINAL)
    for name in document["models"]:
        head, rows = robustness_table(document, name)
        table = Table(*head, title=Text(printable(name)))
        for row in rows:
            table.add_row(*(Text(text) for text in row))
        console.print(table)
        for said in data_sentences(document["models"][name], document["dataset"]):
            console.print(Text(printable(f"{name}: {said}")))
        if sentence := learnt_sentence(document["models"][name]["learnt"]):
            console.print(Text(printable(f"{name}: {sentence}")))
        low = document["worst"][name]
        console.print(Text(f"{printable(name)}: lowest AUROC {number(low['auroc'])}, {low['row']}"))


if __name__ == "__main__":
    run_command(main)
