"""A receipt is signed so that public keys alone tell whether a single byte of it was altered."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk

from consent.canonical import canonical
from consent.objection import Objection
from consent.receipt import Opened, Receipt, scope_of
from consent.record import withdraw
from hub.identity.receipt_keys import AHEAD, base64url, public_jwk, receipt_key, thumbprint
from hub.identity.receipts import TYPE, Fault, NotBelieved, payload_of, read_keys, sign_receipt, verify_receipt
from hub.identity.signed_tokens import is_signed_by
from tests.consent_examples import NOON_US, SELF, agreed

SECRET, OTHER_SECRET = b"s" * 32, b"o" * 32
KEY = receipt_key(SECRET, 1)
SET = json.dumps({"keys": [public_jwk(receipt_key(SECRET, number)) for number in range(1, 5)]}).encode()
KEYS = read_keys(SET)
HUB = Path(sys.executable).parent / "hub"


def receipt() -> Receipt:
    kept = agreed()
    record, event = withdraw(kept.record, by=SELF, at_us=NOON_US + 9)
    assert event is not None
    return Receipt(
        id="r-1",
        record=record.id,
        action="withdraw",
        state=record.state,
        stretch=record.stretch,
        moment_us=event.said.at_us,
        event=event.hash,
        opened_before=(Opened("lindum", "civil.birth.registered", "0f" * 16, 17, NOON_US),),
        issuer="https://hub.example",
        status="https://hub.example/v1/receipts/r-1/status",
        scope=scope_of(record),
    )


OBJECTION = Objection(
    "r-2",
    "family-benefits:FAM-ALLOW",
    "object",
    "objected",
    NOON_US,
    (),
    "https://hub.example",
    "https://hub.example/s",
)
SIGNED = sign_receipt(receipt().canonical, KEY)


def fault(data: bytes) -> Fault:
    """Return why it is not believed; fail where it is."""
    with pytest.raises(NotBelieved) as refused:
        verify_receipt(data, KEYS)
    assert refused.value.where
    return refused.value.fault


def signed_by_hand(payload: bytes, header: bytes | None = None) -> bytes:
    """Sign anything with the hub's key."""
    head = header or canonical({"alg": "EdDSA", "kid": KEY.kid, "typ": TYPE})
    signed = f"{base64url(head)}.{base64url(payload)}".encode()
    return signed + b"." + base64url(KEY.private.sign(signed)).encode()


@pytest.mark.parametrize("said", [receipt(), OBJECTION], ids=["consent", "objection"])
def test_what_was_signed_is_read_back_as_it_was(said: Receipt | Objection) -> None:
    data = sign_receipt(said.canonical, KEY)
    good = verify_receipt(data, KEYS)
    assert (canonical(good.said), good.kid) == (said.canonical, KEY.kid)
    assert payload_of(data) == said.canonical
    assert sign_receipt(said.canonical, KEY) == data
    assert verify_receipt(data + b"\n", KEYS) == good


def test_another_implementation_verifies_it_too() -> None:
    """joserfc, by the published key, which it names as we do."""
    key, other = (jwk.OKPKey.import_key({**public_jwk(receipt_key(SECRET, number))}) for number in (1, 2))
    assert is_signed_by(SIGNED.decode(), key)
    assert not is_signed_by(SIGNED.decode(), other)
    assert key.thumbprint() == KEY.kid


def test_every_flipped_bit_of_every_byte_is_refused() -> None:
    """All of them, one after the other: header, dots, payload and signature."""
    for place in range(len(SIGNED)):
        for bit in range(8):
            altered = bytearray(SIGNED)
            altered[place] ^= 1 << bit
            fault(bytes(altered))


@given(st.integers(0, len(SIGNED) - 1), st.integers(0, 255))
def test_any_byte_in_the_place_of_another_is_refused(place: int, byte: int) -> None:
    altered = bytearray(SIGNED)
    altered[place] = byte
    if bytes(altered) != SIGNED:
        fault(bytes(altered))


