"""Other loading libraries, which do the same job as the methods of ``glass bench decode``. Each is set up as its
documentation advises.

None of these libraries can decode a part of an image. All decode whole images and cut the same windows out of them, as
uint8 and not normalised. Each library uses its usual parallelism: SPDL uses threads, the others use worker processes of
a ``DataLoader``. If the bench runs on one thread, there are no worker processes, so the libraries need no pickling.
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
