"""Reads the properties of an XMP packet, which is untrusted XML: entities are refused, and sizes are limited."""

from collections.abc import Iterator
from xml.parsers import expat

__all__ = ["MAX_BYTES", "xmp_properties"]

MAX_BYTES = 1 << 20
"""Maximum number of bytes read from a packet. Adobe's programs keep packets below 64 kB."""
_MAX_PROPERTIES = 4096
_MAX_VALUE = 4096  # characters of one value
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_RESOURCE = f"{_RDF} resource"
_CONTAINERS = frozenset(f"{_RDF} {name}" for name in ("Alt", "Bag", "Seq", "li", "Description", "value"))


class _Refused(Exception):
    """Raised if the packet declares a document type or holds more than ``_MAX_PROPERTIES`` properties."""


class _Properties:
    """Parser handlers that collect every property as (name, value).

    A name consists of the namespace, a space, and the local name of the attribute or of the nearest enclosing element
    that is not an RDF container.
    """

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []
        self._open: list[str] = []  # for each open element, the property to which it belongs
        self._text: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._text = []
        # Stored here, because a search through the open elements at each end tag would take quadratic time.
        self._open.append(name if name not in _CONTAINERS else self._open[-1] if self._open else "")
        for attribute, value in attributes.items():
            self._add(self._open[-1] if attribute == _RESOURCE else attribute, value)

    def end(self, _: str) -> None:
        self._add(self._open.pop(), "".join(self._text))
        self._text = []

    def text(self, text: str) -> None:
        self._text.append(text)

    def _add(self, name: str, value: str) -> None:
        if not (value := value.strip()):
            return
        if len(self.found) >= _MAX_PROPERTIES:
            raise _Refused
        self.found.append((name, value[:_MAX_VALUE]))


def xmp_properties(packet: bytes) -> list[tuple[str, str]]:
    """Returns the properties in ``packet`` as (name, value), in document order.

    A name consists of the namespace, a space and the local name. If the packet is damaged, too long, or declares a
    document type, only the properties before the damage, the limit or the declaration are returned.
    """
    properties = _Properties()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = properties.start
    parser.EndElementHandler = properties.end
    parser.CharacterDataHandler = properties.text
    parser.StartDoctypeDeclHandler = _refuse
    try:
        for part in _parts(packet):
            parser.Parse(part)
    except (expat.ExpatError, _Refused, ValueError, LookupError):  # the last two: encodings that Python lacks
        pass
    return properties.found


def _refuse(*_: object) -> None:
    raise _Refused


def _parts(packet: bytes) -> Iterator[bytes]:
    """Yields ``packet``, without its padding, in small pieces, so that the parser can process everything before a
    damaged piece."""
    packet = packet[:MAX_BYTES].strip(b"\0 \r\n\t")
    for start in range(0, len(packet), 4096):
        yield packet[start : start + 4096]
