"""An agency's agreements: read them, check by oneself what would be signed, sign it as an officer.

The hub is not taken at its word: the signed bytes are written anew from the terms that are shown, and the hashes of
the datasets' documents are worked out from these documents.
"""

import base64
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from joserfc.jwk import OKPKey

from agency_adapters.channel import Ask, Channel
from agency_adapters.errors import AgencyError, json_object, objects
from agency_adapters.keys import ALGORITHM, key_from_pem, public_jwk

TYPE = "agreement-signature+jws"
FORM = 1  # of the terms; another one says more than this version can show
_OTHERS = 0o077


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms as checked here. `payload` is what is signed, `digest` its SHA-256 in hexadecimal."""

    document: Mapping[str, Any]
    datasets: Mapping[str, Mapping[str, Any]]
    payload: bytes
    digest: str


def agreements(channel: Channel) -> tuple[Mapping[str, Any], ...]:
    """Return the agency's agreements: phase, who signed, what is proposed, who keeps one suspended."""
    return tuple(objects(json_object(channel.send(Ask("GET", "/v1/agreements"))), "agreements"))


def agreement(channel: Channel, code: str) -> Mapping[str, Any]:
    """Return one agreement with its terms. Raises `HubProblem` (404) where it is not the agency's."""
    return json_object(channel.send(Ask("GET", f"/v1/agreements/{quote(code, safe='')}")))


def send_signature(channel: Channel, code: str, jws: str) -> Mapping[str, Any]:
    """Give the hub an officer's signature; returns the side it counts for and the agreement's phase."""
    return _post(channel, code, "signatures", json.dumps({"jws": jws}).encode())


def suspend(channel: Channel, code: str) -> Mapping[str, Any]:
    """Stop all releases under an agreement: once this has returned, no hand-out under it commits any more."""
    return _post(channel, code, "suspend")


def resume(channel: Channel, code: str) -> Mapping[str, Any]:
    """Take the agency's own suspension back."""
    return _post(channel, code, "resume")


def end(channel: Channel, code: str) -> Mapping[str, Any]:
    """End an agreement for good."""
    return _post(channel, code, "end")


def _post(channel: Channel, code: str, act: str, body: bytes = b"{}") -> Mapping[str, Any]:
    path = f"/v1/agreements/{quote(code, safe='')}/{act}"
    return json_object(channel.send(Ask("POST", path, body=body, repeatable=False)))


def checked_terms(view: Mapping[str, Any], code: str, agency: str) -> Terms:
    """Take the terms that are open (proposed, else approved) out of the hub's answer, and check all of it here.

    Raises `AgencyError` where the digest is not of these terms, a dataset is not the one they name, or they are of
    another agreement or of other parties.
    """
    documents = view.get("documents")
    documents = documents if isinstance(documents, dict) else {}
    found = documents.get("proposed") or documents.get("approved") or {}
    try:
        terms, datasets = found["terms"], found["datasets"]
        payload = canonical(terms)
        about = terms["agreement"]
        parties, named = (about["provider"], about["recipient"]), terms["datasets"]
        same = {name: hashlib.sha256(canonical(datasets[name])).hexdigest() for name in named}
        right = about["code"] == code and agency in parties and terms["form"] == FORM
        told = {name: one["sha256"] for name, one in named.items()}
        granted = set(about["ceiling"]) == set(named)
    except (KeyError, TypeError, AttributeError) as error:
        raise _not_to_be_signed("the hub's answer does not hold an agreement's terms") from error
    digest = hashlib.sha256(payload).hexdigest()
    if digest != found.get("digest"):
        raise _not_to_be_signed("the digest that the hub names is not the one of the terms that it shows")
    if same != told or not granted:
        raise _not_to_be_signed("a dataset that the hub shows is not the one that the terms name")
    if not right:
        raise _not_to_be_signed("the terms are of another agreement, of other parties or of a newer form")
    return Terms(terms, datasets, payload, digest)


def described(terms: Terms) -> Iterator[str]:
    """Say in words, from the terms themselves, what a signature would agree to; each line is one on any terminal."""
    return map(visible, _described(terms))


