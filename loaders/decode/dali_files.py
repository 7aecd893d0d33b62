"""Rules that decide which files DALI and nvJPEG may decode: only those that they are certain to decode to the same
image as the reference decoder.

A file may contain several images, or may not say how its values should be interpreted. Decoders may then give different
pixels without any warning. For example, if the default image of an animated PNG is not one of its frames, DALI 2.4
shows the first frame and Pillow shows the default image. So the rules list what is allowed, not what is forbidden.
"""

import re

import numpy as np

from loaders.decode.jobs import Job, TiledJob, WholeJob, WindowJob
from shards.jpeg.header import BadJpeg, JpegHeader
from shards.jpeg.header_parser import SegmentParser, read_header

__all__ = ["not_for_dali", "not_for_nvjpeg"]

_MOST_CHUNKS = 256  # maximum number of PNG chunks before the pixel data
_MARKER = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")  # any marker except fill bytes and those within a scan
_JFIF = b"\xff\xe0"
_SEQUENTIAL_OR_PROGRESSIVE = (0xC0, 0xC1, 0xC2)


def not_for_dali(job: Job, *, on_gpu: bool) -> str | None:
    """Returns the reason why an image must be decoded on the host, as a short fixed phrase, or ``None`` if DALI may
    decode it.

    DALI allocates memory for whatever size a file claims: 13 GB for a JPEG of a few bytes. So a stored file is never
    given to DALI if its header states a different size from the manifest's.
    """
    if isinstance(job, TiledJob):
        return f"format {job.image_format}"
    if isinstance(job, WindowJob) and not on_gpu:  # by libjpeg-turbo
        return None if job.turbo_decodes else f"JPEG of mode {job.mode}"
    if job.image_format == "PNG" and isinstance(job, WholeJob):
        return _png(job) if job.mode in ("RGB", "L") else f"PNG of mode {job.mode}"
    return not_for_nvjpeg(job)


def not_for_nvjpeg(job: Job) -> str | None:
    """Returns the reason why an image must be decoded on the host, as a short fixed phrase, or ``None`` if nvJPEG may
    decode it."""
    if isinstance(job, TiledJob) or job.image_format != "JPEG":
        return f"format {job.image_format}"
    if not job.turbo_decodes:
        return f"JPEG of mode {job.mode}"
    return _spliced(job) if isinstance(job, WindowJob) else _jpeg(job)


def _spliced(job: WindowJob) -> str | None:
    """Like :func:`not_for_nvjpeg`, for a spliced JPEG. The splicer wrote the file, so only its colour space, which is
    copied from the source, has to be checked."""
    data = job.data
    if data[2:4].tobytes() == _JFIF:  # where the splicer writes it, so that most files need no parsing
        return None
    try:
        return _unusual_colours(read_header(data))
    except BadJpeg:
        return "unusual header"


def _is_whole(jpeg: bytes) -> bool:
    """Whether the scans of a progressive JPEG together contain all bits of all coefficients."""
    parser = SegmentParser(memoryview(jpeg))
    header = parser.parse()
    missing = np.full((len(header.components), 64), 16)  # the lowest bit found so far, per coefficient
    scan, at = header.scan, header.scan_start
    try:
        while True:
            first, last = scan.spectral
            missing[list(scan.components), first : last + 1] = scan.approximation & 15
            marker = _MARKER.search(jpeg, at)
            while marker and marker.group() != b"\xff\xda":
                if marker.group() == b"\xff\xd9":
                    return not missing.any()
                segment = parser.segment(marker.start())
                marker = _MARKER.search(jpeg, segment.offset + segment.length)
            if marker is None:
                return False
            segment = parser.segment(marker.start())
            scan, at = parser.scan(segment), segment.offset + segment.length
    except BadJpeg:
        return False


def _png(job: WholeJob) -> str | None:
    data = memoryview(job.data)  # type: ignore[arg-type]
    size = int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
    if size != (job.height, job.width):
        return "other size than in the manifest"
    at = 8
    for _ in range(_MOST_CHUNKS):
        name = bytes(data[at + 4 : at + 8])
        if name == b"IDAT":
            return None
        if name == b"acTL":
            return "several pictures"
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        if at + 8 > len(data):
            break
    return "unusual header"


def _jpeg(job: WholeJob) -> str | None:
    try:
        header = read_header(job.data)
    except BadJpeg:
        return "unusual header"
    if (header.height, header.width) != (job.height, job.width):
        return "other size than in the manifest"
    if header.sof_marker not in _SEQUENTIAL_OR_PROGRESSIVE or header.precision != 8:
        return "unusual JPEG process"
    if header.progressive and not _is_whole(bytes(job.data)):
        return "JPEG without all of its scans"  # libjpeg smooths those, others need not
    return _unusual_colours(header)


def _unusual_colours(header: JpegHeader) -> str | None:
    identifiers = tuple(component.id for component in header.components)
    if header.has_jfif or len(identifiers) == 1:
        return None
    if header.adobe_transform is None:
        return None if identifiers == (1, 2, 3) else "JPEG of unknown colour space"
    return None if header.adobe_transform == 1 else "JPEG without colour transform"
