"""The input that all methods of a comparison share: shards, the images extracted from them, and crops stored as JPEGs.

``corpus.json``  the sizes and ids of the images
``files/``  the image of every sample, byte for byte as in its shard: methods that read files and methods
            that read shards decode the same bytes. If the build converted a progressive JPEG to
            baseline, ``files/`` contains the baseline JPEG.
``shards/``  the data set that the loader reads
``crops-N.bin``  concatenated JPEGs of N crops per image and window set (see :attr:`Corpus.copies`)
``crops-N.npy``  the byte range of each crop in ``crops-N.bin``
"""

import csv
import hashlib
import json
import mmap
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.corpora.repeated import copy_content_id
from loaders.windows.sampling import crop_windows, sampling_rule
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.errors import InputError
from shards.files.atomic import write_bytes_atomic, write_text_atomic
from shards.images.formats import EXTENSIONS, known_format
from shards.manifest.dataset import ShardDataset
from shards.manifest.info import DatasetInfo
from shards.manifest.schema import CLASS_NAMES
from shards.optional import required

__all__ = [
    "CROP_SIZE",
    "GLOBAL_SIZE",
    "SEED",
    "SPLIT",
    "Corpus",
    "CorpusImage",
    "build_corpus",
    "corpus_digest",
    "data_digest",
    "entry_point_shares",
    "mapped",
]

CROP_SIZE = GLOBAL_SIZE = 224
SPLIT = "train"
SEED = 0
MIN_IMAGES_PER_EPOCH = 256
"""Minimum number of images per epoch. A smaller corpus reaches it by repeating each image with different windows."""
PRECUT_QUALITY = 92
_PURPOSE = "storing crops as separate JPEGs"
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class CorpusImage:
    """One image of the corpus."""

    file: str
    """Path relative to the corpus."""
    width: int
    height: int
    content_id: int
    file_id: int
    """The first 64 bits of the source file's SHA-256, as a signed integer."""
    num_bytes: int


@dataclass(frozen=True)
class Corpus:
    """A folder that :func:`build_corpus` wrote."""

    root: Path
    images: list[CorpusImage]
    copies: int
    """Number of window sets per image. The loader seeds the choice of an image's windows with its content id; set ``c``
    uses the content id that ``copy_content_id`` returns for repetition ``c``."""
    dropped: dict[str, int]
    """Maps each reason for leaving out images to the number of such images."""
    entry_point_shares: list[float]
    """Entry-point size ÷ JPEG size, for every image that has entry points."""

    @classmethod
    def open(cls, root: str | Path) -> "Corpus":
        """Opens the corpus in the folder ``root`` by reading its ``corpus.json``."""
        fields = json.loads((Path(root) / "corpus.json").read_text(encoding="utf-8"))
        fields["images"] = [CorpusImage(**image) for image in fields["images"]]
        return cls(root=Path(root), **fields)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shards(self) -> Path:
        """The folder of the data set."""
        return self.root / "shards"

    @property
    def megapixels(self) -> float:
        """Mean image size in megapixels."""
        return float(np.mean([image.width * image.height for image in self.images])) / 1e6

    @property
    def bits_per_pixel(self) -> float:
        """Total size of the files in bits ÷ total number of pixels."""
        pixels = sum(image.width * image.height for image in self.images)
        return 8 * sum(image.num_bytes for image in self.images) / pixels

    def path(self, index: int) -> Path:
        """Returns the path to image ``index``."""
        return self.root / self.images[index].file

    def windows(self, num_crops: int) -> npt.NDArray[np.int32]:
        """(copies, images, N, 4) int32: the windows that the loader draws in epoch 0 with seed 0, each (top, left,
        height, width)."""
        rule = sampling_rule("stratified_grid")
        content_id = np.array([image.content_id for image in self.images], np.int64)
        drawn = [
            crop_windows(
                rule,
                [image.height for image in self.images],
                [image.width for image in self.images],
                copy_content_id(content_id, copy),
                crop_size=CROP_SIZE,
                num_crops=num_crops,
                seed=SEED,
                epoch=0,
            )[0]
            for copy in range(self.copies)
        ]
        return np.stack(drawn)

    def precut(self, num_crops: int) -> tuple[Bytes, npt.NDArray[np.int64]]:
        """Returns the stored crops: one memory-mapped array of their JPEG bytes, and the byte range of each crop in
        this array. The ranges have shape (copies, images, N, 2), int64: start, and end (exclusive)."""
        bounds = np.load(self.root / f"crops-{num_crops}.npy")
        return mapped(self.root / f"crops-{num_crops}.bin"), bounds

    def write(self) -> None:
        """Writes the corpus's description to ``corpus.json``."""
        fields = {name: value for name, value in asdict(self).items() if name != "root"}
        write_text_atomic(self.root / "corpus.json", json.dumps(fields))