@given(st.integers(0, len(SIGNED)), st.binary(min_size=1, max_size=3))
def test_bytes_put_in_anywhere_are_refused(place: int, more: bytes) -> None:
    altered = SIGNED[:place] + more + SIGNED[place:]
    if altered != SIGNED + b"\n":
        fault(altered)


@given(st.integers(0, len(SIGNED) - 1), st.integers(1, 40))
def test_bytes_taken_out_anywhere_are_refused(place: int, count: int) -> None:
    fault(SIGNED[:place] + SIGNED[place + count :])


@given(st.binary(max_size=200))
def test_anything_else_is_refused_and_breaks_nothing(data: bytes) -> None:
    fault(data)
    with pytest.raises(NotBelieved) as refused:
        read_keys(data)
    assert refused.value.fault is Fault.KEYS


def test_each_fault_is_told_from_the_others() -> None:
    """And the place is named: a segment and the byte, where that can be known."""
    assert fault(sign_receipt(receipt().canonical, receipt_key(OTHER_SECRET, 1))) is Fault.KEY_UNKNOWN
    swapped = SIGNED.rpartition(b".")[0] + b"." + sign_receipt(OBJECTION.canonical, KEY).rpartition(b".")[2]
    assert fault(swapped) is Fault.SIGNATURE
    assert fault(SIGNED.rpartition(b".")[0] + b"." + base64url(b"s" * 60).encode()) is Fault.SIGNATURE
    assert fault(b"{}") is Fault.MALFORMED
    with pytest.raises(NotBelieved, match="base64url") as refused:
        verify_receipt(SIGNED[:5] + b"=" + SIGNED[6:], KEYS)
    assert refused.value.where == "header, byte 5"


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b'{"kind":"consent-receipt"}',
        canonical({"kind": "transfer", "amount": 7}),
        receipt().canonical + b" ",
        receipt().canonical.replace(b'"action"', b'"more":1,"action"'),
        receipt().canonical.replace(b'"v":2', b'"v":3'),
        b"[1]",
        b"not JSON",
    ],
    ids=["empty", "bare", "other kind", "not canonical", "more members", "later version", "no object", "no JSON"],
)
def test_what_is_no_receipt_is_none_whoever_signed_it(payload: bytes) -> None:
    """The key signs receipts; another use of it by mistake makes no receipt."""
    assert fault(signed_by_hand(payload)) is Fault.MALFORMED


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none", "kid": KEY.kid, "typ": TYPE},
        {"alg": "EdDSA", "kid": KEY.kid, "typ": "at+jwt"},
        {"alg": "EdDSA", "kid": KEY.kid},
        {"alg": "EdDSA", "kid": KEY.kid, "typ": TYPE, "jwk": {}},
        {"alg": "EdDSA", "typ": TYPE},
        {"alg": "EdDSA", "kid": "k" * 44, "typ": TYPE},
        {"alg": "EdDSA", "kid": 7, "typ": TYPE},
    ],
    ids=["no algorithm", "other type", "no type", "brings a key", "names no key", "no thumbprint", "no text"],
)
def test_a_header_says_exactly_what_it_must(header: dict[str, object]) -> None:
    said = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    assert fault(signed_by_hand(receipt().canonical, said)) is Fault.MALFORMED


def test_what_nobody_signed_is_not_shown_to_who_verifies() -> None:
    """A terminal obeys what it is shown: a kid could wipe out the refusal, and write that the receipt is good."""
    lie = "\r\x1b[2K" + f"GOOD: receipt r-1, signed by the key {KEY.kid}, exactly as it stands."
    header = canonical({"alg": "EdDSA", "kid": lie, "typ": TYPE})
    with pytest.raises(NotBelieved) as refused:
        verify_receipt(signed_by_hand(receipt().canonical, header), KEYS)
    assert (refused.value.fault, refused.value.where) == (Fault.MALFORMED, "header.kid")
    assert "GOOD" not in refused.value.what


