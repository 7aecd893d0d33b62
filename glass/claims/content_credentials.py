"""Checks the signed manifests in a file, which follow the C2PA standard and are marketed as Content Credentials.

By default, the library that checks manifests fetches URLs that the file names. The settings in this module forbid
that, so a manifest that is stored elsewhere is never requested.
"""

import io
import re
import ssl
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from glass.claims.claim import MAX_CHARACTERS, Claim, plain, quoted
from glass.claims.source_types import source_type_phrase
from shards.errors import InputError, require_sound_machine
from shards.files.json_file import parse_json
from shards.files.regular_file import open_regular
from shards.optional import is_installed, optional

__all__ = ["elsewhere_claim", "read_trust", "signed_claim"]

NEEDS_EXTRA = "it has Content Credentials; to check them, install the extra: pip install -e '.[c2pa]'"
_MAX_TRUST_BYTES = 4 << 20
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
_PROVENANCE = "http://purl.org/dc/terms/ provenance"
_NAME = 60

_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "GIF": "image/gif",
    "AVIF": "image/avif",
    "HEIF": "image/heif",
    "JXL": "image/jxl",
}

_OFFLINE: dict[str, dict[str, Any]] = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {"allowed_network_hosts": [], "decode_identity_assertions": False},
}
"""Settings that prevent the C2PA library from making network requests. The library silently ignores settings that it
does not know, so a test verifies that no request is made."""

_PURPOSES = (
    "1.3.6.1.5.5.7.3.4",  # e-mail
    "1.3.6.1.5.5.7.3.36",  # documents
    "1.3.6.1.5.5.7.3.8",  # time stamps
    "1.3.6.1.5.5.7.3.9",  # OCSP
    "1.3.6.1.4.1.311.76.59.1.9",  # Microsoft's, for manifests
    "1.3.6.1.4.1.62558.2.1",  # C2PA's, for manifests
)
"""Accepted purposes (extended key usages): a signer's certificate must have at least one of them. C2PA's own tool
accepts the same list. The library's default is the first purpose alone, which rejects even certificates that were
issued for signing manifests."""

_CHANGED = "the file was changed after it was signed"
_REASONS = {
    "assertion.dataHash.mismatch": _CHANGED,
    "assertion.bmffHash.mismatch": _CHANGED,
    "assertion.boxesHash.mismatch": _CHANGED,
    "assertion.hashedURI.mismatch": "the manifest was changed after it was signed",
    "assertion.missing": "a part of the manifest is missing",
    "claimSignature.mismatch": "the signature does not match the manifest",
    "claimSignature.missing": "the manifest has no signature",
    "claimSignature.outsideValidity": "the signer's certificate was not valid when the manifest was signed",
    "signingCredential.expired": "the signer's certificate has expired, and no timestamp proves when it signed",
    "signingCredential.invalid": "the signer's certificate is not allowed to sign manifests",
    "signingCredential.revoked": "the signer's certificate was revoked",
}
_UNTRUSTED = "signingCredential.untrusted"


