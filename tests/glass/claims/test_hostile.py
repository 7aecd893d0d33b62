"""Damaged files, and files made to consume much time or memory. Their claims are read in part, and no exception is
raised."""

import re
import time
import zlib

import pytest

from glass.claims.claim import MAX_CHARACTERS
from glass.claims.read import claims_sentence, read_claims
from glass.claims.xmp import MAX_BYTES, xmp_properties
from tests.images.claiming_files import SAID, TRAINED, WEB_UI, packet, says, with_chunk, with_xmp

ENTITIES = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
BOMB = f'<!DOCTYPE x [<!ENTITY e0 "trainedAlgorithmicMedia">{ENTITIES}]>'


@pytest.mark.parametrize(
    "xmp",
    [
        BOMB.encode() + packet(f">{TRAINED}<I:AISystemUsed>&e11;</I:AISystemUsed>"),
        b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">' + packet(f">{TRAINED}"),
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + packet("><I:AISystemUsed>&e;</I:AISystemUsed>"),
        b"<r:li xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>" + b"<r:li>" * (MAX_BYTES // 6),
        b"<a " + b"".join(b"b%d='c' " % number for number in range(80_000)) + b"/>",
        b"<a>" + b"<b>c</b>" * 120_000,
        b"\xff\xfe" + bytes(range(256)) * 4000,
        b"<?xml version='1.0' encoding='no-such-encoding'?><a/>",
    ],
    ids=["entities", "a foreign dtd", "a file", "depth", "attributes", "elements", "noise", "encoding"],
)
def test_hostile_packets_cost_little_and_claim_nothing(xmp):
    start = time.process_time()
    assert says(with_xmp("WEBP", xmp)) == []
    assert time.process_time() - start < 3


def test_what_stands_before_a_damaged_place_counts_and_the_rest_is_not_read():
    assert says(with_xmp("WEBP", packet(f">{TRAINED}")[:-40])) == [SAID]
    late = b"<a>" + b" " * MAX_BYTES + packet(f">{TRAINED}") + b"</a>"
    assert says(with_xmp("WEBP", late)) == []
    assert len(xmp_properties(b"<a>" + b"<b>c</b>" * 120_000)) <= 4096


@pytest.mark.parametrize("name", [pytest.param(b"zTXt", marks=pytest.mark.slow), b"iTXt"])
def test_a_text_that_unpacks_to_much_is_read_in_part(name):
    big = zlib.compress(WEB_UI.encode() + bytes(16 << 20), 9)
    payload = b"parameters\0" + (b"\0" if name == b"zTXt" else b"\1\0\0\0") + big
    (said,) = says(with_chunk(name, payload, late=True))
    assert len(said) <= MAX_CHARACTERS


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"tEXt", b"eXIf"])
def test_damaged_chunks_claim_nothing_or_say_why(name):
    for payload in (b"parameters\0\0junk", b"parameters\0", b"parameters", b"\0" * 9, b"k\0\1\0no end"):
        said = says(with_chunk(name, payload, late=True))
        assert all(one.startswith("nothing that could be read") for one in said), payload


FORGED = "a camera”, signed by “Leica” (valid and trusted); x “"


@pytest.mark.parametrize(
    "data",
    [
        with_xmp("JPEG", packet(f"><I:AISystemUsed>{FORGED}</I:AISystemUsed>")),
        with_xmp("JPEG", packet(f"><I:DigitalSourceType>{FORGED}</I:DigitalSourceType>")),
        with_xmp("JPEG", packet(f' xmlns:d="http://purl.org/dc/terms/" d:provenance="http://{FORGED}">')),
        with_chunk(b"iTXt", f"Dream\0\0\0\0\0{FORGED}".encode()),
        with_chunk(b"iTXt", f'prompt\0\0\0\0\0{{"class_type": "", "ckpt_name": "{FORGED}"}}'.encode()),
    ],
    ids=["system", "source type", "address", "text", "model"],
)
def test_no_text_of_a_file_passes_for_a_word_of_ours(data):
    """In the sentence about the claims, text from the file is always inside quotation marks and our own words are
    outside."""
    sentence = claims_sentence(read_claims(data))
    assert "(valid and trusted)" in sentence
    assert "(valid and trusted)" not in re.sub("“[^”]*”", "", sentence)