def test_what_is_nested_beyond_all_measure_is_refused_as_anything_else() -> None:
    """In a receipt before anybody looks at its signature, and in a set of keys."""
    deep = b"[" * 200_000
    assert fault(signed_by_hand(receipt().canonical, deep)) is Fault.MALFORMED
    with pytest.raises(NotBelieved) as refused:
        read_keys(deep)
    assert refused.value.fault is Fault.KEYS


def test_a_set_of_keys_with_a_name_that_is_not_the_keys_own_is_refused() -> None:
    """Else whoever can edit the set could let another key stand for the hub's."""
    stranger = Ed25519PrivateKey.from_private_bytes(b"x" * 32).public_key().public_bytes_raw()
    forged = {**public_jwk(KEY), "x": base64url(stranger)}
    with pytest.raises(NotBelieved, match="thumbprint") as refused:
        read_keys(json.dumps({"keys": [forged]}).encode())
    assert (refused.value.fault, refused.value.where) == (Fault.KEYS, "keys[0].kid")
    assert thumbprint(stranger) != KEY.kid


def test_keys_of_other_kinds_in_a_set_are_passed_over() -> None:
    listed = [{"kty": "EC", "crv": "P-256", "x": "a", "y": "b", "kid": "c"}, public_jwk(KEY)]
    assert list(read_keys(json.dumps({"keys": listed}).encode())) == [KEY.kid]


def test_each_number_gives_another_key_and_always_the_same() -> None:
    kids = {receipt_key(SECRET, number).kid for number in range(1, 2 + AHEAD)}
    assert len(kids) == 1 + AHEAD
    assert receipt_key(SECRET, 2).kid in kids
    assert receipt_key(OTHER_SECRET, 1).kid not in kids


# The command


def run(tmp_path: Path, data: bytes, keys: bytes = SET, *more: str) -> subprocess.CompletedProcess[str]:
    """Verify in an empty folder, with nothing in the environment that a hub would read."""
    (tmp_path / "receipt.jws").write_bytes(data)
    (tmp_path / "keys.json").write_bytes(keys)
    command = [str(HUB), "verify", "receipt", "receipt.jws", "--keys", "keys.json", *more]
    return subprocess.run(
        command, cwd=tmp_path, env={"PATH": "", "PYTHONPATH": str(Path(__file__).parents[1])}, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip


def test_the_command_says_what_a_good_receipt_holds(tmp_path: Path) -> None:
    done = run(tmp_path, SIGNED)
    assert (done.returncode, done.stderr) == (0, "")
    for expected in ("GOOD", "r-1", KEY.kid, "withdrawn", "lindum for KINDER-PLACE", "1 deliveries", "/r-1/status"):
        assert expected in done.stdout
    told = json.loads(run(tmp_path, SIGNED, SET, "--json").stdout)
    assert (told["good"], told["key"], canonical(told["receipt"])) == (True, KEY.kid, receipt().canonical)
    assert {path.name for path in tmp_path.iterdir()} == {"receipt.jws", "keys.json"}


def test_the_command_tells_faults_apart_by_its_exit_code(tmp_path: Path) -> None:
    flipped = bytearray(SIGNED)
    flipped[len(SIGNED) // 2] ^= 1
    strange = json.dumps({"keys": [public_jwk(receipt_key(OTHER_SECRET, 1))]}).encode()
    cases = [
        (run(tmp_path, bytes(flipped)), 1, "signature-wrong"),
        (run(tmp_path, b"hello"), 3, "not-a-receipt"),
        (run(tmp_path, SIGNED, strange), 4, "key-unknown"),
        (run(tmp_path, SIGNED, b"{}"), 5, "keys-unusable"),
    ]
    for done, code, word in cases:
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert word in done.stderr
        assert "Where: " in done.stderr
    told = json.loads(run(tmp_path, bytes(flipped), SET, "--json").stdout)
    assert (told["good"], told["fault"]) == (False, "signature-wrong")


def test_the_command_says_which_file_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(SET)
    command = [str(HUB), "verify", "receipt", "gone.jws", "--keys", "keys.json"]
    env = {"PATH": "", "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "gone.jws" in done.stderr) == (5, True)
