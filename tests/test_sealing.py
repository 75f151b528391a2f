"""Payloads sealed to their recipient's own key: HPKE as RFC 9180 has it, held against a computation of its own."""

import base64
import hashlib
import hmac
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from agency_adapters.errors import AgencyError
from agency_adapters.sealing import add_seal_key, new_seal_key, open_sealed, public_seal_jwk, read_seal_keys, seal_path
from hub.core.errors import HubError
from hub.identity.sealing import SealTo, place, read_sealing_key, seal_event
from tests.webhook_world import AGENCY, Post, machine

# RFC 9180 section 4 and 5, written again without the library, for one suite and base mode.
KEM_ID, HPKE_ID = b"KEM" + struct.pack(">H", 0x0020), b"HPKE" + struct.pack(">HHH", 0x0020, 0x0001, 0x0003)


def extract(salt: bytes, label: bytes, given: bytes, suite: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + given, "sha256")


def expand(key: bytes, label: bytes, info: bytes, length: int, suite: bytes) -> bytes:
    told = struct.pack(">H", length) + b"HPKE-v1" + suite + label + info
    return hmac.digest(key, told + b"\x01", "sha256")[:length]  # one block of HKDF: at most 32 bytes are asked for


def opened(enc: bytes, ciphertext: bytes, private: bytes, *, info: bytes, aad: bytes = b"") -> bytes:
    """Open the first message of a context, by the document's own steps."""
    mine = X25519PrivateKey.from_private_bytes(private)
    shared = mine.exchange(X25519PublicKey.from_public_bytes(enc))
    context = enc + mine.public_key().public_bytes_raw()
    secret = expand(extract(b"", b"eae_prk", shared, KEM_ID), b"shared_secret", context, 32, KEM_ID)
    scheduled = b"\x00" + extract(b"", b"psk_id_hash", b"", HPKE_ID) + extract(b"", b"info_hash", info, HPKE_ID)
    root = extract(secret, b"secret", b"", HPKE_ID)
    key = expand(root, b"key", scheduled, 32, HPKE_ID)
    nonce = expand(root, b"base_nonce", scheduled, 12, HPKE_ID)
    return ChaCha20Poly1305(key).decrypt(nonce, ciphertext, aad)


def test_the_computation_here_opens_the_documents_own_vector() -> None:
    """RFC 9180 appendix A.2.1, sequence number 0: what checks the hub is itself checked."""
    found = opened(
        bytes.fromhex("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"),
        bytes.fromhex("1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"),
        bytes.fromhex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb"),
        info=bytes.fromhex("4f6465206f6e2061204772656369616e2055726e"),
        aad=b"Count-0",
    )
    assert found == b"Beauty is truth, truth beauty"


def a_key() -> tuple[Any, SealTo, bytes]:
    key = new_seal_key()
    kid, public = read_sealing_key(public_seal_jwk(key))
    private = base64.urlsafe_b64decode(str(key.as_dict(private=True)["d"]) + "=")
    return key, SealTo(kid, X25519PublicKey.from_public_bytes(public)), private


EVENT = {"id": "ab" * 16, "number": 7, "kind": "data", "subject": "L-1", "data": {"municipality_code": "M-7"}}


def test_what_the_hub_seals_opens_by_the_documents_own_steps_and_holds_data_and_subject() -> None:
    """And nothing of either stays readable outside."""
    _, to, private = a_key()
    sealed = seal_event(to, dict(EVENT), public=bytes.fromhex("ab" * 16), number=7)
    assert sealed.keys() == {"id", "number", "kind", "sealed"}
    enc, ciphertext = (base64.b64decode(sealed["sealed"][name]) for name in ("enc", "ciphertext"))
    plain = opened(enc, ciphertext, private, info=place(bytes.fromhex("ab" * 16), 7))
    assert json.loads(plain) == {"subject": "L-1", "data": {"municipality_code": "M-7"}}


def test_the_client_opens_it_and_only_as_the_delivery_that_it_was_sealed_for() -> None:
    """Another id, another number, another key, an altered byte: nothing opens, and nothing is handled."""
    key, to, _ = a_key()
    sealed = seal_event(to, dict(EVENT), public=bytes.fromhex("ab" * 16), number=7)
    assert dict(open_sealed(sealed, [new_seal_key(), key])) == EVENT
    spoilt = [
        {**sealed, "id": "cd" * 16},
        {**sealed, "number": 8},
        {**sealed, "sealed": {**sealed["sealed"], "ciphertext": base64.b64encode(bytes(60)).decode()}},
        {**sealed, "sealed": {**sealed["sealed"], "enc": base64.b64encode(bytes(32)).decode()}},
        {**sealed, "sealed": {"kid": to.kid}},
        {**sealed, "sealed": "text"},
    ]
    for each in spoilt:
        with pytest.raises(AgencyError):
            open_sealed(each, [key])
    with pytest.raises(AgencyError, match="not here"):
        open_sealed(sealed, [new_seal_key()])


