"""Webhook messages hold what Standard Webhooks asks for, by vectors of others and by the published library.

The published Python library (standardwebhooks 1.1.0) knows the symmetric `v1` only and passes `v1a` over. So it judges
our headers, our timestamps and the text that is signed; the Ed25519 signature itself is judged by RFC 8032's vector,
by the specification's own example of the header, and by a verification written again here.
"""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError

from agency_adapters.errors import AgencyError
from agency_adapters.results import Delivery
from agency_adapters.seen import Seen
from agency_adapters.webhook import Receiver, WebhookRefused, public_key, receive, verify
from hub.clock import system_clock
from hub.identity.keys import Wrapping
from hub.identity.webhook_keys import FOR_EVER_US, Signer, new_webhook_key, shown, signed_headers, signer

NOW_US = 1_800_000_000_000_000
WRAPPING = Wrapping(b"w" * 32)
BODY = b'{"id":"ab","kind":"data","number":1,"type":"t"}'
ID = "ab" * 16


def a_signer(seed: bytes | None = None, *, until_us: int = FOR_EVER_US) -> Signer:
    private = Ed25519PrivateKey.from_private_bytes(seed) if seed else Ed25519PrivateKey.generate()
    return Signer("kid", private.public_key().public_bytes_raw(), private, 0, until_us)


def headers_of(*signers: Signer, body: bytes = BODY, now_us: int = NOW_US, message: str = ID) -> dict[str, str]:
    return dict(signed_headers(signers, message, body, now_us=now_us))


def test_the_signature_is_ed25519_over_id_timestamp_and_body() -> None:
    """Checked with nothing of ours: the text put together by hand, the key taken from what agencies are shown."""
    one = a_signer()
    headers = headers_of(one)
    version, _, text = headers["webhook-signature"].partition(",")
    assert (version, headers["webhook-id"], headers["webhook-timestamp"]) == ("v1a", ID, "1800000000")
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(shown(one.public).removeprefix("whpk_")))
    public.verify(base64.b64decode(text), ID.encode() + b".1800000000." + BODY)


def test_keys_are_those_of_rfc_8032() -> None:
    """Section 7.1, test 1: this seed has this public key, and signs the empty text so."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    one = a_signer(seed)
    assert one.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert shown(one.public) == "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    signature = (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )
    assert one.private.sign(b"").hex() == signature


def test_the_published_library_takes_our_message_once_it_is_signed_its_way_too() -> None:
    """Its signature over its own reading of our id, time and body fits beside ours, in one header."""
    secret = Webhook("whsec_" + base64.b64encode(b"s" * 32).decode())
    now_us = system_clock()  # it has a clock of its own
    ours = a_signer()
    headers = headers_of(ours, now_us=now_us)
    moment = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    theirs = secret.sign(headers["webhook-id"], moment, BODY.decode())
    both = {**headers, "webhook-signature": f"{headers['webhook-signature']} {theirs}"}
    assert secret.verify(BODY, both)["kind"] == "data"
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        secret.verify(BODY, headers)  # `v1a` alone: it knows none of it, and says so
    with pytest.raises(WebhookVerificationError):
        secret.verify(BODY + b" ", both)
    verify(both, BODY, [shown(ours.public)], now_us=now_us)


def test_the_specifications_example_of_a_header_is_read() -> None:
    """Two versions, separated by a space: the one that is not `v1a` is passed over, the other is tried."""
    header = (
        "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4= "
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
    )
    one = a_signer()
    headers = {"webhook-id": "msg", "webhook-timestamp": "1800000000", "webhook-signature": header}
    with pytest.raises(WebhookRefused, match="no signature"):
        verify(headers, BODY, [shown(one.public)], now_us=NOW_US)
    ours = headers_of(one, message="msg")["webhook-signature"]
    verify({**headers, "webhook-signature": f"{header} {ours}"}, BODY, [shown(one.public)], now_us=NOW_US)


SPOILT: dict[str, dict[str, str]] = {
    "another id": {"webhook-id": "cd" * 16},
    "another time": {"webhook-timestamp": "1800000001"},
    "no id": {"webhook-id": ""},
    "no time": {"webhook-timestamp": ""},
    "no signature": {"webhook-signature": ""},
    "time in words": {"webhook-timestamp": "now"},
    "negative time": {"webhook-timestamp": "-1800000000"},
    "digits of another script": {"webhook-timestamp": "١٨٠٠٠٠٠٠٠٠"},
    "not base64": {"webhook-signature": "v1a,!!!!"},
    "short": {"webhook-signature": "v1a,AAAA"},
    "another version": {"webhook-signature": "v1," + base64.b64encode(bytes(64)).decode()},
    "zeros": {"webhook-signature": "v1a," + base64.b64encode(bytes(64)).decode()},
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_message_that_was_altered_in_any_part_is_refused(how: str) -> None:
    """Each part is under the signature."""
    one = a_signer()
    with pytest.raises(WebhookRefused):
        verify({**headers_of(one), **SPOILT[how]}, BODY, [shown(one.public)], now_us=NOW_US)


def test_a_body_that_was_altered_or_a_key_of_somebody_else_is_refused() -> None:
    """One byte suffices; and without any key nothing passes."""
    one, other = a_signer(), a_signer()
    for body, keys in ((BODY + b" ", [one]), (BODY, [other]), (BODY, [])):
        with pytest.raises(WebhookRefused):
            verify(headers_of(one), body, [shown(each.public) for each in keys], now_us=NOW_US)
    verify(headers_of(one), BODY, [shown(other.public), shown(one.public)], now_us=NOW_US)


def test_a_message_is_good_for_five_minutes_before_and_after() -> None:
    """Beyond, it is a replay or a clock that is off."""
    one = a_signer()
    for off_s, good in ((-300, True), (300, True), (-301, False), (301, False)):
        now_us = NOW_US + off_s * 1_000_000
        if good:
            verify(headers_of(one), BODY, [shown(one.public)], now_us=now_us)
        else:
            with pytest.raises(WebhookRefused, match="off"):
                verify(headers_of(one), BODY, [shown(one.public)], now_us=now_us)


def test_only_keys_whose_time_it_is_sign() -> None:
    """One that is over signs nothing any more."""
    over, now = a_signer(until_us=NOW_US), a_signer()
    assert headers_of(now, over)["webhook-signature"].count("v1a,") == 1
    verify(headers_of(now, over), BODY, [shown(now.public)], now_us=NOW_US)


def test_a_key_that_was_moved_to_another_agency_or_altered_does_not_open() -> None:
    """Its seal names whose it is."""
    row = new_webhook_key(WRAPPING, "tax", now_us=NOW_US)
    assert signer(WRAPPING, row).public == row.public
    for moved in (row._replace(agency="lindum"), row._replace(sealed=row.sealed[:-1] + b"x")):
        with pytest.raises(InvalidTag):
            signer(WRAPPING, moved)


def test_what_is_no_public_key_is_told(tmp_path: Path) -> None:
    """Not with a library's words."""
    for text in ("whpk_", "whpk_AAAA", "x", "whpk_!!"):
        with pytest.raises(AgencyError):
            public_key(text)


