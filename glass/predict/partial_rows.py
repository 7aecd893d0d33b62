"""Writes each verdict to disk immediately, so that none is lost if a run is stopped.

During a run, each output ``FILE`` has a ``FILE.partial`` beside it:

* For a table, it contains the rows so far.
* For a JSON document, it is in JSON Lines format. The first line is a :class:`PartialHead`; each further line is one
  image.
* For a page, it stays empty and only keeps other runs from writing the same page. If the run is stopped, the page with
  the verdicts so far is written to it.

A run that finishes deletes its partial files.
"""

import csv
import errno
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, TypedDict

from glass.predict.prediction_files import PredictionHead, csv_text
from glass.predict.verdicts import CSV_COLUMNS, ImageRecord, ImageVerdict, csv_row, json_row
from shards.errors import InputError
from shards.files.atomic import write_text_atomic
from shards.files.documents import Number
from shards.files.locks import try_lock

__all__ = [
    "FileStamp",
    "PartialHead",
    "PartialRecord",
    "PartialRows",
    "RowOptions",
    "StoppedRun",
    "partial_path",
    "require_no_partial",
]

FileStamp = list[int] | None
"""Length of an image's file, and when it was last changed by the clock of the file system, in nanoseconds. None if
there is no such file."""


class RowOptions(TypedDict):
    """Whatever changes rows, but is not in the head of the finished document."""

    stability: bool
    claims: bool
    trust: str | None
    """SHA-256 of the trusted certificates (``--trust``)."""
    temperature: Number | None


class PartialHead(PredictionHead):
    """The first line of a document's partial file."""

    options: RowOptions
    began_ns: int
    """When the run began, by the clock of the file system, in nanoseconds."""


class PartialRecord(ImageRecord):
    """Any further line of a document's partial file."""

    file: FileStamp


class StoppedRun(NamedTuple):
    """What a stopped run left in its partial files."""

    verdicts: list[ImageVerdict]
    files: list[FileStamp]
    """The file of each verdict's image, as it was when it was read."""
    began_ns: int
    """See :class:`PartialHead`."""


def partial_path(path: Path) -> Path:
    """The path of the partial file for ``path``."""
    return path.with_name(f"{path.name}.partial")


def require_no_partial(path: Path, resumable: bool) -> None:
    """Raises ``InputError`` if ``path`` has a partial file, left by a stopped run or in use by a running one.

    If the run is ``resumable``, the message says how.
    """
    partial = partial_path(path)
    if partial.exists() or partial.is_symlink():
        remedy = "add --resume to continue, or " if resumable else ""
        raise InputError(
            f"{partial} holds the results of a prediction that was stopped or is still running: {remedy}move it away "
            "or delete it, then run the command again"
        )


def _json_line(verdict: ImageVerdict, file: FileStamp) -> str:
    record: PartialRecord = {**json_row(verdict), "file": file}
    return json.dumps(record, allow_nan=False) + "\n"


class PartialRows:
    """Context manager that writes each verdict into the partial files immediately.

    On exit, the partial files are deleted if they contain no verdicts. Otherwise, the caller must delete them once it
    has written the complete files. Raises ``OSError`` if a partial file cannot be written.
    """

    def __init__(
        self,
        json_path: Path | None,
        csv_path: Path | None,
        head: PredictionHead,
        options: RowOptions,
        columns: Sequence[str] = CSV_COLUMNS,
        page: Path | None = None,
        stopped: StoppedRun | None = None,
    ) -> None:
        """``json_path``, ``csv_path`` and ``page`` are the files that the run writes when it finishes.

        ``head`` is the JSON document without its images, and ``columns`` are the table's columns. The partial file for
        ``page`` is created empty. ``stopped`` is the run to continue, if any.
        """
        self._options, self._resumes = options, stopped is not None
        self._resumed, self._resumed_files, self._began_ns = stopped or StoppedRun([], [], 0)
        self._json_path, self._csv_path, self._head, self._columns = json_path, csv_path, head, columns
        self._page = page
        self._files, self._opened = ExitStack(), list[Path]()
        self._json: IO[str] | None = None
        self._csv: IO[str] | None = None
        self._num_rows = len(self._resumed)

    @property
    def paths(self) -> list[Path]:
        """The partial files with verdicts: those for the JSON document and the table, but not the one for the page."""
        return [partial_path(path) for path in (self._json_path, self._csv_path) if path]

    def add(self, verdict: ImageVerdict, file: FileStamp) -> None:
        """Writes a verdict and flushes it to the operating system, so that it is not lost if the process is killed."""
        self._num_rows += 1
        if self._json is not None:
            self._json.write(_json_line(verdict, file))
            self._json.flush()
        if self._csv is not None:
            csv.writer(self._csv, lineterminator="\n").writerow(csv_row(verdict, self._columns))
            self._csv.flush()

    def __enter__(self) -> "PartialRows":
        try:
            if self._json_path:
                lines = map(_json_line, self._resumed, self._resumed_files)
                self._json = self._open(self._json_path, "".join(lines))
            if self._csv_path:
                self._csv = self._open(self._csv_path, csv_text(self._resumed, self._columns))
            if self._page:
                self._open(self._page)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _open(self, path: Path, beginning: str = "") -> IO[str]:
        """Opens the partial file for ``path`` to append to it, and locks it. It must be new, unless a run is resumed.

        A resumed run replaces its partial file by one without a line that was cut off. Raises ``InputError`` if another
        process is writing it.
        """
        partial = partial_path(path)
        if self._resumes:
            self._lock(partial)
        else:
            partial.open("x").close()
            self._began_ns = self._began_ns or partial.stat().st_mtime_ns
        self._opened.append(partial)
        if path is self._json_path:
            beginning = f"{json.dumps(self._first_line(), allow_nan=False)}\n{beginning}"
        write_text_atomic(partial, beginning)
        self._lock(partial)
        return self._files.enter_context(partial.open("a", encoding="utf-8", newline=""))

    def _first_line(self) -> PartialHead:
        return {**self._head, "options": self._options, "began_ns": self._began_ns}

    def _lock(self, partial: Path) -> None:
        try:
            descriptor = try_lock(partial)
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOTSUP):
                return  # a file system without locks
            raise
        if descriptor is None:
            raise InputError(f"{partial} is being written by a command that is still running: wait for it, or stop it")
        self._files.callback(os.close, descriptor)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()
        if not self._num_rows:
            for partial in self._opened:
                partial.unlink(missing_ok=True)