def test_each_delivery_has_an_encapsulation_of_its_own() -> None:
    """The same content twice looks like two."""
    _, to, _ = a_key()
    first, second = (seal_event(to, dict(EVENT), public=bytes(16), number=7)["sealed"] for _ in range(2))
    assert first["enc"] != second["enc"]
    assert first["ciphertext"] != second["ciphertext"]


def test_the_kid_is_the_keys_thumbprint() -> None:
    """RFC 7638: required members only, in order."""
    jwk = public_seal_jwk(new_seal_key())
    text = json.dumps({"crv": jwk["crv"], "kty": jwk["kty"], "x": jwk["x"]}, separators=(",", ":"))
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    assert read_sealing_key(jwk)[0] == jwk["kid"] == digest


ZERO = base64.urlsafe_b64encode(bytes(32)).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "changed",
    [
        {"kty": "EC"}, {"crv": "Ed25519"}, {"x": ""}, {"x": "AAAA"}, {"x": 7}, {"x": ZERO}, {"d": ZERO}, {"other": 1},
        {"x": base64.urlsafe_b64encode(b"\x01" + bytes(31)).rstrip(b"=").decode()},
    ],
    ids=str,
)  # fmt: skip
def test_a_key_that_nothing_should_be_sealed_to_is_refused(changed: dict[str, Any]) -> None:
    """Of another kind, too short, private, or a point of small order, for which everybody knows the secret."""
    with pytest.raises(HubError) as caught:
        read_sealing_key(public_seal_jwk(new_seal_key()) | changed)
    assert caught.value.code == "sealing-key-refused"


# In the hub, on every way out.


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    made = Post(tmp_path / "hub")
    yield made
    made.close()


def seal_to(post: Post, key: Any) -> None:
    post.hub.sealing_keys.put(AGENCY, public_seal_jwk(key), now_us=post.clock(), noted=lambda _tx, _kid: None)


def test_a_pull_and_a_webhook_carry_the_same_sealed_to_the_recipient_and_to_nobody_else(post: Post) -> None:
    """Other recipients of the same event are not touched; after a restart it is the same; ended, it is in the clear."""
    key = new_seal_key()
    seal_to(post, key)
    post.restart()
    post.born("1")
    with machine() as to, machine() as other:
        post.prove(other, "health-insurance")
        post.post("health-insurance")
        assert all("data" in one and "sealed" not in one for one in other.deliveries)
        assert other.deliveries
        (pulled,) = post.pulled()
        assert "data" not in pulled
        assert "subject" not in pulled
        assert "2026-01-31" not in json.dumps(pulled)
        post.prove(to)
        post.clock.pass_by(61)
        post.post()
        (posted,) = to.deliveries
        assert open_sealed(posted, [key]) == open_sealed(pulled, [key])
        assert open_sealed(posted, [key])["subject"] == "FB-C-1"
    post.hub.sealing_keys.end(AGENCY, now_us=post.clock(), noted=lambda _tx: None)
    post.born("2")
    assert post.pulled()[-1]["data"]["dob"] == "2026-01-31"


def test_a_new_key_takes_over_at_once_and_the_former_opens_what_was_sealed_before(post: Post) -> None:
    """What comes again is sealed anew, to the key that counts then."""
    old, new = new_seal_key(), new_seal_key()
    seal_to(post, old)
    post.born("1")
    (first,) = post.pulled()
    seal_to(post, new)
    post.clock.pass_by(61)
    (again,) = post.pulled()
    assert (first["sealed"]["kid"], again["sealed"]["kid"]) == (old.thumbprint(), new.thumbprint())
    assert open_sealed(first, [new, old]) == open_sealed(again, [new, old])


def test_a_profile_keeps_its_former_keys_and_lets_nobody_else_read_them(tmp_path: Path) -> None:
    """The newest first; a file that is open to others is refused."""
    assert read_seal_keys(tmp_path, "lindum") == ()
    first, second = new_seal_key(), new_seal_key()
    add_seal_key(tmp_path, "lindum", first)
    add_seal_key(tmp_path, "lindum", second)
    assert [one.thumbprint() for one in read_seal_keys(tmp_path, "lindum")] == [second.thumbprint(), first.thumbprint()]
    path = seal_path(tmp_path, "lindum")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(AgencyError, match="others can read"):
        read_seal_keys(tmp_path, "lindum")
