"""Which decoder a loader's settings ask for."""

from loaders.config import LoaderConfig
from loaders.decode.jobs import Decoder
from loaders.stats import LoaderStats

__all__ = ["choose_decoder", "choose_host_decoder"]


def choose_decoder(config: LoaderConfig, device_batch_size: int, stats: LoaderStats) -> Decoder:
    """The decoder of whole batches of ``device_batch_size`` samples."""
    backend = config.backend
    if backend == "auto":
        # Measured on a CPU: libjpeg-turbo in threads beats DALI by 10–25 % (docs/LOG.md).
        backend = "dali" if config.device == "cuda" else "turbo"
    if backend != "dali":
        return choose_host_decoder(backend)
    from loaders.decode.dali import DaliDecoder  # no DALI wheel exists outside Linux

    return DaliDecoder(
        config.device,
        num_crops=config.num_crops,
        crop_size=config.crop_size,
        batch_size=device_batch_size,
        num_threads=config.num_threads,
        stats=stats,
    )


def choose_host_decoder(backend: str) -> Decoder:
    """The decoder for ``backend`` that works in the calling thread and in host memory."""
    if backend == "reference":
        from loaders.decode.reference import ReferenceDecoder

        return ReferenceDecoder()
    from loaders.decode.turbo import TurboDecoder

    return TurboDecoder()
