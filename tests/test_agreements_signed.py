"""Agreements are in force only when officers of both sides have signed exactly these terms."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OKPKey

from agency_adapters import agreements as theirs
from agency_adapters.errors import AgencyError, HubProblem
from hub.app import build
from hub.core.errors import HubError
from hub.engines import shipped_catalogue
from hub.exchange import officers
from hub.exchange.agreements import move, propose, sign
from hub.exchange.officers import invented_keys
from hub.identity.keys import make_key_file
from hub.identity.officers import TYPE, sign_detached
from hub.settings import Settings
from hub.store.facts import AGREEMENT_FENCE
from tests.signing_world import CODE, NUMBER, PROVIDER, RECIPIENT, SMALLER, STRANGER, Signing, changed
from tests.world import agree, link_family, town

pytestmark = pytest.mark.engines


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Signing]:
    with town(tmp_path) as running:
        yield Signing(running, invented_keys(tmp_path))


@pytest.fixture(scope="module")
def asked(engine_set: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signing]:
    """One town for all that is refused, with a proposal that stays open: nothing of it changes anything."""
    directory = tmp_path_factory.mktemp("asked")
    with town(directory) as running:
        one = Signing(running, invented_keys(directory))
        one.proposed()
        yield one


# From proposal to force.


def test_signed_by_both_before_it_is_applied_a_version_is_in_force_at_once(place: Signing) -> None:
    """Until then the version before stays in force; the application itself asks for nothing more."""
    link_family(place.town)
    proposed = place.proposed(**SMALLER)
    assert place.sign(PROVIDER)["phase"] == "proposed"
    assert place.received("1") == [{"child_id", "dob", "parent_ids"}]
    assert place.sign(RECIPIENT) == {
        "code": CODE, "version": 2, "digest": place.view(PROVIDER)["proposed"]["digest"], "side": "recipient",
        "phase": "proposed",
    }  # fmt: skip
    assert place.town.hub.approve(proposed)["unsigned"] == ()
    assert place.phase() == "in_force"
    assert place.received("2") == [{"child_id", "dob"}]


def test_applied_unsigned_nothing_is_released_until_the_second_side_has_signed(place: Signing) -> None:
    """The second signature puts it in force in its own transaction: fence, audit row, and the recipients are woken."""
    link_family(place.town)
    assert place.town.hub.approve(changed(place.town.hub.approved(), **SMALLER))["unsigned"] == (CODE,)
    assert place.phase() == "unsigned"
    assert place.received("1") == []
    before = place.epoch(AGREEMENT_FENCE, NUMBER)
    assert place.sign(RECIPIENT)["phase"] == "unsigned"
    assert place.received("2") == []
    assert place.epoch(AGREEMENT_FENCE, NUMBER) == before
    assert place.sign(PROVIDER)["phase"] == "in_force"
    assert place.epoch(AGREEMENT_FENCE, NUMBER) == before + 1
    assert place.last_act() | {"digest": "", "kid": ""} == {
        "act": "sign", "agency": PROVIDER, "code": CODE, "digest": "", "kid": "", "side": "provider", "to": "in_force",
    }  # fmt: skip
    assert place.received("3") == [{"child_id", "dob"}]


def test_signatures_over_a_proposal_that_was_replaced_put_nothing_in_force(place: Signing) -> None:
    """Both signed the wide one; what is applied is another text under the same version."""
    place.proposed(look_back_days=30)
    place.sign(PROVIDER)
    place.sign(RECIPIENT)
    other = place.proposed(look_back_days=90)
    assert place.view(PROVIDER)["proposed"]["missing"] == ["provider", "recipient"]
    place.town.hub.approve(other)
    assert place.phase() == "unsigned"


def test_each_sides_two_signatures_do_not_make_up_for_the_others(place: Signing) -> None:
    """Two officers of the recipient are still one side."""
    proposed = place.proposed()
    place.sign(RECIPIENT)
    second = OKPKey.generate_key("Ed25519", auto_kid=False)
    place.register(RECIPIENT, second)
    jws = sign_detached(place.payload(), second, kid=second.thumbprint())
    again = place.post(RECIPIENT, "signatures", {"jws": jws})
    assert (again.status_code, again.json()["type"].rpartition("/")[2]) == (409, "signature-there")
    place.town.hub.approve(proposed)
    assert place.phase() == "unsigned"


def test_production_signs_nothing_by_itself(tmp_path: Path) -> None:
    """Nobody is appointed, no key is made, and what is applied waits for its officers."""
    make_key_file(tmp_path / "root.key")
    hub = build(Settings(mode="production", data_dir=tmp_path / "data", key_file=tmp_path / "root.key"))
    try:
        catalogue = shipped_catalogue()
        assert set(hub.approve(catalogue)["unsigned"]) == catalogue.agreements.keys()
        assert officers.listed(hub.agreements) == []
        assert not (tmp_path / "data" / "officers").exists()
        with hub.store.read() as tx:
            assert tx.rows("SELECT DISTINCT phase FROM agreement_state") == [("unsigned",)]
    finally:
        hub.close()


# Signatures that do not count.


def header_of(**changed: Any) -> Callable[[Signing], str]:
    """Make a signature that is good but for its header."""

    def made(place: Signing) -> str:
        key = place.keys[RECIPIENT]
        members = {"alg": "Ed25519", "kid": key.thumbprint(), "typ": TYPE} | changed
        plain = json.dumps({name: value for name, value in members.items() if value is not None}).encode()
        header = base64.urlsafe_b64encode(plain).rstrip(b"=").decode()
        payload = base64.urlsafe_b64encode(place.payload()).rstrip(b"=").decode()
        signature = key.private_key.sign(f"{header}.{payload}".encode())  # type: ignore[union-attr]  # made as Ed25519
        return f"{header}..{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"

    return made


def attached(place: Signing) -> str:
    """Leave the payload in."""
    header, _, signature = place.jws(RECIPIENT).split(".")
    return f"{header}.{base64.urlsafe_b64encode(place.payload()).rstrip(b'=').decode()}.{signature}"


def flipped(place: Signing) -> str:
    jws = place.jws(RECIPIENT)
    return jws[:-20] + ("A" if jws[-20] != "A" else "B") + jws[-19:]


def ended(place: Signing) -> str:
    key = OKPKey.generate_key("Ed25519", auto_kid=False)
    kid = place.register(RECIPIENT, key)
    officers.end(place.town.hub.agreements, RECIPIENT, kid)
    return sign_detached(place.payload(), key, kid=kid)


def unknown_key(place: Signing) -> str:
    key = OKPKey.generate_key("Ed25519", auto_kid=False)
    return sign_detached(place.payload(), key, kid=key.thumbprint())


def other_hand(place: Signing) -> str:
    """Name the officer's kid, and sign with another key."""
    key = OKPKey.generate_key("Ed25519", auto_kid=False)
    return sign_detached(place.payload(), key, kid=place.keys[RECIPIENT].thumbprint())


