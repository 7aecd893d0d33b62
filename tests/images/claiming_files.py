"""Makes image files that claim something about themselves, such as that a program generated them."""

import json
import struct
import zlib

from PIL import Image, PngImagePlugin

from glass.claims.read import read_claims
from tests.images.coded_images import draw_coded, encode

PIXELS = draw_coded(3, 64, 48)
CODES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description r:about=""'
    ' xmlns:I="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:x="http://ns.adobe.com/xap/1.0/"{}</r:Description>'
    '</r:RDF></x:xmpmeta><?xpacket end="w"?>'
)
TRAINED = f"<I:DigitalSourceType>{CODES}trainedAlgorithmicMedia</I:DigitalSourceType>"
SAID = "created by a trained model (IPTC trainedAlgorithmicMedia)"
WEB_UI = "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512"
COMFY = json.dumps({"4": {"inputs": {"ckpt_name": "xl.safetensors"}, "class_type": "CheckpointLoaderSimple"}})


def packet(inside: str) -> bytes:
    return PACKET.format(inside).encode()


def with_xmp(kind: str, xmp: bytes) -> bytes:
    if kind == "TIFF":
        return encode(PIXELS, kind, tiffinfo={700: xmp})
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        return encode(PIXELS, kind, pnginfo=info)
    return encode(PIXELS, kind, xmp=xmp)


def with_chunk(name: bytes, payload: bytes, late: bool = False) -> bytes:
    """A PNG with an additional chunk, placed before the pixels, or after them if ``late``."""
    png = encode(PIXELS, "PNG")
    chunk = struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))
    at = png.index(b"IEND" if late else b"IDAT") - 4
    return png[:at] + chunk + png[at:]


def with_exif(kind: str, tags: dict[int, str], comment: bytes | None = None) -> bytes:
    exif = Image.Exif()
    for tag, value in tags.items():
        exif[tag] = value
    if comment is not None:
        exif.get_ifd(0x8769)[0x9286] = comment
    return encode(PIXELS, kind, exif=exif)


def says(data: bytes) -> list[str]:
    """Returns the texts of the claims in a file. Asserts that all of them have the status "not checked"."""
    claims = read_claims(data)
    assert all(claim.status == "not checked" for claim in claims)
    return [claim.says for claim in claims]


def with_marker() -> bytes:
    """A JPEG with the marker of a signed file, but without a manifest."""
    jpeg = encode(PIXELS, "JPEG")
    body = b"JP\0\1\0\0\0\1" + b"\0\0\0\x40jumb\0\0\0\x38jumdc2pa" + bytes(46)
    return jpeg[:2] + b"\xff\xeb" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]
