"""Makes the files of both classes alike, so that a detector must learn from the pictures, not from file properties.

There are two methods. ``match`` leaves out images until the file properties that show in the pixels have the same
distribution in both classes. Format, compression and size are such properties; metadata is not. ``match`` changes no
pixels. ``recompress`` re-encodes every image of both classes as a JPEG of the same quality. This neither changes image
sizes nor removes the traces of earlier compression.

With either method, all decisions are made once, in the first pass, based only on the file headers and the seed.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np
import pyarrow as pa

from shards.build.class_differences import RAW_FACTS, scene_numbers
from shards.build.first_pass import image_not_given, map_in_threads
from shards.build.matching import match_classes
from shards.cli.wording import counted
from shards.errors import InputError
from shards.images.formats import open_image
from shards.images.pixels import load_rgb
from shards.images.rejection import RejectedImage
from shards.images.stored_form import entry_points_of
from shards.metadata.facts import ImageFacts, read_facts
from shards.sources.files import SourceFiles

__all__ = ["MATCHED", "METHODS", "RECOMPRESSED", "Equalised", "Method", "equalise", "recompressed"]

Method = Literal["none", "match", "recompress"]
METHODS = get_args(Method)

MATCHED, RECOMPRESSED = "matched sampling", "every image re-encoded"
"""Prefixes of the descriptions that the two methods write to ``dataset.json``."""

_QUALITIES = (50, 95)  # recompress stays between these
_QUALITY_WITHOUT_JPEGS = 90
_LOW_PERCENTILE = 5  # percentile of a class's qualities, so that a few bad files do not decide
_MAX_JPEG_SIDE = 65535


@dataclass(frozen=True)
class Equalised:
    """The result of equalising the classes."""

    table: pa.Table
    """The table from the first pass. Images that were left out are marked with the reason ``unmatched``."""
    description: str
    """Description of what was done, for ``dataset.json``; empty if nothing was done."""
    recompress_quality: int = 0
    """JPEG quality at which all images are re-encoded; 0 if they are not re-encoded."""


def equalise(
    method: str,
    table: pa.Table,
    files: SourceFiles,
    seed: int,
    threads: int,
    advance: Callable[[int], object],
    reject_unreadable: bool = False,
) -> Equalised:
    """Applies ``method``, one of ``METHODS``, to the images in ``table``, which has the schema ``SCAN_SCHEMA``.

    Reads the file headers again, and calls ``advance(1)`` after each. If the disk no longer delivers a file, rejects it
    if ``reject_unreadable`` is set, and otherwise raises ``MachineTrouble``, since the choice of images must not depend
    on the state of a disk. Raises ``InputError`` if only one class is left before or after matching.
    """
    if method == "none":
        return Equalised(table, "")
    reasons = table.column("reason").to_pylist()
    taken = [row for row, reason in enumerate(reasons) if not reason]
    paths = table.column("path").take(pa.array(taken, pa.int64())).to_pylist()
    found: list[tuple[int, ImageFacts] | RejectedImage] = []
    for facts in map_in_threads(partial(_facts, files), paths, threads):
        found.append(facts)
        advance(1)
    lost = [
        (row, path, facts.detail)
        for row, path, facts in zip(taken, paths, found, strict=True)
        if isinstance(facts, RejectedImage) and facts.reason == "io"
    ]
    if lost and not reject_unreadable:
        raise image_not_given(files.where(lost[0][1]), lost[0][2])
    table = _rejected(table, {row: ("io", detail) for row, _, detail in lost})
    # Other files that cannot be opened are left to the build, which rejects them with the right reason.
    known = [(row, facts) for row, facts in zip(taken, found, strict=True) if not isinstance(facts, RejectedImage)]
    rows = np.array([row for row, _ in known], np.int64)
    columns = _columns([facts for _, facts in known])
    label = table.column("label").to_numpy()[rows]
    if method == "recompress":
        quality = _common_quality(columns["jpeg_quality"], label)
        text = f"{RECOMPRESSED} as JPEG, quality {quality}, 4:2:0, without metadata"
        return Equalised(table, text, quality)
    if len(np.unique(label)) == 1:
        raise InputError(
            f"only {('real', 'generated')[label[0]]} images can be read, but --equalise match compares both classes: "
            "leave it out, or give readable images of the other class"
        )
    hashes = [table.column("sha256")[row].as_py() for row in rows.tolist()]
    groups = np.array(table.column("group").to_pylist(), object)[rows]
    kept, differing = match_classes(columns, label, scene_numbers(groups), hashes, seed)
    if len(rows) and not all((kept & (label == kind)).any() for kind in (0, 1)):
        raise InputError(
            f"no real and generated image have the same {', '.join(differing)}: --equalise match would leave no "
            "images, so use --equalise recompress"
        )
    return _without(table, rows[~kept], differing, len(rows))


def recompressed(data: bytes, quality: int) -> bytes:
    """Re-encodes the image file ``data`` as a baseline JPEG, 4:2:0, without metadata.

    Raises ``RejectedImage`` if it cannot be decoded completely, or if a side is too long for a JPEG.
    """
    image = open_image(data)
    kind = image.format or ""
    rgb = load_rgb(image, data)
    if max(rgb.size) > _MAX_JPEG_SIDE:
        raise RejectedImage("too_large", f"a JPEG has at most {_MAX_JPEG_SIDE:,} pixels a side")
    if kind == "JPEG" and entry_points_of(data, kind)[1] == "corrupt scan":
        raise RejectedImage("corrupt", "the entropy-coded data is damaged")
    buffer = io.BytesIO()
    plain = rgb.copy()
    plain.info = {}  # otherwise Pillow copies the colour profile and comments
    plain.save(buffer, "JPEG", quality=quality, subsampling=2)
    return buffer.getvalue()


def _facts(files: SourceFiles, name: str) -> tuple[int, ImageFacts] | RejectedImage:
    """Returns (file length, facts), or the error that says why the file was rejected."""
    try:
        data = files.read(name)
        return len(data), read_facts(data)
    except RejectedImage as rejected:
        return rejected


def _columns(found: Sequence[tuple[int, ImageFacts]]) -> dict[str, np.ndarray]:
    """Returns the columns that :func:`shards.build.class_differences.compared_facts` expects as ``raw``."""
    raw = {name: np.array([getattr(facts, name) for _, facts in found]) for name in RAW_FACTS}
    raw["jpeg_quality"] = np.array([facts.jpeg_quality or -1 for _, facts in found], np.int64)
    raw["file_bytes"] = np.array([length for length, _ in found], np.int64)
    return raw


def _common_quality(quality: np.ndarray, label: np.ndarray) -> int:
    """Chooses the JPEG quality for re-encoding: the lower of the classes' 5th percentiles, clamped to ``_QUALITIES``.

    If there are no JPEGs, the quality is ``_QUALITY_WITHOUT_JPEGS``.
    """
    low = [
        np.percentile(known, _LOW_PERCENTILE, method="lower")
        for kind in (0, 1)
        if len(known := quality[(label == kind) & (quality > 0)])
    ]
    wanted = min(low, default=_QUALITY_WITHOUT_JPEGS)
    return int(np.clip(wanted, *_QUALITIES))


def _without(table: pa.Table, rows: np.ndarray, differing: list[str], images: int) -> Equalised:
    """Rejects the images in ``table`` that matching left out. Returns the result of equalising.

    ``rows`` are the row indices of these images. ``differing`` names the facts that were matched on; ``images`` is the
    number of images before matching.
    """
    if not differing:
        return Equalised(table, f"{MATCHED}: the classes did not differ, so all images stay")
    on = ", ".join(differing)
    why = "unmatched", f"too few images of the other class have the same {on}"
    table = _rejected(table, dict.fromkeys(rows.tolist(), why))
    text = f"{MATCHED} on {on}: {len(rows):,} of {counted(images, 'image')} left out"
    return Equalised(table, text)


def _rejected(table: pa.Table, why: Mapping[int, tuple[str, str]]) -> pa.Table:
    """Marks rows of ``table`` as rejected. Returns the new table. ``why`` maps row indices to (reason, detail)."""
    reason, detail = (table.column(name).to_pylist() for name in ("reason", "detail"))
    for row, (new_reason, new_detail) in why.items():
        reason[row], detail[row] = new_reason, new_detail
    for name, values in (("reason", reason), ("detail", detail)):
        place = table.column_names.index(name)
        table = table.set_column(place, table.schema.field(name), pa.array(values, pa.string()))
    return table