def mapped(path: Path) -> Bytes:
    """The bytes of the file as a read-only memory map."""
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def build_corpus(
    root: Path, photographs: Sequence[Path], crop_counts: Sequence[int], settings: BuildSettings | None = None
) -> Corpus:
    """Builds shards from ``photographs`` in the new folder ``root``, and extracts the images from the finished shards.
    For each N in ``crop_counts``, also stores N crops per image and window set as JPEGs; if ``crop_counts`` is not
    empty, all photographs must be JPEGs. Raises ``InputError`` if there are fewer than two photographs."""
    if len(photographs) < 2:
        raise InputError("a comparison needs at least two different photographs")
    (root / "files").mkdir(parents=True)
    sources = _list_sources(root, photographs)
    report = build_dataset(sources, root / "shards", settings or BuildSettings(), progress=False)
    dataset = ShardDataset.open(root / "shards")
    corpus = Corpus(
        root,
        _take_out(dataset, root),
        max(1, -(-MIN_IMAGES_PER_EPOCH // len(dataset))),
        dict(report.info.rejected),
        entry_point_shares(dataset),
    )
    corpus.write()
    if crop_counts:
        _store_crops(corpus, crop_counts)
    return corpus


def entry_point_shares(dataset: ShardDataset) -> list[float]:
    """Entry-point size ÷ JPEG size, for every sample that has entry points."""
    points, image = dataset.column("mcu_length"), dataset.column("image_length")
    return [float(share) for share in (points / image)[points > 0]]


def _list_sources(root: Path, photographs: Sequence[Path]) -> Path:
    """Writes the CSV list of images for the build. Photographs are labelled real and generated alternately, because a
    build needs both classes; the bench ignores the class."""
    path = root / "photographs.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for number, photograph in enumerate(photographs):
            writer.writerow([photograph.resolve(), CLASS_NAMES[number % 2], SPLIT])
    return path


def _take_out(dataset: ShardDataset, root: Path) -> list[CorpusImage]:
    """Writes every image member to a file, in manifest order. Returns the images."""
    codes, shards = dataset.codes("shard")
    tars = [mapped(dataset.shard_path(name)) for name in shards]
    columns = [
        dataset.column(name).tolist() for name in ("image_offset", "image_length", "width", "height", "content_id")
    ]
    file_ids = np.ascontiguousarray(dataset.column("sha256")[:, :8]).view(">i8")[:, 0].tolist()
    images = []
    for row, (offset, length, width, height, content_id) in enumerate(zip(*columns, strict=True)):
        data = tars[codes[row]][offset : offset + length].tobytes()
        file = f"files/{row:06d}.{EXTENSIONS[known_format(data)]}"
        write_bytes_atomic(root / file, data)
        images.append(CorpusImage(file, width, height, content_id, file_ids[row], length))
    return images


def _store_crops(corpus: Corpus, crop_counts: Sequence[int]) -> None:
    """Decodes each image once, then cuts and stores N crops for every N in ``crop_counts``."""
    windows = {num_crops: corpus.windows(num_crops) for num_crops in crop_counts}
    bounds = {n: np.empty((*w.shape[:3], 2), np.int64) for n, w in windows.items()}
    with ExitStack() as stack:
        files = {n: stack.enter_context((corpus.root / f"crops-{n}.bin").open("wb")) for n in windows}
        for index in range(len(corpus)):
            image = required("simplejpeg", _PURPOSE).decode_jpeg(corpus.path(index).read_bytes(), "RGB")
            for n, file in files.items():
                for copy in range(corpus.copies):
                    for slot, (top, left, height, width) in enumerate(windows[n][copy, index]):
                        crop = image[top : top + height, left : left + width]
                        first = file.tell()
                        file.write(_encoded(crop))
                        bounds[n][copy, index, slot] = first, file.tell()
    for n in windows:
        np.save(corpus.root / f"crops-{n}.npy", bounds[n])


def _encoded(crop: Bytes) -> bytes:
    return required("simplejpeg", _PURPOSE).encode_jpeg(
        np.ascontiguousarray(crop), quality=PRECUT_QUALITY, colorspace="RGB", colorsubsampling="444"
    )


def data_digest(info: DatasetInfo) -> str:
    """A digest of all bytes in a data set. It depends on the checksums of the tars and sidecars, not on their names."""
    return _digest(f"{shard.sha256} {shard.sidecar_sha256}" for shard in info.shards)


def corpus_digest(corpus: Corpus) -> str:
    """Returns a digest of a corpus's images. It covers each source file's hash and each image's size in bytes within
    its shard. It ignores all other bytes of the shards, because they depend on library versions."""
    return _digest(f"{image.file_id} {image.num_bytes}" for image in corpus.images)


def _digest(parts: Iterable[str]) -> str:
    """Returns 16 hexadecimal digits that identify the set of parts, whatever their order."""
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]
