"""SPDL, set up as in its image examples: a multithreaded pipeline that decodes with ``spdl.io`` (FFmpeg)."""

import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from bench.harness.task import NotAvailable
from bench.peers.peer_passes import PeerPasses, Views, views_of_tensor

__all__ = ["SpdlPipeline"]

spdl_io: Any = importlib.import_module("spdl.io")
spdl_pipeline: Any = importlib.import_module("spdl.pipeline")

SINK_BATCHES = 2


class SpdlPipeline(PeerPasses):
    """Reads the corpus's files directly. Builds a new pipeline for each epoch, as in SPDL's documentation."""

    def write(self, folder: Path) -> None:
        """See :class:`PeerPasses`. Converts nothing, but raises ``NotAvailable`` if SPDL finds no FFmpeg."""
        try:
            self.views(0)
        except RuntimeError as error:
            if "libspdl" not in str(error):
                raise
            reason = "SPDL finds no FFmpeg libraries: install FFmpeg 4 or newer"
            raise NotAvailable(reason) from error

    def open(self, folder: Path) -> Iterable[Any]:
        """See :class:`PeerPasses`."""
        return _Epochs(self)

    def views(self, index: int) -> Views:
        """Decodes one image, and returns its global view and crops."""
        packets = spdl_io.demux_image(self.corpus.path(index).read_bytes())
        to_rgb = spdl_io.get_video_filter_desc(pix_fmt="rgb24")
        buffer = spdl_io.convert_frames(spdl_io.decode_packets(packets, filter_desc=to_rgb))
        image = spdl_io.to_torch(buffer).permute(2, 0, 1)  # (H, W, 3) → (3, H, W)
        return views_of_tensor(image, self.windows[index])


class _Epochs:
    """An iterable over the batches of one epoch; each iteration starts a new epoch."""

    def __init__(self, peer: SpdlPipeline) -> None:
        self._peer = peer

    def __iter__(self) -> Iterator[Views]:
        peer = self._peer
        pipeline = (
            spdl_pipeline.PipelineBuilder()
            .add_source(range(len(peer.corpus)))
            .pipe(peer.views, concurrency=peer.threads)
            .aggregate(peer.batch_size)
            .pipe(_collate)
            .add_sink(SINK_BATCHES)
            .build(num_threads=peer.threads)
        )
        with pipeline.auto_stop():
            yield from pipeline.get_iterator()


def _collate(samples: list[Views]) -> Views:
    views, crops = zip(*samples, strict=True)
    return torch.stack(views), torch.stack(crops)
