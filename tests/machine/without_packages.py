"""A program that runs commands without the optional packages, and reports how each of them ended:
``python -m tests.machine.without_packages [--refuse] SHARDS IMAGES OUT``.

The packages are either not installed or, with ``--refuse``, hidden. Prints one JSON document: ``steps`` maps the name
of each step to ``[exit code, log or error message]``, and ``loaded`` lists the hidden packages that were imported
nevertheless.
"""

import contextlib
import io
import json
import logging
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from pathlib import Path

HIDDEN = ("nvidia.dali", "webdataset", "simplejpeg", "jpeglib", "isal", "optuna")


class Refusing(MetaPathFinder):
    """An import hook that makes the hidden packages appear not to be installed."""

    def find_spec(self, name, path=None, target=None):
        if any(name == hidden or name.startswith(f"{hidden}.") for hidden in HIDDEN):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def main() -> None:
    words = sys.argv[1:]
    if words[0] == "--refuse":
        sys.meta_path.insert(0, Refusing())
        words = words[1:]
    shards, images, out = words
    found = {name: attempt(command) for name, command in steps(shards, images, Path(out)).items()}
    loaded = sorted(hidden for hidden in HIDDEN if hidden in sys.modules)
    sys.stdout.write(json.dumps({"steps": found, "loaded": loaded}) + "\n")


def attempt(command: Callable[[], int]) -> list:
    """Runs a command. Returns [exit code, log], or [2, message] if it raised ``InputError``."""
    from shards.errors import InputError

    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return [command(), log.getvalue()]
    except InputError as error:
        return [2, str(error)]
    finally:
        logging.getLogger().removeHandler(handler)


def steps(shards: str, images: str, out: Path) -> dict[str, Callable[[], int]]:
    import scripts.build_shards
    import scripts.evaluate
    import scripts.predict
    import scripts.tune
    import train

    small = ["epochs=1", "loader.global_batch_size=4", "loader.crop_size=48", "loader.num_crops=2", "tensorboard=false"]
    small += ["cpu_threads=1", "model.global_backbone=test_vit"]
    sets = [word for setting in small for word in ("--set", setting)]
    preset = ["--data", shards, "--preset", "glass_tiny"]
    run = str(out / "run")
    photo = str(next(Path(images).rglob("*.jpg")))
    return {
        "train": lambda: train.main([*preset, "--output", run, *sets]),
        "evaluate": lambda: scripts.evaluate.main([run, "--data", shards, "--draws", "20"]),
        "predict": lambda: scripts.predict.main([run, photo]),
        "dali": lambda: train.main([*preset, "--output", str(out / "d"), *sets, "--set", "loader.backend=dali"]),
        "build": lambda: scripts.build_shards.main([images, str(out / "built"), "--workers", "1"]),
        "tune": lambda: scripts.tune.main([*preset, "--output", str(out / "tuned"), "--trials", "1"]),
    }


if __name__ == "__main__":
    main()
