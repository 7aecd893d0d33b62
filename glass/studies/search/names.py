"""Which dimension a name of ``--search`` means, and the settings that no search may vary.

A setting that two dimensions set would have the value of one of them, and the records that of both.
Trials that learn from, or are judged on, different samples cannot be compared.
"""

from collections.abc import Mapping

from glass.config.overrides import SHORTHANDS
from glass.config.run_folder import FREE_TO_CHANGE
from shards.errors import InputError

__all__ = ["named_dimension"]

OPTIONS = {"epochs": "--epochs", "select_by": "--metric", "loader.device": "--device"}
"""Settings that the command has options for."""
SAME_FOR_ALL = frozenset(
    {"seed", "loader.seed", "train_split", "valid_split", "model.kind", "loader.global_size", "grad_accum_steps"}
)
"""What trials must share to be compared, and to share out a batch alike."""


def named_dimension(name: str, space: Mapping[str, tuple[str, ...]], steps: int) -> str:
    """The dimension of ``space`` (name → its settings) that ``name`` means, which may be the key of
    a setting; ``name`` itself where that is a setting which no dimension has.

    ``steps`` are the micro-steps of a batch. Raises ``InputError`` for what cannot be searched.
    """
    if name in space:
        return name
    _refuse_fixed(name)
    keys = SHORTHANDS.get(name, (name,))
    owners = [owner for owner, settings in space.items() if set(settings) & set(keys)]
    if not owners:
        return name
    if space[owners[0]] != (name,) or (name == "loader.global_batch_size" and steps > 1):
        instead = " or ".join(f"{owner}=…" for owner in owners)
        raise InputError(f"--search {name}: that is searched already: give --search {instead}")
    return owners[0]


def _refuse_fixed(name: str) -> None:
    if name in OPTIONS:
        raise InputError(f"--search {name}: it is the same for all trials: give {OPTIONS[name]}")
    if name in SAME_FOR_ALL:
        raise InputError(f"--search {name}: trials that differ in it cannot be compared: give --set {name}=…")
    if name in FREE_TO_CHANGE:
        raise InputError(
            f"--search {name}: it changes how fast trials are, or when they stop, and not how good: give --set {name}=…"
        )
    if name == "tensorboard":
        raise InputError(f"--search {name}: trials write none: leave it out")
