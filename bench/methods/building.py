"""The methods of ``glass bench build``: the work that a build does on an image and, for comparison, one full decode."""

from typing import Any

from PIL import Image

from bench.corpora.corpus import GLOBAL_SIZE, SPLIT
from bench.corpora.encoded import register_plugins
from bench.harness.task import Task
from bench.methods.file_passes import FilePasses
from shards.build.make_sample import build_sample
from shards.build.packing import PackedSource, sample_key
from shards.jpeg.entry_points import build_entry_points

__all__ = ["BuildSample", "EntryPoints", "PillowDecode"]


class _EncodedPasses(FilePasses):
    """Base class for methods that work on files held in memory, so that reading the files is not timed."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        Image.MAX_IMAGE_PIXELS = None  # 200 megapixels are allowed here
        self._encoded = [self._corpus.path(k).read_bytes() for k in range(len(self._corpus))]


class PillowDecode(FilePasses):
    """Decodes each image once with Pillow. Does not call ``convert``, which would copy an RGB image once more."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        register_plugins()

    def one(self, copy: int, index: int, turn: int) -> Any:
        """See :class:`FilePasses`."""
        with Image.open(self._corpus.path(index)) as image:
            return image.load()


class EntryPoints(_EncodedPasses):
    """Only finds the entry points, by walking through the JPEG's scan."""

    def one(self, copy: int, index: int, turn: int) -> Any:
        """See :class:`FilePasses`."""
        return build_entry_points(self._encoded[index])


class BuildSample(_EncodedPasses):
    """Does everything that a build does for one sample: metadata, hashes, decoding, global view and entry points."""

    def one(self, copy: int, index: int, turn: int) -> Any:
        """See :class:`FilePasses`."""
        source = PackedSource(
            path=self._corpus.images[index].file,
            sha256=b"",
            format="JPEG",
            label=0,
            generator="",
            group="",
            split=SPLIT,
        )
        return build_sample(self._encoded[index], source, sample_key(0, index), "", GLOBAL_SIZE)
