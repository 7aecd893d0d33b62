"""Signed manifests (C2PA) of files, as checked by the C2PA library. Needs the extra c2pa."""

import datetime as dt
import io
import json

import pytest

from glass.claims import content_credentials
from glass.claims.claim import Claim
from glass.claims.content_credentials import read_trust
from glass.claims.read import claims_sentence, read_claims
from scripts import predict
from shards.errors import InputError
from tests.images.claiming_files import with_marker
from tests.images.coded_images import draw_coded, encode
from tests.machine.loopback import counting

c2pa = pytest.importorskip("c2pa", reason="the extra c2pa is not installed")
x509 = pytest.importorskip("cryptography.x509")

from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402

CREATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "TIFF": "image/tiff", "AVIF": "image/avif"}
MADE = "created by a trained model (IPTC trainedAlgorithmicMedia)"
SAID = f"{MADE}, with “Tiny Painter 1.2”, signed by “Ann Signer” of “Tests”"
UNKNOWN, TRUSTED = "valid but signer unknown", "valid and trusted"


def named(name: str) -> "x509.Name":
    oid = x509.oid.NameOID
    return x509.Name([x509.NameAttribute(oid.ORGANIZATION_NAME, "Tests"), x509.NameAttribute(oid.COMMON_NAME, name)])


class Authority:
    """A certificate authority, and a signer whose certificate it has signed."""

    def __init__(self, *addresses: str, purpose: str = "1.3.6.1.5.5.7.3.4") -> None:
        """``addresses`` are written into the signer's certificate as the servers (OCSP) that know whether it is
        revoked. ``purpose`` is the OID of the purpose of the certificate, by default e-mail."""
        key, self._key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        signer, root = self._key.public_key(), key.public_key()
        usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
        usage |= {"encipher_only": False, "decipher_only": False}
        add = [
            (x509.BasicConstraints(False, None), True),
            (x509.KeyUsage(digital_signature=True, key_cert_sign=False, crl_sign=False, **usage), True),
            (x509.ExtendedKeyUsage([x509.ObjectIdentifier(purpose)]), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(root), False),
        ]
        for address in addresses:
            access = x509.AccessDescription(
                x509.oid.AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(address)
            )
            add.append((x509.AuthorityInformationAccess([access]), False))
        own = [
            (x509.BasicConstraints(True, None), True),
            (x509.KeyUsage(digital_signature=False, key_cert_sign=True, crl_sign=True, **usage), True),
            (x509.SubjectKeyIdentifier.from_public_key(root), False),
        ]
        self.pem = self._certificate("A Root", root, key, own)
        self._chain = self._certificate("Ann Signer", signer, key, add) + self.pem

    @staticmethod
    def _certificate(name, public_key, issuer_key, extensions) -> bytes:
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named("A Root"))
        builder = builder.public_key(public_key).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(1)).not_valid_after(now + dt.timedelta(30))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def sign(self, data: bytes, kind: str = "JPEG", parent: bytes | None = None, address: str | None = None) -> bytes:
        """Signs ``data`` as a picture made by a program or, if ``parent`` is given, edited from it. If ``address`` is
        given, the file contains only this address of its manifest."""
        private = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", self._chain, private, None))
        created = {"action": "c2pa.created", "digitalSourceType": CREATED}
        actions = [{"label": "c2pa.actions", "data": {"actions": [created]}}]
        manifest = {
            "claim_generator_info": [{"name": "Tiny Painter", "version": "1.2"}],
            "assertions": [] if parent else actions,
        }
        settings = {"verify": {"verify_after_sign": False}, "builder": {"thumbnail": {"enabled": False}}}
        builder = c2pa.Builder(manifest, c2pa.Context.from_dict(settings))
        if parent:
            builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
            builder.add_ingredient({"relationship": "parentOf"}, TYPES[kind], io.BytesIO(parent))
        if address:
            builder.set_remote_url(address)
            builder.set_no_embed()
        signed = io.BytesIO()
        builder.sign(signer, TYPES[kind], io.BytesIO(data), signed)
        return signed.getvalue()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def picture(kind: str = "JPEG") -> bytes:
    return encode(draw_coded(3, 64, 48), kind)


def altered(signed: bytes) -> bytes:
    """The signed file with one changed byte in the scan, so with different pixels."""
    at = len(signed) - 40
    return signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :]


@pytest.mark.parametrize("kind", list(TYPES))
def test_a_signed_file(kind, authority):
    signed = authority.sign(picture(kind), kind)
    assert read_claims(signed) == [Claim("c2pa", UNKNOWN, SAID)]
    assert read_claims(signed, authority.pem.decode()) == [Claim("c2pa", TRUSTED, SAID)]
    assert read_claims(signed, Authority().pem.decode()) == [Claim("c2pa", UNKNOWN, SAID)]


@pytest.mark.parametrize("purpose", ["1.3.6.1.4.1.62558.2.1", "1.3.6.1.5.5.7.3.36"], ids=["C2PA", "documents"])
def test_a_certificate_for_manifests_may_sign_them(purpose):
    """With its default settings, the library calls files signed with such certificates invalid."""
    special = Authority(purpose=purpose)
    signed = special.sign(picture())
    with c2pa.Reader("image/jpeg", io.BytesIO(signed), context=c2pa.Context.from_dict({})) as reader:
        assert reader.get_validation_state() == "Invalid"
    assert read_claims(signed) == [Claim("c2pa", UNKNOWN, SAID)]
    assert read_claims(signed, special.pem.decode()) == [Claim("c2pa", TRUSTED, SAID)]