BAD: list[tuple[str, Callable[[Signing], str], int, str, str]] = [
    ("garbage", lambda _: "garbage", 422, "signature-malformed", "HEADER..SIGNATURE"),
    ("header is no JSON", lambda _: f"AAAA..{'A' * 86}", 422, "signature-malformed", "header"),
    ("payload attached", attached, 422, "signature-malformed", "nothing between the dots"),
    ("alg none", header_of(alg="none"), 422, "signature-algorithm", "Ed25519"),
    ("another alg", header_of(alg="HS256"), 422, "signature-algorithm", "Ed25519"),
    ("made for something else", header_of(typ="JWT"), 422, "signature-malformed", "typ"),
    ("no typ", header_of(typ=None), 422, "signature-malformed", "typ"),
    ("brings a key", header_of(jwk="x"), 422, "signature-malformed", "nothing else"),
    ("altered", flipped, 422, "signature-other-terms", "does not fit"),
    ("by another hand", other_hand, 422, "signature-other-terms", "does not fit"),
    ("unknown key", unknown_key, 403, "officer-unknown", RECIPIENT),
    ("an officer of the other side", lambda place: place.jws(PROVIDER), 403, "officer-unknown", RECIPIENT),
    ("an officer of a third agency", lambda place: place.jws(STRANGER), 403, "officer-unknown", RECIPIENT),
    ("an officer who left", ended, 403, "officer-key-ended", "the key ended on 20"),
    ("bytes of nobody", lambda place: place.jws(RECIPIENT, b"{}"), 422, "signature-other-terms", "does not fit"),
]


@pytest.mark.parametrize(("made", "status", "code", "says"), [one[1:] for one in BAD], ids=[one[0] for one in BAD])
def test_a_signature_that_does_not_count_is_refused_in_words_and_changes_nothing(
    asked: Signing, made: Callable[[Signing], str], status: int, code: str, says: str
) -> None:
    """No row, no phase, no audit row; and the answer repeats nothing of what was sent."""
    jws = made(asked)
    before = asked.rows()
    answer = asked.post(RECIPIENT, "signatures", {"jws": jws})
    body = answer.json()
    assert (answer.status_code, body["type"].rpartition("/")[2]) == (status, code), body
    assert says in body["detail"]
    assert body["remedy"]
    assert jws not in answer.text
    assert asked.rows() == before


def test_a_signature_over_an_older_version_says_which_one_it_is_over(place: Signing) -> None:
    """It was good once; what is open now is another text."""
    old = place.payload("approved")
    agree(place.town.hub, place.proposed(**SMALLER))
    place.proposed(look_back_days=7)
    before = place.rows()
    answer = place.post(RECIPIENT, "signatures", {"jws": place.jws(RECIPIENT, old)})
    assert answer.status_code == 422
    assert "is over other terms: it was made over v1" in answer.json()["detail"]
    assert f"{CODE} v3" in answer.json()["detail"]
    assert place.rows() == before


