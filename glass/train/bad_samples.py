"""Records the samples that a run could not read, collects them from all processes, and limits their number.

``RUN/bad_samples.jsonl`` has one line per bad sample: split, shard, key, reason, the decoder's message, and the epoch
in which it was first encountered. The file contains no timestamps, so repeating a run on the same data yields the same
file. A bad sample is masked in every batch and never replaced by another. A resumed run tries to read its bad samples
again and counts only those that are still bad. So a run that ended because of too many bad samples ends again when
resumed, unless the shards were repaired.
"""

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from accelerate.utils import gather_object

from glass.train.processes import any_process
from loaders import LoaderConfig, build_loader
from loaders.bad_samples import BadSample, bad_sample_rows
from shards.cli.wording import counted
from shards.errors import InputError
from shards.files.atomic import write_text_atomic
from shards.manifest.dataset import ShardDataset

__all__ = ["BadSampleLedger", "LedgerLoader", "allowed_bad_samples"]

logger = logging.getLogger(__name__)

Row = dict[str, Any]

_AGAIN = "found before"


class LedgerLoader(Protocol):
    """The part of the loader interface that :class:`BadSampleLedger` uses."""

    @property
    def num_samples(self) -> int: ...
    def bad_samples(self, since: int = 0) -> list[BadSample]: ...


def allowed_bad_samples(share: float, num_samples: int) -> int:
    """Returns how many of a split's ``num_samples`` samples may be bad: ``share`` × ``num_samples``, rounded down.

    At least one is allowed unless ``share`` is 0, so that a single bad image cannot end a run on a small split.
    """
    return 0 if share == 0 else max(1, int(share * num_samples))


def _still_bad(rows: list[Row], dataset: ShardDataset, config: LoaderConfig) -> list[Row]:
    """Returns those of ``rows`` whose samples a loader with ``config`` still cannot read."""
    places = _place_of_keys(dataset, {str(row["sample_key"]) for row in rows})
    if not places:
        return []
    again = dataset.with_splits({_AGAIN: np.array(sorted(places.values()), np.int64)})
    config = config.for_evaluation(decode=config.decode, verify=config.verify)
    with build_loader(again, _AGAIN, config) as loader:
        for _ in loader:
            pass
        bad = {sample.sample_key for sample in loader.bad_samples()}
    return [row for row in rows if row["sample_key"] in bad]


def _place_of_keys(dataset: ShardDataset, keys: set[str]) -> dict[str, int]:
    """Maps those ``keys`` that the data set contains to their row indices in the manifest."""
    column = dataset.table.column("sample_key")
    found = pc.indices_nonzero(pc.is_in(column, pa.array(keys, pa.string())))
    return dict(zip(column.take(found).to_pylist(), found.to_pylist(), strict=True))


class BadSampleLedger:
    """Records a run's bad samples.

    Each process has one ledger. :meth:`collect` must be called on all processes; the main process writes the file.
    """

    def __init__(self, path: Path, accelerator: Any, max_share: float) -> None:
        self.path, self.accelerator, self.max_share = path, accelerator, max_share
        self._rows: dict[tuple[str, str], Row] = {}
        """Maps (split, key) to rows, for the bad samples that this run's processes found; identical on all of them."""
        self._earlier: dict[tuple[str, str], Row] = {}
        """Maps (split, key) to rows, for those in the file when the run was resumed. They are written again but not
        counted unless :meth:`count_still_bad` finds them still bad, since the shards may have been repaired."""
        self._collected: dict[str, int] = {}
        """Maps splits to the number of bad samples that this process has collected from their loaders."""

    def load_earlier(self) -> None:
        """Reads the ledger that the run wrote before it was interrupted; skips damaged lines with a warning."""
        if not (self.accelerator.is_main_process and self.path.is_file()):
            return
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
                split, key = row["split"], row["sample_key"]
                f"{split} {key}".encode()  # a lone surrogate is valid JSON, but not a sample key
                self._earlier[split, key] = row
            except (ValueError, KeyError, TypeError, RecursionError):
                logger.warning("ignoring a damaged line of %s", self.path)

    def collect(self, split: str, loader: LedgerLoader) -> str | None:
        """Collects the samples in ``split`` that the loaders in all processes have found bad since the last call.

        Returns a message for the user if more samples are bad than allowed, else None. All processes return the same
        value.
        """
        since = self._collected.get(split, 0)
        new = bad_sample_rows(loader.bad_samples(since), split)
        self._collected[split] = since + len(new)
        return self._count(split, new, loader.num_samples)

    def count_still_bad(self, split: str, num_samples: int, dataset: ShardDataset, config: LoaderConfig) -> str | None:
        """Retries the samples in ``split`` that :meth:`load_earlier` found in the file, and counts those that still
        cannot be read.

        Must be called on all processes. Returns a message or None, like :meth:`collect`.
        """
        rows = [row for (of, _), row in self._earlier.items() if of == split]
        return self._count(split, _still_bad(rows, dataset, config), num_samples)

    def _count(self, split: str, new: list[Row], num_samples: int) -> str | None:
        # The processes exchange rows only if one of them has any.
        if self.accelerator.num_processes > 1:
            if not any_process(self.accelerator, bool(new)):
                return None
            new = gather_object(new)
        fresh = [row for row in new if (split, row["sample_key"]) not in self._rows]
        if not fresh:
            return None
        for row in fresh:
            self._rows.setdefault((split, row["sample_key"]), row)
        if self.accelerator.is_main_process:
            self._write()
            for row in fresh[:3]:
                logger.warning(
                    "bad sample %s in %s: %s (%s); leaving it out",
                    row["sample_key"],
                    row["shard"],
                    row["reason"],
                    row["detail"],
                )
            if len(fresh) > 3:
                logger.warning("… and %d more, in %s", len(fresh) - 3, self.path)
        return self._summary(split, num_samples)

    def _summary(self, split: str, num_samples: int) -> str | None:
        """Returns a message for the user if too many samples in ``split`` are bad, else None."""
        reasons = Counter(row["reason"] for (of, _), row in self._rows.items() if of == split)
        found = sum(reasons.values())
        if found <= allowed_bad_samples(self.max_share, num_samples):
            return None
        listed = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
        return (
            f"{found:,} of {counted(num_samples, 'sample')} of {split} cannot be read ({listed}), more than "
            f"max_bad_samples={self.max_share:g} allows: {self.path} lists them; repair the shards (glass verify "
            "shows what is wrong) and run the same command to continue, or raise --set max_bad_samples=…"
        )

    def _write(self) -> None:
        rows = sorted(
            {**self._earlier, **self._rows}.values(),
            key=lambda row: (row.get("epoch", 0), row["split"], row["sample_key"]),
        )
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        try:
            write_text_atomic(self.path, text)
        except OSError as error:
            raise InputError(f"{self.path} cannot be written: {error.strerror or error}") from error