# The receiver.


class Box:
    """What a receiver handed on, and which keys it was told."""

    def __init__(self, directory: Path, *known: Signer) -> None:
        self.handled: list[Delivery] = []
        self.fail: Exception | None = None
        self.known, self.anew, self.asked = [shown(one.public) for one in known], list[str](), 0
        self.receiver = Receiver(self.keys, Seen(directory / "seen"), self.handle, clock=lambda: NOW_US)

    def keys(self, anew: bool) -> list[str]:
        if anew:
            self.asked += 1
            self.known += self.anew
        return self.known

    def handle(self, delivery: Delivery) -> None:
        if self.fail is not None:
            raise self.fail
        self.handled.append(delivery)

    def take(self, one: Signer, document: str, *, message: str = ID) -> tuple[int, bytes]:
        body = document.encode()
        reply = receive(self.receiver, headers_of(one, body=body, message=message), body)
        return reply.status, reply.body


def delivery(**changed: Any) -> str:
    return json.dumps({"id": ID, "kind": "data", "number": 1, "type": "t", "data": {}} | changed)


def test_a_delivery_is_handled_once_and_taken_each_time_it_comes(tmp_path: Path) -> None:
    """A repeat is answered as the first was: the hub did not hear that."""
    one = a_signer()
    box = Box(tmp_path, one)
    assert [box.take(one, delivery())[0] for _ in range(3)] == [200, 200, 200]
    assert [each.id for each in box.handled] == [ID]


def test_what_the_handler_did_not_do_is_not_taken_and_comes_again(tmp_path: Path) -> None:
    """Its exception is the server's to answer 500 with; nothing is remembered as handled."""
    one = a_signer()
    box = Box(tmp_path, one)
    box.fail = OSError("disk full")
    with pytest.raises(OSError, match="disk full"):
        box.take(one, delivery())
    box.fail = None
    assert box.take(one, delivery())[0] == 200
    assert len(box.handled) == 1


def test_a_challenge_is_repeated_only_where_the_hub_signed_it(tmp_path: Path) -> None:
    """Or anybody could prove this endpoint as theirs."""
    one, stranger = a_signer(), a_signer()
    box = Box(tmp_path, one)
    document = '{"id": "x", "type": "hub.webhook.verification", "data": {"challenge": "c-1"}}'
    assert box.take(one, document) == (200, b'{"challenge": "c-1"}')
    assert box.take(stranger, document)[0] == 401
    assert box.handled == []


def test_a_key_that_is_not_known_yet_is_asked_for_and_a_strangers_message_stays_refused(tmp_path: Path) -> None:
    """The hub rotated: once more with what it says now."""
    old, new, stranger = a_signer(), a_signer(), a_signer()
    box = Box(tmp_path, old)
    box.anew = [shown(new.public)]
    assert box.take(old, delivery())[0] == 200
    assert box.asked == 0
    assert box.take(new, delivery(id="cd" * 16), message="cd" * 16)[0] == 200
    assert (box.asked, len(box.handled)) == (1, 2)
    assert box.take(stranger, delivery())[0] == 401


def test_a_kind_that_this_version_does_not_know_is_not_taken(tmp_path: Path) -> None:
    """It comes again, to a newer one; a notice may be taken unread."""
    one = a_signer()
    box = Box(tmp_path, one)
    assert box.take(one, delivery(kind="reprieve"))[0] == 501
    assert box.take(one, delivery(kind="notice"))[0] == 200
    assert [each.kind for each in box.handled] == ["notice"]


@pytest.mark.parametrize(
    "document", ["[]", "null", "{", '"x"', "{}", '{"id": 7}', '{"type": "hub.webhook.verification"}']
)
def test_what_is_no_delivery_is_refused_even_where_it_is_signed(tmp_path: Path, document: str) -> None:
    """With an answer, not with a fault of the server."""
    one = a_signer()
    box = Box(tmp_path, one)
    assert box.take(one, document)[0] == 400
    assert box.handled == []


def test_a_message_whose_id_is_not_its_deliverys_is_refused(tmp_path: Path) -> None:
    """The id is what repeats are told by: it is said twice, and both are under the signature."""
    one = a_signer()
    box = Box(tmp_path, one)
    assert box.take(one, delivery(), message="cd" * 16)[0] == 400
