"""Data types for the header of a JPEG, up to its first scan. :mod:`shards.jpeg.header_parser` parses it."""

from dataclasses import dataclass

__all__ = ["SUBSAMPLING_NAMES", "BadJpeg", "Component", "Frame", "JpegHeader", "QuantTable", "Scan", "Segment"]

SOF_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
SOF_ARITHMETIC = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
SOF_LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
SOF_HIERARCHICAL = frozenset({0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF})

SUBSAMPLING_NAMES: dict[tuple[float, float], str] = {
    (1, 1): "4:4:4",
    (2, 1): "4:2:2",
    (2, 2): "4:2:0",
    (1, 2): "4:4:0",
    (4, 1): "4:1:1",
    (4, 2): "4:1:0",
}


class BadJpeg(ValueError):
    """Raised if the bytes are not a JPEG, or the header contradicts itself. The message says where."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A marker segment; ``data[offset:][:length]`` is its payload, without the length bytes."""

    marker: int
    """Second byte of the marker, for example 0xE1 for APP1."""
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Component:
    """A colour component, as described in the frame header."""

    id: int
    h: int
    """Horizontal sampling factor, 1 … 4."""
    v: int
    """Vertical sampling factor, 1 … 4."""
    tq: int
    """Index of the component's quantisation table, 0 … 3."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The contents of a frame header."""

    precision: int
    """Bits per sample."""
    height: int
    width: int
    components: tuple[Component, ...]


@dataclass(frozen=True, slots=True)
class QuantTable:
    """A quantisation table that applies to the first scan. Its Pq/Tq byte is at ``offset`` in the file."""

    offset: int
    length: int
    """Number of bytes from ``offset`` on: 65 for 8-bit values, 129 for 16-bit values."""
    values: tuple[int, ...]
    """64 values in zigzag order."""


@dataclass(frozen=True, slots=True)
class Scan:
    """The contents of the first scan header."""

    components: tuple[int, ...]
    """Indices into ``JpegHeader.components``, in scan order."""
    dc_tables: tuple[int, ...]
    ac_tables: tuple[int, ...]
    spectral: tuple[int, int]
    """Indices of the first and last coefficient in the scan: (0, 63) in a sequential file."""
    approximation: int
    """The Ah/Al byte; 0 in a sequential file."""


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """Everything before the entropy-coded bytes of the first scan. Offsets count from the SOI marker."""

    width: int
    height: int
    precision: int
    """Bits per sample: 8, or 12 or 16 in files that Pillow does not decode."""
    sof_marker: int
    """Marker of the frame header: 0xC0 for baseline, 0xC1 for extended sequential, 0xC2 for progressive, …"""
    components: tuple[Component, ...]
    scan: Scan
    scan_start: int
    """Offset of the first entropy-coded byte."""
    restart_interval: int
    """Number of MCUs between restart markers; 0 if there are no markers."""
    adobe_transform: int | None
    """Colour transform in the last Adobe marker: 0 = none, 1 = YCbCr, 2 = YCCK. ``None`` without an Adobe marker."""
    jfif_offset: int | None
    """Offset of the JFIF marker's payload; ``None`` if there is no such marker. If there is one, a three-component
    image is YCbCr."""
    adobe_offset: int | None
    """Offset of the last Adobe marker's payload; ``None`` if there is no such marker."""
    segments: tuple[Segment, ...]
    """All marker segments in order, including the frame and scan headers."""
    sof_offset: int
    """Offset of the frame header's payload, which begins with the precision byte."""
    sos_offset: int
    """Offset of the scan header's payload, which begins with the number of components."""
    quant_tables: dict[int, QuantTable]
    huffman_tables: dict[int, tuple[int, int]]
    """Maps ``class << 4 | index`` to (offset, length) of the table, which begins with its Tc/Th byte."""

    @property
    def has_jfif(self) -> bool:
        return self.jfif_offset is not None

    @property
    def progressive(self) -> bool:
        return self.sof_marker in SOF_PROGRESSIVE

    @property
    def arithmetic(self) -> bool:
        return self.sof_marker in SOF_ARITHMETIC

    @property
    def lossless(self) -> bool:
        return self.sof_marker in SOF_LOSSLESS

    @property
    def hierarchical(self) -> bool:
        return self.sof_marker in SOF_HIERARCHICAL

    @property
    def baseline(self) -> bool:
        """Whether the file has one Huffman-coded sequential scan of 8-bit samples: SOF0 or SOF1."""
        return self.sof_marker in (0xC0, 0xC1) and self.precision == 8 and self.num_scans_at_least == 1

    @property
    def num_scans_at_least(self) -> int:
        """Returns a lower bound on the number of scans: 2 if the first scan cannot be the only one, otherwise 1."""
        whole = len(self.scan.components) == len(self.components) and self.scan.spectral[1] == 63
        return 1 if whole and not self.progressive else 2

    @property
    def max_sampling(self) -> tuple[int, int]:
        """The largest horizontal and the largest vertical sampling factor among the components."""
        return max(c.h for c in self.components), max(c.v for c in self.components)

    @property
    def subsampling(self) -> str:
        """Chroma subsampling as text: a name such as "grey" or "4:2:0", or else all factors, as in "2x2,1x1,2x1"."""
        if len(self.components) == 1:
            return "grey"
        luma, *rest = self.components
        chroma = rest[:2]
        others = rest[2:]  # the K of CMYK must have the size of the first component
        factors = {(luma.h / c.h, luma.v / c.v) for c in chroma}
        if len(factors) == 1 and all((c.h, c.v) == (luma.h, luma.v) for c in others):
            name = SUBSAMPLING_NAMES.get(factors.pop())
            if name is not None:
                return name
        return ",".join(f"{c.h}x{c.v}" for c in self.components)
