#!/usr/bin/env bash
# c2pa-python 0.38.1, cryptography 50.0.2, Pillow 13.0.0; seen on 2026-11-29.
# One expects: a JPEG whose manifest is signed with a certificate that has C2PA's own purpose for signing manifests
#   (extended key usage 1.3.6.1.4.1.62558.2.1) is "Valid", by an unknown signer, with the settings of the library.
# What happens: it is "Invalid" (signingCredential.invalid), while the same file signed with an e-mail certificate
#   (1.3.6.1.5.5.7.3.4) is "Valid". Without settings, the library takes fewer purposes than C2PA's own tool. Whoever shows
#   "invalid" as "altered" accuses files that nobody touched. And a setting whose name is misspelt is taken without a
#   word, so nothing says that the remedy has not arrived.
# What to do: give the purposes yourself, one per line, as trust.trust_config, read signingCredential.* apart from
#   assertion.*.mismatch (only these mean that pixels changed), and test each setting by its effect.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet c2pa-python==0.38.1 cryptography==50.0.2 pillow==13.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import datetime as dt
import io
import json

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image

MANIFESTS, EMAIL = "1.3.6.1.4.1.62558.2.1", "1.3.6.1.5.5.7.3.4"
NOW = dt.datetime.now(dt.UTC)


def name(common):
    words = {x509.NameOID.ORGANIZATION_NAME: "Example", x509.NameOID.COMMON_NAME: common}
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in words.items()])


def signed(purpose):
    """A JPEG signed with a certificate of ``purpose``, from an authority made for it."""
    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def certificate(common, public, serial, extensions):
        made = x509.CertificateBuilder().subject_name(name(common)).issuer_name(name("authority")).public_key(public)
        made = made.serial_number(serial).not_valid_before(NOW - dt.timedelta(1)).not_valid_after(NOW + dt.timedelta(9))
        for extension in extensions:
            made = made.add_extension(extension, critical=True)
        known = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
        made = made.add_extension(known, critical=False)
        return made.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def usage(signs, certifies):
        return x509.KeyUsage(signs, False, False, False, False, certifies, certifies, False, False)

    purposes = x509.ExtendedKeyUsage([x509.ObjectIdentifier(purpose)])
    leaf = [x509.BasicConstraints(False, None), usage(True, False), purposes]
    chain = certificate("signer", key.public_key(), 2, leaf)
    chain += certificate("authority", authority.public_key(), 1, [x509.BasicConstraints(True, None), usage(False, True)])
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", chain, secret, None))
    picture, out = io.BytesIO(), io.BytesIO()
    Image.linear_gradient("L").save(picture, "JPEG")
    picture.seek(0)
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
    action = {"action": "c2pa.created", "digitalSourceType": source}
    manifest = {"assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}]}
    unchecked = c2pa.Context.from_dict({"verify": {"verify_after_sign": False}})
    c2pa.Builder(manifest, unchecked).sign(signer, "image/jpeg", picture, out)
    return out.getvalue()


def seen(data, settings):
    with c2pa.Reader("image/jpeg", io.BytesIO(data), context=c2pa.Context.from_dict(settings)) as reader:
        results = json.loads(reader.json())["validation_results"]["activeManifest"]
        return reader.get_validation_state(), sorted(failure["code"] for failure in results["failure"])


made_for_it, by_mail = signed(MANIFESTS), signed(EMAIL)
purposes = {"trust": {"trust_config": f"{EMAIL}\n{MANIFESTS}"}}
misspelt = {"trust": {"trust_configs": f"{EMAIL}\n{MANIFESTS}"}}
for what, data, settings, state in [
    ("e-mail, without settings", by_mail, {}, "Valid"),
    ("made for manifests, without settings", made_for_it, {}, "Invalid"),
    ("made for manifests, purposes given", made_for_it, purposes, "Valid"),
    ("made for manifests, setting misspelt", made_for_it, misspelt, "Invalid"),
]:
    found, failures = seen(data, settings)
    print(f"{what:38} {found:8} {', '.join(failures)}")
    assert found == state, f"changed: {what} is {found} now, not {state}"
PYTHON
echo "as found: made for manifests, and invalid unless its purpose is given"
