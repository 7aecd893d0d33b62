"""The types of the documents of benches that count images per second."""

from typing import TypedDict

from shards.files.documents import Number

__all__ = [
    "Build",
    "Decode",
    "DecodeRow",
    "Environment",
    "ImageRow",
    "ImageSet",
    "Loader",
    "LoaderRow",
    "Measured",
    "OnImages",
    "Ranges",
    "Remote",
    "RemoteRow",
    "TurnsRow",
]

Ranges = dict[str, list[Number]]
"""Name → smallest and largest value."""


class Environment(TypedDict):
    """The machine and its software."""

    date: str
    commit: str
    cpu: str
    cpus_available: int
    cores_used: list[int]
    busy_cores: Number
    memory_gib: Number
    system: str
    python: str
    libjpeg_turbo: str
    versions: dict[str, str]


class ImageRow(TypedDict):
    """Images per second of a method."""

    bench: str
    method: str
    num_crops: int
    megapixels: Number
    """Mean of the images."""
    threads: int
    images_per_s: Number
    """Median over the rounds."""
    spread: list[Number]
    """Its smallest and largest value."""
    bytes_read_per_image: Number
    """That the method touches in storage."""
    cpu_s_per_image: Number
    """User and system time of all its threads and processes."""
    peak_rss_mib: Number


class TurnsRow(ImageRow):
    """A method measured in rounds, in turn with others."""

    images: str
    data: str
    rounds: int
    seconds_per_round: Number


class Measured(TypedDict):
    """A bench with ratios."""

    bench: str
    environment: Environment
    ratios: dict[str, Number]
    ratio_ranges: Ranges
    failed: dict[str, str]


class ImageSet(TypedDict):
    """The images that a bench ran on."""

    images: str
    number: int
    megapixels: Number
    bits_per_pixel: Number
    window_sets_per_image: int
    skipped: dict[str, int]


class OnImages(Measured):
    """A bench of methods on sets of images."""

    skipped: dict[str, str]
    methods: dict[str, str]
    image_sets: list[ImageSet]


class DecodeRow(TurnsRow):
    """Of ``bench decode``."""

    crop_size: int


class Decode(OnImages):
    """``bench decode``."""

    rows: list[DecodeRow]


class Build(OnImages):
    """``bench build``."""

    rows: list[TurnsRow]


class LoaderRow(TurnsRow):
    """Of ``bench loader``."""

    batch_size: int
    crop_size: int
    global_size: int


class Loader(Measured):
    """``bench loader``."""

    skipped: dict[str, str]
    samples: int
    rows: list[LoaderRow]


class RemoteRow(ImageRow):
    """Loading from a store."""

    images: str
    data: str
    latency_ms: Number
    mbit_per_s: Number
    requests_per_image: Number
    foreseen_ms_per_image: Number
    measured_latency_ms: Number
    measured_mbit_per_s: Number
    chosen: str


class Remote(TypedDict):
    """``bench remote``."""

    bench: str
    environment: Environment
    ratios: dict[str, Number]
    rows: list[RemoteRow]
