"""``glass bench spectrum``: measures how well a simple classifier without a network detects generated images.

Question: does a trained detector know more about this data set than a power spectrum shows? Method: logistic regression
on radial log-spectra of 128-pixel windows (``bench.methods.spectrum``). It is fitted on one split and scored on
another. Metrics and intervals are computed exactly as ``glass evaluate`` does for a model.

    glass bench spectrum --data data/shards --split test
"""

import argparse
from pathlib import Path
from typing import Any, cast

from bench.harness.arguments import bench_parser, check_at_least, check_output, progress
from bench.harness.environment import environment
from bench.harness.schemas import Environment, Spectrum, SpectrumRow, print_result
from bench.harness.table import new_table, print_spanning
from glass.report.tables import interval_text, number
from loaders import LoaderConfig
from shards.cli.command import CommandParser, printable
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

__all__ = ["main", "parser"]

BENCH = "spectrum"
ALL = "(all)"


def main(argv: list[str] | None = None) -> int:
    """Runs the bench. Returns 0."""
    options = _parse(argv)
    dataset = ShardDataset.open(options.data)
    for split in (options.train_split, options.split):
        dataset.split_rows(split)
    if set(options.train_split.split("+")) & set(options.split.split("+")):
        raise InputError(
            f"--split {options.split} and --train-split {options.train_split} share images: give two different splits"
        )
    document = _measured(dataset, options)
    _print(document)
    print_result(dict(document), options.output, BENCH)
    return 0


def _measured(dataset: ShardDataset, options: argparse.Namespace) -> Spectrum:
    from bench.corpora.corpus import data_digest
    from bench.methods.spectrum import NUM_CROPS, WINDOW, fit_spectrum
    from glass.measure.evaluation import evaluate_table
    from glass.measure.predictions import prediction_table
    from glass.measure.scoring import score
    from loaders import build_loader

    config = LoaderConfig(
        backend="turbo",
        global_size=dataset.info.global_size,
        crop_size=WINDOW,
        num_crops=NUM_CROPS,
        global_batch_size=16,
        shuffle=False,
        num_threads=options.threads,
    )
    progress(f"fitting to {options.train_split}")
    with build_loader(dataset, options.train_split, config) as loader:
        try:
            classifier = fit_spectrum(loader)
        except ValueError as error:
            raise InputError(
                f"--train-split {options.train_split} does not have images of both classes: give another split"
            ) from error
    progress(f"scoring {options.split}")
    with build_loader(dataset, options.split, config) as loader:
        predictions = score(classifier, loader, "cpu", "float32")
    results = evaluate_table(prediction_table(predictions, dataset, options.split), draws=options.draws)
    rows: list[SpectrumRow] = [
        {
            "generator": ALL,
            "images": results["samples"]["generated"],
            "auroc": results["metrics"]["auroc"],
            "interval": results["intervals"]["auroc"],
        }
    ]
    for name, row in results["per_generator"]["generators"].items():
        interval: Any = row["intervals"]["auroc"]
        rows.append({"generator": name, "images": row["images"], "auroc": row["auroc"], "interval": interval})
    return {
        "bench": BENCH,
        "data": data_digest(dataset.info),
        "train_split": options.train_split,
        "split": options.split,
        "real": results["samples"]["real"],
        "rows": rows,
        "environment": cast(Environment, environment([0])),
    }


def _print(document: Spectrum) -> None:
    title = f"AUROC of the spectrum alone on {document['split']}, {document['real']} real images"
    table = new_table(title, "generator", "images", "AUROC", "95 % interval")
    for row in document["rows"]:
        value = number(row["auroc"])
        between = interval_text(row["auroc"], row["interval"]) or "–"
        table.add_row(printable(row["generator"]), str(row["images"]), value, between)
    print_spanning(table)
    whole = document["rows"][0]["auroc"]
    if whole is not None:
        print(f"a spectrum alone reaches {whole:.2f}: a detector worth training must exceed this")


def parser() -> CommandParser:
    """The command-line parser."""
    parser = bench_parser(BENCH, "A baseline for detectors: logistic regression on power spectra.")
    parser.add_argument("--data", type=Path, required=True, metavar="DATA", help="folder of shards")
    parser.add_argument("--split", default="test", help="split to measure on")
    parser.add_argument("--train-split", default="train", metavar="SPLIT", help="split to fit to")
    parser.add_argument("--draws", type=int, default=1000, help="repetitions of the bootstrap (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads that read and decode")
    parser.add_argument("--output", type=Path, metavar="DIR", help="also write the JSON document to this folder")
    return parser


def _parse(argv: list[str] | None) -> argparse.Namespace:
    options = parser().parse_args(argv)
    check_at_least(1, options, "draws", "threads")
    check_output(options)
    return options
