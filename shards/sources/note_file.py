"""The note that a source brings along in a file called ``dataset_note.txt``, see :mod:`shards.manifest.note`.

It lies beside a list, or anywhere in a folder or an archive of images, so nobody has to think of it who builds a data
set of these images.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath

from shards.errors import InputError, disk_failed
from shards.images.rejection import RejectedImage
from shards.manifest.note import MAX_CHARACTERS, checked_note
from shards.sources.files import SourceFiles

__all__ = ["NOTE_NAME", "note_among", "note_beside"]

NOTE_NAME = "dataset_note.txt"


def note_beside(files: SourceFiles) -> str:
    """The note beside a list, in the root of ``files``; ``""`` if there is none."""
    try:
        is_there = files.has_any([NOTE_NAME])
    except InputError:  # a store may refuse to say that a file is not there
        return ""
    return note_among(files, [NOTE_NAME] if is_there else [])


def note_among(files: SourceFiles, names: Iterable[str]) -> str:
    """The note of a folder with the files ``names``; ``""`` if none of them is a note, and all notes, each once, if
    there are several. Raises ``InputError`` for one that cannot be read or is no note."""
    found = [name for name in names if PurePosixPath(name).name == NOTE_NAME]
    notes = dict.fromkeys(_read(files, name) for name in sorted(found))
    joined = " ".join(notes)
    if len(joined) > MAX_CHARACTERS:
        raise InputError(
            f"the {len(notes)} files {NOTE_NAME} in {files.where('').rstrip('/')} have {len(joined):,} characters "
            f"together, and a note has {MAX_CHARACTERS} at most: shorten them"
        )
    return joined


def _read(files: SourceFiles, name: str) -> str:
    shown = files.where(name)
    try:
        text = files.read(name).decode("utf-8-sig")
    except RejectedImage as error:
        if error.reason == "io":
            raise disk_failed(shown, error.detail) from error
        raise InputError(f"{shown} cannot be read: {error.detail}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{shown} is not UTF-8 text ({error})") from error
    return checked_note(text, shown)
