"""False-alarm rates on subsets of the real images: by source folder, format, JPEG quality, size and EXIF.

A detector with 1 % false alarms overall may still have 20 % on images that were sent through a messaging app. The
manifest says which subsets an image belongs to. There are three subsets each for JPEG quality and for size, divided at
the terciles.
"""

from collections import Counter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glass.measure.rates import rate_interval
from shards.files.documents import Interval, Number

if TYPE_CHECKING:
    from shards.manifest.dataset import ShardDataset

__all__ = ["RealSlice", "real_slices"]

_LEAST = 10  # minimum number of images in a subset; with fewer, a rate is meaningless
_MOST_FOLDERS = 12  # if there are more, each is probably one scene, and the table would be too long to read
_COLUMNS = ("format", "jpeg_quality", "width", "height", "has_exif", "source_path")


class RealSlice(TypedDict):
    """False alarms on one subset of the real images."""

    slice: str
    images: int
    false_positive_rate: Number
    interval: Interval


def real_slices(table: pa.Table, dataset: "ShardDataset", threshold: float) -> list[RealSlice]:
    """Returns the false alarms on each subset of the real images, one row per subset.

    ``table`` must follow ``glass.measure.predictions.PREDICTION_SCHEMA``. A false alarm is a real image with a
    probability of at least ``threshold``. Subsets with fewer than 10 images, and subsets that contain all real images,
    are left out.
    """
    import pyarrow.compute as pc  # takes a fifth of a second to import, and predictions do not need it

    real = table.filter(pc.equal(table["label"], 0))
    keys = dataset.table["sample_key"].combine_chunks()
    places = pc.index_in(real["sample_key"].combine_chunks(), value_set=keys)
    rows = places.to_numpy(zero_copy_only=False).astype(np.int64)
    facts = {name: dataset.column(name)[rows] for name in _COLUMNS}
    alarms = real["probability"].to_numpy() >= threshold
    groups = real["group"].to_numpy(zero_copy_only=False)
    slices: list[RealSlice] = []
    for name, keep in _slices(facts):
        if not _LEAST <= keep.sum() < len(rows):
            continue
        slices.append(
            {
                "slice": name,
                "images": int(keep.sum()),
                "false_positive_rate": float(alarms[keep].mean()),
                "interval": rate_interval(alarms[keep], groups[keep]),
            }
        )
    return slices


def _slices(facts: dict[str, npt.NDArray[Any]]) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    formats = facts["format"].astype(str)
    quality = facts["jpeg_quality"].astype(np.float64)
    megapixels = facts["width"].astype(np.int64) * facts["height"] / 1e6
    exif = facts["has_exif"].astype(bool)
    slices = _by_folder(facts["source_path"])
    slices += [(name, formats == name) for name in sorted(set(formats))]
    slices += _thirds("JPEG quality", quality, quality > 0)
    slices += _thirds("megapixels", megapixels, np.ones(len(exif), bool))
    return [*slices, ("with EXIF", exif), ("without EXIF", ~exif)]


def _by_folder(paths: npt.NDArray[Any]) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    """Returns (subset name, (n,) mask of its images) for each source folder, or an empty list if there are more than 12
    folders.

    A folder often contains the images from one source or one camera.
    """
    folders = np.array([str(PurePosixPath(path).parent) for path in paths], dtype=object)
    counts = Counter(folders.tolist())
    if len(counts) > _MOST_FOLDERS:
        return []
    return [(f"in {folder}", folders == folder) for folder in sorted(counts)]


def _thirds(
    name: str, values: npt.NDArray[np.float64], known: npt.NDArray[np.bool_]
) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    if not known.any():
        return []
    low, high = np.quantile(values[known], [1 / 3, 2 / 3], method="higher")
    if low >= high:
        return []
    a, b = _different_texts(low, high)
    return [
        (f"{name} below {a}", known & (values < low)),
        (f"{name} {a} to {b}", known & (values >= low) & (values < high)),
        (f"{name} from {b}", known & (values >= high)),
    ]


def _different_texts(low: float, high: float) -> tuple[str, str]:
    """Returns ``low`` and ``high`` as text, with at least two digits and enough for the texts to differ: 12 and 12
    would say nothing about photographs of 12.2 and 12.5 megapixels.
    """
    for digits in range(2, 17):
        texts = f"{low:.{digits}g}", f"{high:.{digits}g}"
        if texts[0] != texts[1] and "e" not in "".join(texts):
            break
    return texts
