"""The policy as a policy server fetches it: an OPA bundle, signed, the same bytes for the same policy and catalogue.

A tar.gz of the `.rego` sources, `data.json` (see `data_of`), `.manifest` with the revision, and `.signatures.json`
with one JWT over the digest of each. The form is OPA's own (its pages "Bundles" and "Signing"): documents are digested
as compact JSON with sorted keys, everything else as the bytes that it is.
"""

import gzip
import io
import json
import tarfile
from hashlib import sha256
from typing import Any

from hub.core.agreement import Catalogue
from hub.identity.bundle_key import ALGORITHM, BundleKey, sign
from hub.policy.compiled import Compiled
from hub.policy.papers import data_of, revision_of
from hub.ports import Bundle

ROOTS = ("catalogue", "hub", "must_deny", "revision")  # all that this bundle owns; `system` stays the server's own
REGO_VERSION = 1
GZIP_LEVEL = 6


def signed_bundle(compiled: Compiled, catalogue: Catalogue, key: BundleKey) -> Bundle:
    """Make the bundle of this policy over this catalogue."""
    revision = revision_of(compiled, catalogue)
    documents: dict[str, Any] = {
        ".manifest": {"revision": revision, "roots": ROOTS, "rego_version": REGO_VERSION},
        "data.json": data_of(compiled, catalogue),
    }
    files = {name: canonical(document) for name, document in documents.items()} | compiled.rego
    listed = [
        {"name": name, "hash": sha256(content).hexdigest(), "algorithm": "SHA-256"}
        for name, content in sorted(files.items())
    ]
    token = sign(key, {"files": listed, "keyid": key.kid})
    files[".signatures.json"] = canonical({"signatures": [token]})
    return Bundle(revision, key.kid, ALGORITHM, key.pem, _packed(files))


def canonical(document: Any) -> bytes:
    """Write JSON as OPA digests it: no spaces, sorted keys, UTF-8; Go alone escapes the two line separators."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode()


def _packed(files: dict[str, bytes]) -> bytes:
    """Pack without times, owners and modes of this machine, in the order of names."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=packed, mtime=0) as compressed,
        tarfile.open(mode="w", fileobj=compressed, format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(f"/{name}")
            member.size, member.mode = len(content), 0o600
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()
