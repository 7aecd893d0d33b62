"""What a file says about itself in places that anyone can write to: XMP, EXIF, IIM, PNG chunks, comments."""

import io
import struct
import zlib

import pytest
from PIL import Image, PngImagePlugin

from glass.claims import content_credentials
from glass.claims.claim import MAX_CHARACTERS, Claim
from glass.claims.read import claims_sentence, read_claims
from glass.claims.source_types import PHRASES
from tests.images.claiming_files import (
    CODES,
    COMFY,
    PACKET,
    PIXELS,
    SAID,
    TRAINED,
    WEB_UI,
    packet,
    says,
    with_chunk,
    with_exif,
    with_marker,
    with_xmp,
)
from tests.images.coded_images import encode


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_source_type_in_xmp(kind):
    assert says(with_xmp(kind, packet(f">{TRAINED}"))) == [SAID]


@pytest.mark.parametrize(
    "inside",
    [
        f' I:DigitalSourceType="{CODES}trainedAlgorithmicMedia">',
        f'><I:DigitalSourceType r:resource="{CODES}trainedAlgorithmicMedia"/>',
        "><I:DigitalSourceType>trainedAlgorithmicMedia</I:DigitalSourceType>",
        "><I:DigitalSourceType>digsrctype:trainedAlgorithmicMedia</I:DigitalSourceType>",
        f"><I:DigitalSourceType><r:Bag><r:li>{CODES}trainedAlgorithmicMedia/</r:li></r:Bag></I:DigitalSourceType>",
    ],
    ids=["attribute", "resource", "code alone", "short name", "bag"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_the_ways_in_which_programs_write_it(inside, encoding):
    xmp = PACKET.format(inside).encode(encoding)
    assert says(with_xmp("WEBP", xmp)) == [SAID]


def test_each_code_has_a_phrase_and_an_unknown_one_is_quoted():
    for code, phrase in PHRASES.items():
        xmp = packet(f"><I:DigitalSourceType>{CODES}{code}</I:DigitalSourceType>")
        assert says(with_xmp("JPEG", xmp)) == [f"{phrase} (IPTC {code})"]
    (unknown,) = says(with_xmp("JPEG", packet("><I:DigitalSourceType>tele\u202epathy</I:DigitalSourceType>")))
    assert unknown == "of a source type that IPTC does not define (“telepathy”)"


def test_the_system_that_iptc_names():
    system = "<I:AISystemUsed>Painter</I:AISystemUsed><I:AISystemVersionUsed>3</I:AISystemVersionUsed>"
    assert says(with_xmp("JPEG", packet(f">{system}"))) == ["created with “Painter 3” (IPTC AISystemUsed)"]
    assert says(with_xmp("JPEG", packet(f">{TRAINED}{system}"))) == [f"{SAID}, with “Painter 3”"]


@pytest.mark.parametrize(
    ("keyword", "text", "said"),
    [
        (
            "parameters",
            WEB_UI,
            "settings of Stable Diffusion web UI, or a program that writes the same text (PNG text “parameters”: “a cat"
            " Negative prompt: dog Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512”)",
        ),
        ("prompt", COMFY, "settings of ComfyUI (PNG text “prompt”, model “xl.safetensors”)"),
        ("workflow", '{"id": "1", "last_node_id": 9, "nodes": []}', "settings of ComfyUI (PNG text “workflow”)"),
        ("sd-metadata", '{"model": "stable diffusion"}', "settings of InvokeAI (PNG text “sd-metadata”)"),
        ("invokeai_metadata", "{}", "settings of InvokeAI (PNG text “invokeai_metadata”)"),
        ("Dream", "a cat -s 50", "settings of InvokeAI (PNG text “Dream”: “a cat -s 50”)"),
        ("Software", "NovelAI", "the name NovelAI (PNG text “Software”: “NovelAI”)"),
    ],
)
def test_texts_of_generators_in_a_png(keyword, text, said):
    key, value = keyword.encode() + b"\0", text.encode()
    packed = zlib.compress(value)
    for name, payload in ((b"tEXt", value), (b"zTXt", b"\0" + packed), (b"iTXt", b"\1\0en\0\0" + packed)):
        assert says(with_chunk(name, key + payload, late=False)) == [said]
    assert says(with_chunk(b"tEXt", key + value, late=True)) == [said]


def test_one_generator_makes_one_claim_in_several_texts():
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", COMFY)
    info.add_text("workflow", '{"last_node_id": 9}')
    assert says(encode(PIXELS, "PNG", pnginfo=info)) == [
        "settings of ComfyUI (PNG text “prompt”, model “xl.safetensors”)"
    ]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG", "AVIF", "TIFF"])
def test_exif_that_names_a_generator(kind):
    assert says(with_exif(kind, {305: "Adobe Firefly"})) == [
        "the name Adobe Firefly (EXIF “Software”: “Adobe Firefly”)"
    ]


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le", "ascii"])
def test_settings_in_the_comment_of_exif(encoding):
    prefix = b"ASCII\0\0\0" if encoding == "ascii" else b"UNICODE\0"
    (said,) = says(with_exif("JPEG", {}, prefix + WEB_UI.encode(encoding)))
    assert said.startswith("settings of Stable Diffusion web UI")
    assert "(EXIF “UserComment”: “a cat Negative prompt: dog" in said


def test_settings_that_comfyui_puts_into_a_webp():
    assert says(with_exif("WEBP", {272: f"prompt:{COMFY}"})) == [
        "settings of ComfyUI (EXIF “Model”, model “xl.safetensors”)"
    ]


def test_the_credit_line_of_iim_and_a_comment():
    line = b"Made with Google AI"
    records = b"\x1c\x02\x6e" + struct.pack(">H", len(line)) + line
    block = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(records)) + records + bytes(len(records) % 2)
    segment = b"Photoshop 3.0\0" + block
    jpeg = encode(PIXELS, "JPEG", comment=b"Imagined with AI")
    jpeg = jpeg[:2] + b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]
    assert says(jpeg) == [
        "the name Google AI (IIM “credit line”: “Made with Google AI”)",
        "the name Meta AI (comment: “Imagined with AI”)",
    ]


