"""Reads a data set's note from ``dataset_note.txt`` files in its source, see :mod:`shards.manifest.note`.

Such a file lies beside a list, or anywhere in a folder or archive of images. A build adopts the note, so the user need
not give it again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from shards.errors import InputError, disk_failed
from shards.images.rejection import RejectedImage
from shards.manifest.note import MAX_CHARACTERS, checked_note
from shards.sources.files import SourceFiles

__all__ = ["NOTE_NAME", "NoteFiles", "note_beside", "notes_among"]

NOTE_NAME = "dataset_note.txt"
_MOST_BYTES = 1 << 16
"""Maximum size of a note file in bytes, including white space. A larger file is not read. If a store does not report
the size, the file is read, but a larger file is not decoded."""
_REMEDY = "correct it, or give --note, which overrides it"


@dataclass(frozen=True, slots=True)
class NoteFiles:
    """The files in a source that hold its note. They are read only if the user gave no note with ``--note``."""

    files: SourceFiles
    names: tuple[str, ...] = ()

    def read(self) -> str:
        """Returns the note, or ``""`` if there is no file. The notes in several files are joined, without duplicates.

        Raises ``InputError`` if a file cannot be read or holds no valid note, or if the joined note is too long.
        """
        notes = dict.fromkeys(_read(self.files, name) for name in self.names)
        joined = " ".join(notes)
        if len(joined) > MAX_CHARACTERS:
            raise InputError(
                f"the {len(notes)} files {NOTE_NAME} in {self.files.where('').rstrip('/')} have {len(joined):,} "
                f"characters together, but a note may have at most {MAX_CHARACTERS}: shorten them, or give --note, "
                "which overrides them"
            )
        return joined


def note_beside(files: SourceFiles) -> NoteFiles:
    """Returns the note file in the root of ``files``, beside a list. The result is empty if there is none."""
    try:
        is_there = files.has_any([NOTE_NAME])
    except InputError:  # a store may refuse to say that a file is missing
        is_there = False
    return notes_among(files, [NOTE_NAME] if is_there else [])


def notes_among(files: SourceFiles, names: Iterable[str]) -> NoteFiles:
    """Returns the note files among ``names``, which are names of files in ``files``."""
    return NoteFiles(files, tuple(sorted(name for name in names if PurePosixPath(name).name == NOTE_NAME)))


def _read(files: SourceFiles, name: str) -> str:
    shown = files.where(name)
    try:
        size, _ = files.stamp(name) or (0, 0)
        data = b"" if size > _MOST_BYTES else files.read(name)
        if (size := max(size, len(data))) > _MOST_BYTES:
            raise InputError(f"{shown} has {size:,} bytes, but a note is one line of text: {_REMEDY}")
        text = data.decode("utf-8-sig")
    except RejectedImage as error:
        if error.reason == "io":
            raise disk_failed(shown, error.detail) from error
        raise InputError(f"{shown} cannot be read: {error.detail}: {_REMEDY}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{shown} is not UTF-8 text ({error}): {_REMEDY}") from error
    try:
        return checked_note(text, shown)
    except InputError as error:
        raise InputError(f"{error}; {_REMEDY}") from error
