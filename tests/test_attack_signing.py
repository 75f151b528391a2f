"""Attacks on who signed: keys under which anybody signs, one key for two sides, words that hide what is signed."""

import base64
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OKPKey

from agency_adapters import agreements as theirs
from agency_adapters.errors import HubProblem
from hub.core.agreement_page import as_html, as_text
from hub.core.errors import HubError
from hub.exchange import officers
from hub.identity.agency_keys import agency_key
from hub.identity.officers import officer_row, read_detached, signs
from hub.store.signatures import OfficerRow, add_officer
from tests.signing_world import CODE, PROVIDER, RECIPIENT, Signing
from tests.world import town

P = 2**255 - 19
ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
SIGN = 1 << 255


def jwk_of(number: int) -> dict[str, Any]:
    return {"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": _text(number.to_bytes(32, "little"))}


def _text(plain: bytes) -> str:
    return base64.urlsafe_b64encode(plain).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "number",
    [0, 1, SIGN, SIGN | 1, P - 1, SIGN | (P - 1), P, P + 1, SIGN | P, ORDER_8, SIGN | ORDER_8, P - ORDER_8,
     SIGN | (P - ORDER_8)],
)  # fmt: skip
def test_a_key_under_which_anybody_can_sign_is_refused(number: int) -> None:
    """The points of small order (RFC 8032 5.1.7 lets them verify), in every text that is read as one of them."""
    with pytest.raises(HubError) as refused:
        agency_key(jwk_of(number), from_us=0, until_us=1)
    assert refused.value.code == "key-refused"


HEADER = _text(b'{"alg":"Ed25519","kid":"a","typ":"agreement-signature+jws"}')
FORGED = f"{HEADER}..{_text((1).to_bytes(32, 'little') + bytes(32))}"  # needs no secret, and is over anything


def officer(agency: str = PROVIDER) -> OfficerRow:
    jwk = OKPKey.generate_key("Ed25519").as_dict(private=False) | {"kid": "a"}
    return officer_row(agency, jwk, name="A", office="B", now_us=0)


def test_such_a_key_would_have_signed_whatever_was_asked() -> None:
    """Why it is refused: the library that the hub trusts says yes to it, so the hub has to say no itself."""
    weak, forged = officer()._replace(jwk=json.dumps(jwk_of(1))), read_detached(FORGED)
    public = OKPKey.import_key(json.loads(weak.jwk)).public_key
    public.verify(forged.signature, f"{HEADER}.{_text(b'any terms at all')}".encode())  # type: ignore[union-attr]  # an Ed25519 key
    assert not signs(forged, b"any terms at all", weak)
    assert not signs(forged, b"any terms at all", officer())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Signing]:
    with town(tmp_path) as one:
        yield Signing(one, officers.invented_keys(tmp_path))


def test_what_is_signed_under_such_a_key_from_before_it_was_refused_does_not_count(place: Signing) -> None:
    """The row is there, for keys are kept as they were registered: the signature is refused, and says what to do."""
    place.proposed()
    weak = officer()._replace(jwk=json.dumps(jwk_of(1)))
    place.town.hub.store.write(lambda tx: add_officer(tx, weak))
    before = place.rows()
    with pytest.raises(HubProblem) as refused:
        theirs.send_signature(place.town.agency(PROVIDER).channel, CODE, FORGED)
    assert refused.value.problem.code == "officer-key-weak"
    assert "hub-agency officer new" in refused.value.problem.remedy
    assert place.rows() == before


@pytest.mark.parametrize(("agency", "kid"), [(RECIPIENT, ""), (PROVIDER, "another")], ids=["other side", "other kid"])
def test_no_key_is_an_officers_twice(place: Signing, agency: str, kid: str) -> None:
    """Or the signature of one side, which the other can read, would be sent in as the other's own."""
    before, key = place.rows(), place.keys[PROVIDER]
    jwk = {**key.as_dict(private=False), "kid": kid or key.thumbprint()}
    with pytest.raises(HubError) as refused:
        officers.add(place.town.hub.agreements, agency, jwk, name="Ada Example", office="Registrar")
    assert refused.value.code == "officer-key-shared"
    assert place.rows() == before


HIDING = (
    "Act 5\x1b[1A\x1b[2K\rof nothing",  # a terminal goes up a line and clears it
    "Act 5\x9b1A\x9b2K",  # the same in one byte (ECMA-48 8.3.16)
    "Act 5 \u202esesoprup lla\u202c",  # read from right to left
    "Act 5\n  valid from 2020-01-01 until 2020-01-02",  # a line that says something else
    "Act 5\u2028\u200b\u2066",
)


@pytest.mark.parametrize("law", HIDING, ids=range(len(HIDING)))
def test_nothing_in_the_terms_hides_from_who_signs_them(place: Signing, law: str) -> None:
    """Neither at the officer's own machine, where the hub is not taken at its word, nor on the page that is printed."""
    place.proposed(law=law)
    view = place.view(PROVIDER)
    lines = list(theirs.described(theirs.checked_terms(view, CODE, PROVIDER)))
    plain = list(theirs.described(theirs.checked_terms(with_law(view), CODE, PROVIDER)))
    assert all(line.isprintable() for line in lines)
    assert len(lines) == len(plain)
    for page in (as_text(view, "proposed"), as_html(view, "proposed")):
        assert all(line.isprintable() for line in page.splitlines())
    assert "2020-01-01 until" not in "".join(line for line in lines if line.lstrip().startswith("valid"))


def with_law(view: Any) -> Any:
    """Return the view of the same terms with a law of one plain word."""
    terms = {**view["documents"]["proposed"]["terms"]}
    terms["agreement"] = {**terms["agreement"], "law": "Act"}
    payload = theirs.canonical(terms)
    told = {**view["documents"]["proposed"], "terms": terms, "digest": sha256(payload).hexdigest()}
    return {**view, "documents": {"proposed": told}}