@pytest.mark.parametrize(
    "data",
    [
        encode(PIXELS, "JPEG"),
        with_xmp("JPEG", packet(' x:CreatorTool="Lightroom 7">')),
        with_exif("JPEG", {305: "GIMP 2.10", 270: "Gemini seen from the observatory, una imagen"}),
        with_chunk(b"tEXt", b"parameters\0exposure 1/60, f 2.8"),
        with_chunk(b"tEXt", b"Comment\0steps: 3, then left"),
    ],
    ids=["nothing", "a photo editor", "words that mean other things", "other parameters", "other steps"],
)
def test_files_that_make_no_claim(data):
    assert read_claims(data) == []
    assert claims_sentence([]) == "none of the claims that were searched for was found in the file"


def test_the_sentence():
    claims = [Claim("c2pa", "valid and trusted", "drawn\x1b[2J by\nhand"), Claim("iptc", "not checked", "ü" * 1000)]
    assert claims_sentence(claims) == (
        f"the file says: drawn[2J by hand (valid and trusted); {'ü' * (MAX_CHARACTERS - 1)}… (not checked)"
    )


def test_what_is_no_image_is_one_sentence():
    assert says(b"no image") == ["nothing that could be read (the file is not in a supported image format)"]


def test_a_manifest_without_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(content_credentials, "optional", lambda name: None)
    assert claims_sentence(read_claims(with_marker())) == (
        "the file says: it has Content Credentials; to check them, install the extra: pip install -e '.[c2pa]'"
        " (not checked)"
    )


def test_a_manifest_that_lies_elsewhere_is_not_fetched():
    inside = ' xmlns:d="http://purl.org/dc/terms/" d:provenance="http://example.org/m.c2pa">'
    assert says(with_xmp("JPEG", packet(inside))) == [
        "its Content Credentials are at “http://example.org/m.c2pa”, which is not fetched"
    ]


def test_an_image_that_pillow_opens_again_says_what_it_said():
    """Claims are read from the bytes of a file. A picture that Pillow opens and saves again has lost them."""
    data = with_xmp("JPEG", packet(f">{TRAINED}"))
    with Image.open(io.BytesIO(data)) as image:
        assert read_claims(encode(image, "PNG")) == []
