"""Attacks on who signed: keys under which anybody signs, one key for two sides, words that hide what is signed."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OKPKey

from hub.core.errors import HubError
from hub.exchange import officers
from hub.identity.agency_keys import agency_key
from hub.identity.officers import officer_row, read_detached, signs
from tests.signing_world import PROVIDER, RECIPIENT, Signing
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


def test_such_a_key_would_have_signed_whatever_was_asked() -> None:
    """Why it is refused: a signature that needs no secret, over anything, by the library that the hub trusts."""
    row = officer_row("tax", OKPKey.generate_key("Ed25519").as_dict(private=False) | {"kid": "a"}, name="A", office="B",
                      now_us=0)  # fmt: skip
    weak = row._replace(jwk=json.dumps(jwk_of(1)))
    header = _text(b'{"alg":"Ed25519","kid":"a","typ":"agreement-signature+jws"}')
    forged = read_detached(f"{header}..{_text((1).to_bytes(32, 'little') + bytes(32))}")
    assert signs(forged, b"any terms at all", weak)
    assert not signs(forged, b"any terms at all", row)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Signing]:
    with town(tmp_path) as one:
        yield Signing(one, officers.invented_keys(tmp_path))


@pytest.mark.parametrize(("agency", "kid"), [(RECIPIENT, ""), (PROVIDER, "another")], ids=["other side", "other kid"])
def test_no_key_is_an_officers_twice(place: Signing, agency: str, kid: str) -> None:
    """Or the signature of one side, which the other can read, would be sent in as the other's own."""
    before, key = place.rows(), place.keys[PROVIDER]
    jwk = {**key.as_dict(private=False), "kid": kid or key.thumbprint()}
    with pytest.raises(HubError) as refused:
        officers.add(place.town.hub.agreements, agency, jwk, name="Ada Example", office="Registrar")
    assert refused.value.code == "officer-key-shared"
    assert place.rows() == before