def test_three_sentences(authority):
    signed = authority.sign(picture())
    sentences = [claims_sentence(read_claims(data)) for data in (signed, altered(signed), picture())]
    assert sentences == [
        f"the file says: {SAID} (valid but signer unknown)",
        f"the file says: {SAID}, but the file was changed after it was signed (invalid)",
        "none of the claims that were searched for was found in the file",
    ]


def test_an_altered_manifest(authority):
    signed = authority.sign(picture()).replace(b"Tiny Painter", b"Tall Painter")
    (claim,) = read_claims(signed, authority.pem.decode())
    assert claim.status == "invalid"
    assert claim.says.endswith("but the signature does not match the manifest")


def test_what_another_picture_says_is_no_word_of_the_signer(authority):
    """A signer of an edited picture includes the manifest of its parent, whether or not that manifest passes the check.
    The parent's claims must not count as the signer's."""
    parent = authority.sign(picture())
    for data, doubt in ((parent, ""), (altered(parent), ", a manifest that fails the check")):
        (claim,) = read_claims(authority.sign(data, parent=data), authority.pem.decode())
        assert claim.status == TRUSTED
        assert claim.says.startswith(
            f"made from a picture whose own manifest says: {MADE}{doubt}, with “Tiny Painter 1.2”"
        )


def test_a_marker_without_a_manifest_and_a_library_that_does_not_load(monkeypatch):
    (claim,) = read_claims(with_marker())
    assert claim.status == "invalid"
    assert claim.says.startswith("its Content Credentials cannot be read")

    def broken(name):
        raise OSError("libc2pa_c.so: wrong ELF class")

    monkeypatch.setattr(content_credentials, "optional", broken)
    (claim,) = read_claims(with_marker())
    assert (claim.source, claim.status) == ("c2pa", "not checked")
    assert "wrong ELF class" in claim.says


@pytest.mark.parametrize("lost", [1, 200, 2000])
def test_a_file_that_is_cut_off_claims_nothing_valid(lost, authority):
    cut = authority.sign(picture())[:-lost]
    assert [claim.status for claim in read_claims(cut)] in ([], ["invalid"], ["not checked"])


def test_no_address_of_a_file_is_asked(authority):
    """Addresses in a file are contacted neither to fetch a manifest nor to ask for revoked certificates. With other
    settings, the library would do both."""
    with counting(404) as (address, asked):
        revocable = Authority(address)
        elsewhere = authority.sign(picture(), address=f"{address}/manifest.c2pa")
        signed = revocable.sign(picture())
        trust = (authority.pem + revocable.pem).decode()
        (claim,) = read_claims(elsewhere, trust)
        assert claim.status == "not checked"
        assert claim.says == f"its Content Credentials are at “{address}/manifest.c2pa”, which is not fetched"
        # Where the marker is taken for one, the settings alone keep the library off the network.
        assert content_credentials.signed_claim(elsewhere, "JPEG", trust).status == "invalid"
        assert read_claims(signed, trust) == [Claim("c2pa", TRUSTED, SAID)]
        assert asked == []
        with pytest.raises(c2pa.C2paError):
            c2pa.Reader("image/jpeg", io.BytesIO(elsewhere))
        settings = {"verify": {"ocsp_fetch": True}, "trust": {"trust_anchors": trust}}
        c2pa.Reader("image/jpeg", io.BytesIO(signed), context=c2pa.Context.from_dict(settings)).close()
        assert asked[0] == "/manifest.c2pa"
        assert len(asked) == 2


def test_predict_shows_them(run, authority, tmp_path, capsys):
    (tmp_path / "signed.jpg").write_bytes(authority.sign(picture()))
    (tmp_path / "root.pem").write_bytes(authority.pem)
    out = tmp_path / "o.json"
    arguments = [str(run), str(tmp_path / "signed.jpg"), "--no-stability", "--claims", "--json", str(out)]
    assert predict.main(arguments) == 0
    assert capsys.readouterr().out.endswith(f"signed.jpg; the file says: {SAID} ({UNKNOWN})\n")
    assert predict.main([*arguments, "--trust", str(tmp_path / "root.pem")]) == 0
    assert capsys.readouterr().out.endswith(f"signed.jpg; the file says: {SAID} ({TRUSTED})\n")
    (image,) = json.loads(out.read_text())["images"]
    assert image["claims"] == [{"source": "c2pa", "status": TRUSTED, "says": SAID}]


def test_a_list_of_authorities_with_remarks(authority, tmp_path):
    """The list has comments in non-ASCII characters, like the lists in browsers."""
    path = tmp_path / "list.pem"
    path.write_bytes("# Főtanúsítvány\n".encode() + authority.pem + b"# and another\n" + Authority().pem)
    assert read_claims(authority.sign(picture()), read_trust(path)) == [Claim("c2pa", TRUSTED, SAID)]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot read .*x.pem: No such file"),
        (b"", "holds no readable certificates"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no readable certificates"),
        (bytes(5 << 20), "larger than"),
    ],
    ids=["missing", "empty", "rubbish", "large"],
)
def test_a_trust_file_of_no_use_is_refused(content, sentence, run, paths, tmp_path):
    """The library would accept some of these useless files as a list that trusts nobody."""
    path = tmp_path / "x.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        read_trust(path)
    with pytest.raises(InputError, match=sentence):
        predict.main([str(run), paths[0], "--claims", "--trust", str(path)])
