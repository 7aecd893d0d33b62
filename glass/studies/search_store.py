"""Stores a search as an Optuna study, with locks that show which process is working on which trial.

While a process works on a trial, it holds a lock on the trial's lock file. If a trial is marked as running but is not
locked, its process was killed, and the next process resumes it. The lock files are in the search's folder, so several
processes and machines may share that folder. Trials in the same storage that were started from another folder are not
touched.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from glass.studies.search_optuna import RepeatableHyperband, SeededTPE
from shards.cli.shown_url import safe_text, shown_url
from shards.errors import InputError
from shards.files.atomic import write_text_atomic
from shards.files.json_file import parse_json
from shards.files.locks import locked_file, try_lock
from shards.files.outputs import make_folder
from shards.files.regular_file import open_regular

__all__ = ["TRIALS", "Claim", "SearchStore"]

TRIALS = "trials"
"""Name of the folder with one subfolder per trial."""

MAX_LINE_BYTES = 1 << 16
"""At most this many bytes of a journal's first line are read. That line creates a study; only later lines may be
longer."""
_OPTUNA_COLUMNS = {"studies": {"study_id", "study_name"}, "version_info": {"schema_version", "library_version"}}
"""Maps tables to some of their columns. A database with any of these tables is recognised as Optuna's."""

RESUMES = "take_ups"
"""Name of the user attribute that records how often a trial was resumed after being killed, and how many epochs it had
finished by then."""


class Claim:
    """A trial reserved for this process until :meth:`release`."""

    def __init__(self, trial: Trial, descriptor: int, resumes: int = 0) -> None:
        self.trial = trial
        self.resumes = resumes
        """Number of consecutive processes that were killed during this trial without finishing another epoch; 0 for a
        new trial."""
        self._descriptor = descriptor

    def release(self) -> None:
        """Releases the lock. It is also released when the process ends."""
        os.close(self._descriptor)


