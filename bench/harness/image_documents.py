"""Typed schemas of the JSON documents printed by benches that measure images per second."""

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
"""Maps each name to its smallest and largest value."""


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
    """The speed and resource usage of a method."""

    bench: str
    method: str
    num_crops: int
    megapixels: Number
    """Mean size of the images in megapixels."""
    threads: int
    images_per_s: Number
    """Median over the rounds."""
    spread: list[Number]
    """Smallest and largest value of ``images_per_s`` over the rounds."""
    bytes_read_per_image: Number
    """Bytes that the method reads from storage per image."""
    cpu_s_per_image: Number
    """CPU time per image in seconds: user and system time of all the method's threads and processes."""
    peak_rss_mib: Number


class TurnsRow(ImageRow):
    """A row for a method whose rounds alternated with those of other methods."""

    images: str
    """Name of the image set or split that was measured."""
    data: str
    """Digest of the images: 16 hexadecimal digits."""
    rounds: int
    seconds_per_round: Number
    """The requested duration of a round in seconds. Rounds take about this long, or longer."""


class Measured(TypedDict):
    """The document that a bench writes if it reports ratios."""

    bench: str
    environment: Environment
    ratios: dict[str, Number]
    ratio_ranges: Ranges
    failed: dict[str, str]


class ImageSet(TypedDict):
    """A set of images that a bench used."""

    images: str
    number: int
    megapixels: Number
    bits_per_pixel: Number
    window_sets_per_image: int
    skipped: dict[str, int]


class OnImages(Measured):
    """The document that a bench writes if it compares methods on sets of images."""

    skipped: dict[str, str]
    methods: dict[str, str]
    image_sets: list[ImageSet]


class DecodeRow(TurnsRow):
    """A row of ``bench decode``."""

    crop_size: int


class Decode(OnImages):
    """The document that ``bench decode`` writes."""

    rows: list[DecodeRow]


class Build(OnImages):
    """The document that ``bench build`` writes."""

    rows: list[TurnsRow]


class LoaderRow(TurnsRow):
    """A row of ``bench loader``."""

    batch_size: int
    crop_size: int
    global_size: int


class Loader(Measured):
    """The document that ``bench loader`` writes."""

    skipped: dict[str, str]
    samples: int
    rows: list[LoaderRow]


class RemoteRow(ImageRow):
    """A row of ``bench remote``: loading from a store."""

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
    """The document that ``bench remote`` writes."""

    bench: str
    environment: Environment
    ratios: dict[str, Number]
    rows: list[RemoteRow]