def visible(line: str) -> str:
    """Write a line of somebody else's words so that all of it shows: one line, nothing that moves or hides text."""
    indent = " " * (len(line) - len(line.lstrip(" ")))
    return indent + "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in " ".join(line.split()))


def _described(terms: Terms) -> Iterator[str]:
    about = terms.document["agreement"]
    yield f"{about['code']} v{about['version']}: {about['provider']} gives, {about['recipient']} receives"
    for name, granted in sorted(about["ceiling"].items()):
        document = terms.datasets[name]
        there = [one["name"] for one in [*document["fields"], *document["derived"]]]
        yield f"  of {name} v{document['version']}: {', '.join(granted)}"
        yield f"    never: {', '.join(one for one in there if one not in granted) or '-'}"
    for code, purpose in sorted(terms.document["purposes"].items()):
        law = f" ({purpose['law']})" if purpose["law"] else ""
        yield f"  for {code} v{purpose['version']}, basis {purpose['basis']}{law}: {purpose['benefit'].get('en', '')}"
        yield f"    never for: {', '.join(purpose['not_used_for'].get('en', ())) or '-'}"
        yield f"    kept {purpose['retention_days']} days at the most"
    yield f"  under {about['law'] or '-'}"
    yield f"  valid from {_day(about['valid_from_us'])} until {_day(about['valid_until_us'])}"
    yield f"  look-back {about['look_back_days']} days, reviewed on {about['review_on']}"
    yield f"  digest {terms.digest}"


def sign(terms: Terms, key: OKPKey) -> str:
    """Sign terms: a detached JWS (RFC 7515 appendix F), its payload left out."""
    header = _encoded(json.dumps({"alg": ALGORITHM, "kid": key.thumbprint(), "typ": TYPE}).encode())
    signed = f"{header}.{_encoded(terms.payload)}".encode()
    return f"{header}..{_encoded(key.private_key.sign(signed))}"  # type: ignore[union-attr]  # key_from_pem lets nothing but Ed25519 in


def new_officer_key(path: Path, key: OKPKey) -> Mapping[str, Any]:
    """Write an officer's private key, for their eyes only, and return the public half. Never replaces a file."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.as_pem(private=True))
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise AgencyError(f"{path} is there already", remedy="A key is never replaced: name another file.") from error
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise AgencyError(f"{path} cannot be written: {why}", remedy="Name a file in a directory of yours.") from error
    return public_jwk(key)


def read_officer_key(path: Path) -> OKPKey:
    """Read an officer's private key. Raises `AgencyError` where it is open to others, or none."""
    try:
        if os.name == "posix" and path.stat().st_mode & _OTHERS:
            raise AgencyError(f"others can read {path}", remedy="Make a new key; this one may have been copied.")
        pem = path.read_bytes()
    except OSError as error:
        why = error.strerror or type(error).__name__
        remedy = "Make one with `hub-agency officer new FILE`, and have it registered at the hub."
        raise AgencyError(f"{path} cannot be read: {why}", remedy=remedy) from error
    return key_from_pem(pem)


def canonical(value: Any) -> bytes:
    """Write JSON in its canonical form (RFC 8785), for all that terms hold."""
    return _canonical(value).encode()


def _canonical(value: Any) -> str:
    if isinstance(value, Mapping):
        members = sorted(value.items(), key=lambda member: member[0].encode("utf-16-be"))
        return "{" + ",".join(f"{_canonical(name)}:{_canonical(one)}" for name, one in members) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_canonical(one) for one in value) + "]"
    if isinstance(value, float):
        value = int(value) if value.is_integer() and abs(value) < 1e21 else value
        if "e" in repr(value):  # where Python and ECMAScript write a number in two ways
            raise _not_to_be_signed("a number in the terms has no form that is written here")
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _encoded(plain: bytes) -> str:
    return base64.urlsafe_b64encode(plain).rstrip(b"=").decode()


def _day(instant_us: int) -> str:
    return datetime.fromtimestamp(instant_us / 1_000_000, UTC).date().isoformat()


def _not_to_be_signed(what: str) -> AgencyError:
    return AgencyError(what, remedy="Sign nothing; ask the hub's operator, and update hub-agency.")