class SearchStore:
    """One Optuna study in one storage, used from one folder."""

    def __init__(
        self,
        folder: Path,
        storage: str | None,
        name: str,
        *,
        direction: str,
        min_epochs: int,
        max_epochs: int,
        settings: dict[str, Any],
    ) -> None:
        """Opens or creates the study.

        ``storage`` is ``sqlite:///FILE``, ``journal:///FILE`` or another URL that Optuna accepts. If it is None, a
        SQLite file in ``folder`` is used. ``settings`` identify the study. If the storage already contains a study
        ``name`` with other settings, raises ``InputError`` naming the first difference.
        """
        self.folder = folder
        self._own_storage = storage is None
        make_folder(folder / TRIALS)
        self._home = self._home_id()
        url = storage or f"sqlite:///{folder.resolve() / 'study.db'}"
        with self._alone(), _storage_errors(url):
            self.study = optuna.create_study(
                storage=open_storage(url),
                sampler=SeededTPE(),
                pruner=RepeatableHyperband(min_epochs, max_epochs),
                study_name=name,
                direction=direction,
                load_if_exists=True,
            )
            self._check_settings(url, direction, settings)

    def claim(self, trials: int) -> Claim | None:
        """Claims a trial to work on: an interrupted one or, if there is none and fewer than ``trials`` exist, a new
        one.

        Otherwise returns None.
        """
        with self._alone():
            for frozen in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                home = frozen.user_attrs.get("home", self._home if self._own_storage else None)
                descriptor = self._lock(frozen.number) if home == self._home else None
                if descriptor is not None:
                    trial = Trial(self.study, frozen._trial_id)
                    return Claim(trial, descriptor, self._count_resume(trial, frozen))
            if len(self.study.get_trials(deepcopy=False)) >= trials:
                return None
            trial = self.study.ask()
            descriptor = self._lock(trial.number)
            assert descriptor is not None, "no other process knows a new trial's number"
            trial.set_user_attr("home", self._home)
            return Claim(trial, descriptor)

    def forget_resumes(self, trial: Trial) -> None:
        """Resets the resume count of ``trial`` to 0. Call it if the process stops without being killed."""
        trial.set_user_attr(RESUMES, None)

    def _count_resume(self, trial: Trial, frozen: FrozenTrial) -> int:
        epochs = len(frozen.intermediate_values)
        before = frozen.user_attrs.get(RESUMES) or {"epochs": epochs, "times": 0}
        times = before["times"] + 1 if before["epochs"] == epochs else 1
        trial.set_user_attr(RESUMES, {"epochs": epochs, "times": times})
        return times

    def trial_folder(self, number: int) -> Path:
        """The run folder for trial ``number``."""
        return self.folder / TRIALS / f"trial-{number:04d}"

    def _lock(self, number: int) -> int | None:
        """Locks the trial's lock file and returns its descriptor; None if another process holds the lock."""
        return try_lock(self.folder / TRIALS / f"trial-{number:04d}.lock")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Context manager that only one process can be inside at a time, so that two never choose the same trial."""
        with locked_file(self.folder / ".claims"):
            yield

    def _home_id(self) -> str:
        path = self.folder / ".home"
        with self._alone():
            with suppress(FileNotFoundError):
                return path.read_text(encoding="ascii")
            write_text_atomic(path, uuid.uuid4().hex)
        return path.read_text(encoding="ascii")

    def _check_settings(self, url: str, direction: str, settings: dict[str, Any]) -> None:
        before = self.study.user_attrs.get("settings")
        if before is None:
            # Optuna keeps the directions of an existing study, regardless of the direction passed to it.
            kept = [kept.name.lower() for kept in self.study.directions]
            if self.study.get_trials(deepcopy=False) or kept != [direction]:
                raise InputError(f"{shown_url(url)} holds a study of another program: give another --storage")
            self.study.set_user_attr("settings", settings)
            return
        for key in [*settings, *before]:
            if before.get(key) != settings.get(key):
                raise InputError(
                    f"{shown_url(url)} holds another study, with {key}={before.get(key)!r} and not "
                    f"{settings.get(key)!r}: give another --output or --storage, or the settings with which it was "
                    "started"
                )


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """The storage at ``url``. Raises ``InputError`` if it cannot be opened, or belongs to another program."""
    try:
        if url.startswith("journal:///"):
            from optuna.storages.journal import JournalFileBackend

            path = url.removeprefix("journal:///")
            _require_journal(Path(path))
            return optuna.storages.JournalStorage(JournalFileBackend(path))
        options = {"connect_args": {"timeout": 120}} if url.startswith("sqlite") else {}
        _require_database(url, options)
        return optuna.storages.RDBStorage(url, engine_kwargs=options)
    except Exception as error:  # SQLAlchemy's, drivers' and file errors have no common ancestor
        raise InputError(
            f"--storage {shown_url(url)} cannot be opened ({safe_text(error, url)}): give sqlite:///FILE, "
            "journal:///FILE or a database that Optuna supports"
        ) from error


def _require_database(url: str, options: dict[str, Any]) -> None:
    """Raises ``ValueError`` if the database has tables but none of Optuna's, because Optuna would add its own."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(url, **options)
    try:
        inspector = sqlalchemy.inspect(engine)
        tables = set(inspector.get_table_names())
        for name, wanted in _OPTUNA_COLUMNS.items():
            # One of the tables is enough: a process may have been killed while it created them.
            if name in tables and wanted <= {c["name"] for c in inspector.get_columns(name)}:
                return
    finally:
        engine.dispose()
    if tables:
        raise ValueError(f"the database holds tables of another program, such as {min(tables)[:60]!r}")


def _require_journal(path: Path) -> None:
    """Raises ``ValueError`` if the file is neither empty nor an Optuna journal, because Optuna would append to any
    file."""
    if not path.exists() or not path.stat().st_size:
        return
    with open_regular(path) as file:
        line = file.readline(MAX_LINE_BYTES)
    try:
        first = parse_json(line)
    except ValueError:
        first = None
    if not isinstance(first, dict) or "op_code" not in first:
        raise ValueError("the file is not a journal of Optuna")


@contextmanager
def _storage_errors(url: str) -> Iterator[None]:
    """Context manager for the first use of a storage: turns every error into ``InputError``."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # as above
        raise InputError(
            f"the storage {shown_url(url)} cannot be used ({safe_text(error, url)}): give another --output or --storage"
        ) from error