def test_twice_by_the_same_side_is_refused(place: Signing) -> None:
    """The first one counts, and is the one that is kept."""
    place.proposed()
    place.sign(RECIPIENT)
    before = place.rows()
    with pytest.raises(HubProblem) as refused:
        place.sign(RECIPIENT)
    assert refused.value.problem.code == "signature-there"
    assert place.rows() == before


def test_the_operators_door_takes_either_sides_signature_and_no_third_agencys(place: Signing) -> None:
    """The side is that of the officer's agency, whoever brings it."""
    place.proposed()
    desk = place.town.hub.agreements
    with pytest.raises(HubError) as refused:
        sign(desk, CODE, place.jws(STRANGER))
    assert refused.value.code == "officer-unknown"
    assert [sign(desk, CODE, place.jws(agency)).side for agency in (RECIPIENT, PROVIDER)] == ["recipient", "provider"]


def test_what_an_officer_signed_stays_signed_after_they_left(place: Signing) -> None:
    """The key counted on that day; it is kept for ever, with when it counted."""
    proposed = place.proposed()
    place.sign(PROVIDER)
    place.sign(RECIPIENT)
    kid = place.keys[RECIPIENT].thumbprint()
    officers.end(place.town.hub.agreements, RECIPIENT, kid)
    place.town.hub.approve(proposed)
    assert place.phase() == "in_force"
    (kept,) = [one for one in officers.listed(place.town.hub.agreements) if one["kid"] == kid]
    assert kept["until"]
    jwk = {**place.keys[RECIPIENT].as_dict(private=False), "kid": kid}
    with pytest.raises(HubError) as refused:  # an ended key does not come back by being registered again
        officers.add(place.town.hub.agreements, RECIPIENT, jwk, name="Ada Example", office="Registrar")
    assert refused.value.code == "officer-key-there"


GOOD = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "a"}  # RFC 8037


@pytest.mark.parametrize(
    ("jwk", "name", "code"),
    [
        ({"kty": "EC", "crv": "P-256", "kid": "a"}, "Ada", "key-refused"),
        (GOOD, " ", "officer-unusable"),
        (GOOD | {"d": "AA"}, "Ada", "key-refused"),
    ],
    ids=["not Ed25519", "no name", "with its private part"],
)
def test_an_officers_key_of_any_other_shape_is_refused(
    asked: Signing, jwk: dict[str, Any], name: str, code: str
) -> None:
    """In words, and nothing is registered."""
    before = asked.rows()
    with pytest.raises(HubError) as refused:
        officers.add(asked.town.hub.agreements, PROVIDER, jwk, name=name, office="Registrar")
    assert refused.value.code == code
    assert asked.rows() == before


# Proposals.


def test_a_proposal_that_would_rewrite_what_is_approved_or_revive_what_ended_is_refused(place: Signing) -> None:
    """Raise the version; and an ended agreement stays ended."""
    desk, approved = place.town.hub.agreements, place.town.hub.approved()
    with pytest.raises(HubError) as refused:
        propose(desk, changed(approved, version=1, look_back_days=9), [CODE])
    assert refused.value.code == "version-rewritten"
    with pytest.raises(HubError) as refused:
        propose(desk, approved, ["AGR-99"])
    assert refused.value.code == "agreement-unknown"
    move(desk, CODE, "end")
    with pytest.raises(HubError) as refused:
        propose(desk, changed(approved), [CODE])
    assert refused.value.code == "agreement-phase"


def test_an_officers_tool_signs_nothing_that_the_hub_misstates(place: Signing) -> None:
    """Other terms than the digest says, another schema than the terms name, another agreement, another party."""
    place.proposed()
    view = place.view(RECIPIENT)
    assert theirs.checked_terms(view, CODE, RECIPIENT).digest == view["proposed"]["digest"]

    def misstated(change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        copy: dict[str, Any] = json.loads(json.dumps(view))
        change(copy["documents"]["proposed"])
        return copy

    def more_fields(one: dict[str, Any]) -> None:
        one["terms"]["agreement"]["ceiling"]["civil.birth.registered"].append("hospital")

    def other_schema(one: dict[str, Any]) -> None:
        one["datasets"]["civil.birth.registered"]["schema"]["properties"]["dob"] = {"type": "integer"}

    for bad in (misstated(more_fields), misstated(other_schema), misstated(lambda one: one.pop("terms"))):
        with pytest.raises(AgencyError, match=r"."):
            theirs.checked_terms(bad, CODE, RECIPIENT)
    for code, agency in (("AGR-2", RECIPIENT), (CODE, STRANGER)):
        with pytest.raises(AgencyError, match="another agreement"):
            theirs.checked_terms(view, code, agency)
