"""Other loading libraries ("peers") that do the same work as the methods of ``glass bench decode``. Each is set up as
its documentation advises.

None of these libraries supports partial decoding. All of them decode whole images and cut out the same windows, as
uint8 and without normalisation. Each library uses its usual parallelism: threads for SPDL, worker processes of a
``DataLoader`` for the others. If the bench runs on one thread, there are no worker processes, so nothing has to be
pickled.
"""

from bench.harness.task import MethodInfo

__all__ = ["PEERS"]

PEERS = {
    "webdataset": MethodInfo(
        "WebDataset + torchvision: tars with images and labels, WebLoader, decode_jpeg, resize and "
        "crops on uint8 tensors, batches made in the workers",
        "bench.peers.webdataset_tars:WebDatasetTars",
    ),
    "spdl": MethodInfo(
        "SPDL: a thread pipeline of its own decoder, torchvision's resize, crops by slicing",
        "bench.peers.spdl_pipeline:SpdlPipeline",
    ),
    "litdata": MethodInfo(
        "LitData: optimised chunks with JPEGs, StreamingDataset, StreamingDataLoader, torchvision",
        "bench.peers.litdata_chunks:LitDataChunks",
    ),
    "mosaic_streaming": MethodInfo(
        "MosaicML Streaming: MDS shards with JPEGs, StreamingDataset in a DataLoader, torchvision",
        "bench.peers.mosaic_shards:MosaicShards",
    ),
}
