"""Does anything grow when everything goes wrong for a long time?

python -m bench soak --minutes 30 [--output DIR]

Loads and trains in this process on shards with damaged images, while reads stall, fail and raise,
the consumer pauses, and the loader is closed and built again in mid-epoch; beside it a training run
in a process of its own is killed and started again. Memory, handles and threads over time must stay
flat, and every epoch must show every sample once. The rule of the verdict: ``bench.soak_parts.loop``.
"""

import argparse
from pathlib import Path
from typing import Any

from bench.harness.arguments import bench_parser, check_output, progress, scratch_folder
from bench.harness.environment import environment
from bench.harness.schemas import print_result
from shards.errors import InputError
from shards.files.atomic import atomic_path

__all__ = ["main"]

BENCH = "soak"


def main(argv: list[str] | None = None) -> int:
    """Runs the soak; exit code 1 where it was not flat."""
    options = _parse(argv)
    from bench.soak_parts.faults import damaged_shards, faulty_reads
    from bench.soak_parts.loop import soak, verdict
    from bench.soak_parts.training import KilledTraining

    found = environment([])
    with scratch_folder() as folder:
        progress("building damaged shards")
        dataset = damaged_shards(folder, options.seed)
        child = KilledTraining(dataset.root, folder / "run", options.seed)

        def tend() -> int:
            if not options.no_training:
                child.tend()
            return child.rss_bytes

        progress(f"soaking for {options.minutes:g} minutes")
        try:
            with faulty_reads(options.seed) as faults:
                soaked = soak(dataset, options.minutes * 60, options.seed, tend)
        finally:
            child.kill()
        outcome = verdict(soaked) | {
            "minutes": options.minutes,
            "seed": options.seed,
            "epochs": soaked.epochs,
            "images": soaked.samples[-1].images,
            "wrong_epochs": soaked.wrong_epochs,
            "loader_restarts": soaked.restarts,
            "faults": dict(faults),
            "masked": dict(soaked.masked),
            "training_kills": child.kills,
            "training_failures": child.failures,
            "training_steps": child.steps,
        }
    if child.failures:
        outcome["verdict"] = "not flat"
    for name, value in outcome.items():
        print(f"{name:18} {value}")
    document = {"bench": BENCH, "environment": found, "soak": outcome, "series": soaked.columns()}
    print_result(document, options.output, BENCH, lambda folder: _plot(soaked.columns(), folder / "soak"))
    return 0 if outcome["verdict"] == "flat" else 1


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = bench_parser(BENCH, (__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="how long")
    parser.add_argument("--seed", type=int, default=0, help="of faults, pauses and kills")
    parser.add_argument("--no-training", action="store_true", help="leave out the run that is killed")
    parser.add_argument("--output", type=Path, metavar="DIR", help="also write JSON and plot here")
    options = parser.parse_args(argv)
    if not 0 < options.minutes <= 10_000:
        raise InputError(f"--minutes {options.minutes:g}: must lie between 0 and 10000")
    check_output(options)
    return options


def _plot(columns: dict[str, list[float]], path: Path) -> None:
    """Four panels over time: memory, handles, threads, rate."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    minutes = [second / 60 for second in columns["time_s"]]
    rates = [
        (after - before) / max(later - now, 1e-6)
        for before, after, now, later in zip(
            columns["images"], columns["images"][1:], columns["time_s"], columns["time_s"][1:], strict=False
        )
    ]
    panels: list[tuple[str, list[float]]] = [
        ("resident memory (MiB)", [value / 2**20 for value in columns["rss_bytes"]]),
        ("file handles", columns["handles"]),
        ("threads", columns["threads"]),
        ("images per second", rates),
    ]
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 6), layout="constrained")
    for axis, (title, values) in zip(axes.flat, panels, strict=True):
        axis.plot(minutes[-len(values) :], values, linewidth=1)
        axis.set(title=title, xlabel="minutes", ylim=(0, 1.1 * max(values, default=1)))
    _save(figure, path)
    pyplot.close(figure)


def _save(figure: Any, path: Path) -> None:
    for suffix in ("png", "svg"):
        with atomic_path(path.with_suffix(f".{suffix}")) as temporary:
            figure.savefig(temporary, format=suffix, dpi=120)