def read_trust(path: Path) -> str:
    """Reads the certificates of trusted authorities from the PEM file ``path`` and returns them as text.

    Raises ``InputError`` if the file cannot be read, is too large or holds no certificates, or if the extra ``c2pa`` is
    not installed.
    """
    if not is_installed("c2pa"):
        raise InputError("to check signatures, install the extra: pip install -e '.[c2pa]'")
    try:
        with open_regular(path) as file:
            data = file.read(_MAX_TRUST_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > _MAX_TRUST_BYTES:
        raise InputError(f"{path} is larger than {_MAX_TRUST_BYTES:,} bytes: give a list of certificates (PEM)")
    # Such lists have comments between the certificates, in any alphabet.
    text = "".join(f"{certificate}\n" for certificate in _CERTIFICATE.findall(data.decode("ascii", "replace")))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise InputError(f"{path} holds no readable certificates: give a file in PEM format") from error
    return text


def elsewhere_claim(properties: list[tuple[str, str]]) -> list[Claim]:
    """Returns the claim that the manifest is stored at the URL named in the XMP ``properties``, or an empty list if
    they name none."""
    address = next((value for name, value in properties if name == _PROVENANCE), None)
    if address is None:
        return []
    says = f"its Content Credentials are at {quoted(address, 120)}, which is not fetched"
    return [Claim("c2pa", "not checked", says)]


def signed_claim(data: bytes, kind: str, trust: str | None) -> Claim:
    """Checks the manifest in the image file ``data`` and returns what it claims.

    The file must contain a manifest. ``kind`` is the image format. ``trust`` holds the certificates (PEM) of trusted
    authorities; if it is None, no authority is trusted.
    """
    c2pa = optional("c2pa")
    if c2pa is None:
        return Claim("c2pa", "not checked", NEEDS_EXTRA)
    try:
        if trust is not None and _is_valid(store := _checked(c2pa, data, kind, trust), "Trusted"):
            return Claim("c2pa", "valid and trusted", _claim_phrase(store))
        store = _checked(c2pa, data, kind, None)
    except c2pa.C2paError as error:
        require_sound_machine(error)
        return Claim("c2pa", "invalid", f"its Content Credentials cannot be read: {quoted(str(error), 160)}")
    says = _claim_phrase(store)
    if _is_valid(store, "Trusted", "Valid"):
        return Claim("c2pa", "valid but signer unknown", says)
    but = f", but {_reason(store)}"
    return Claim("c2pa", "invalid", f"{plain(says, MAX_CHARACTERS - len(but))}{but}")


def _checked(c2pa: ModuleType, data: bytes, kind: str, trust: str | None) -> dict[str, Any]:
    """Checks the manifests in ``data`` and returns the library's report."""
    with c2pa.Reader(_TYPES[kind], io.BytesIO(data), context=_context(trust)) as reader:
        return parse_json(reader.json().encode())


def _is_valid(store: dict[str, Any], *states: str) -> bool:
    return store.get("validation_state") in states


@lru_cache(maxsize=4)
def _context(trust: str | None) -> Any:
    """Returns the C2PA library's settings for checking a manifest.

    If ``trust`` is None, neither the signer nor the authority that issued the manifest's time stamp is trusted. An
    untrusted time stamp is accepted all the same: without one, the manifest would become invalid as soon as the
    signer's certificate expires.
    """
    c2pa = optional("c2pa")
    assert c2pa is not None
    verify = _OFFLINE["verify"] | {"verify_timestamp_trust": trust is not None}
    anchors = {"trust_config": "\n".join(_PURPOSES)} | ({} if trust is None else {"trust_anchors": trust})
    return c2pa.Context.from_dict(_OFFLINE | {"verify": verify, "trust": anchors})


def _claim_phrase(store: dict[str, Any]) -> str:
    """Returns a phrase for what the active manifest in ``store`` claims, which program wrote it, and who signed it."""
    active = store["manifests"][store["active_manifest"]]
    own = _source_types(active)
    what = " and ".join(source_type_phrase(kind) for kind in own[:2]) or _origin_of_parts(store["manifests"], active)
    program, signer = _program(active), active.get("signature_info") or {}
    names = dict.fromkeys(str(signer[key]) for key in ("common_name", "issuer") if signer.get(key))
    by = f", with {quoted(program, _NAME)}" if program else ""
    signed = f", signed by {' of '.join(quoted(name, _NAME) for name in names)}" if names else ""
    date = f" on {plain(str(signer['time'])[:10])}" if signed and signer.get("time") else ""
    return f"{what}{by}{signed}{date}"


def _origin_of_parts(manifests: dict[str, Any], active: dict[str, Any]) -> str:
    """Returns a phrase for what a source picture's own manifest says about its origin. A source picture is one that
    this picture was made from.

    If no source picture has a manifest that states its origin, the phrase says so. The active manifest's signature
    proves only that the source picture was included, not that its claim is true. If the source picture's manifest
    failed its check when the picture was included, the phrase says so, too.
    """
    waiting, seen = [(part, True) for part in active.get("ingredients", [])], set()
    while waiting:
        part, sound = waiting.pop(0)
        label = part.get("active_manifest")
        if label not in manifests or label in seen:
            continue
        seen.add(label)
        sound = sound and not _failures(part.get("validation_results"))
        if kinds := _source_types(manifests[label]):
            doubt = "" if sound else ", a manifest that fails the check"
            return f"made from a picture whose own manifest says: {source_type_phrase(kinds[0])}{doubt}"
        waiting += [(deeper, sound) for deeper in manifests[label].get("ingredients", [])]
    return "Content Credentials that do not state how the picture was made"


def _source_types(manifest: dict[str, Any]) -> list[str]:
    """Returns the distinct digital source types named by the actions in ``manifest``."""
    found: dict[str, None] = {}
    for assertion in manifest.get("assertions", []):
        if assertion["label"].startswith("c2pa.actions"):
            for action in assertion["data"].get("actions", []):
                if isinstance(kind := action.get("digitalSourceType"), str):
                    found[kind] = None
    return list(found)


def _program(manifest: dict[str, Any]) -> str:
    info = manifest.get("claim_generator_info") or [{}]
    name = info[0].get("name") or manifest.get("claim_generator") or ""
    return plain(f"{name} {info[0].get('version') or ''}")


def _reason(store: dict[str, Any]) -> str:
    codes = _failures(store.get("validation_results"))
    code = next((code for code in codes if code in _REASONS), codes[0] if codes else "")
    return _REASONS.get(code) or f"it fails the check ({plain(code, _NAME) or 'no reason is given'})"


def _failures(results: dict[str, Any] | None) -> list[str]:
    """Returns all failure codes in a check's ``results``, except the code for an unknown signer."""
    parts = [(results or {}).get("activeManifest") or {}]
    parts += [delta["validationDeltas"] for delta in (results or {}).get("ingredientDeltas") or []]
    codes = [failure["code"] for part in parts for failure in part.get("failure", [])]
    return [code for code in codes if code != _UNTRUSTED]
