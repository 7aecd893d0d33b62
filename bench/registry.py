"""The benches: name → what it measures, and the module whose ``main`` runs it."""

from dataclasses import dataclass

__all__ = ["BENCHES", "Bench"]


@dataclass(frozen=True)
class Bench:
    """A bench that ``glass bench NAME`` runs."""

    module: str
    """A module with ``main(argv: list[str] | None) -> int``; imported when it is run."""
    about: str


BENCHES = {
    "decode": Bench("bench.decode", "images to crops: our loader beside other ways to decode"),
    "loader": Bench("bench.loader", "the loader on shards that exist: backends, modes, threads"),
    "remote": Bench("bench.remote", "shards in a store: bytes in ranges and in whole shards"),
    "soak": Bench("bench.soak", "loader and training under faults: memory, handles, rates"),
    "build": Bench("bench.build", "building a sample and its entry points beside one full decode"),
    "memory": Bench("bench.memory", "a training step's memory and time, plain and in chunks"),
    "train": Bench("bench.train", "where a training step's time goes, and the share of the loader's rate"),
    "spectrum": Bench("bench.spectrum", "the floor for detectors: what a power spectrum alone tells"),
    "scale": Bench("bench.scale", "opening, shuffling and resuming, from 10³ to 10⁷ samples"),
    "doctor": Bench("bench.doctor", "is this machine set up well, and what is slow or wrong"),
    "gpu": Bench("bench.gpu.command", "all that is to be measured on a GPU, in one command of minutes"),
    "all": Bench("bench.all", "several benches in turn, their results kept as lines"),
    "report": Bench("bench.report", "results of machines and commits side by side"),
}
