"""Believe an ID token, or say what is wrong with it (OpenID Connect Core 1.0, section 3.1.3.7), by joserfc and Authlib.

The algorithms are a closed set of signatures with public keys: no `none`, and no HMAC, whatever the provider's metadata
or the token says. A header that brings or points to a key of its own is not looked at: keys are those of the provider.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from authlib.oidc.core import CodeIDToken
from joserfc import jwk, jws, jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError, UnsupportedAlgorithmError

from hub.core.errors import HubError, Kind
from hub.identity.assertions import CLOCK_SKEW_S
from hub.identity.signed_tokens import TOKEN_CHARS

ALGORITHMS = ("ES256", "PS256", "RS256", "EdDSA", "Ed25519", "ES384", "ES512", "PS384", "PS512", "RS384", "RS512")
S = 1_000_000


class ClosedSet(jws.JWSRegistry):
    """joserfc's registry, cut down to `ALGORITHMS`. Other headers than ours are common, and harmless unread."""

    def get_alg(self, name: str) -> Any:
        """Return the algorithm. Never warns: which of these a provider takes is not the hub's to choose."""
        if name not in ALGORITHMS:
            raise UnsupportedAlgorithmError()
        return self.algorithms[name]


CLOSED_SET = ClosedSet(strict_check_header=False)


class KeyUnknownError(Exception):
    """The token names a key that the provider's set did not have when it was read last."""


def keys_in(said: object) -> dict[str, jwk.Key]:
    """Read a JWK set (RFC 7517 section 5) by `kid`; what is of no use for signatures is left out."""
    listed = said.get("keys") if isinstance(said, Mapping) else None
    found: dict[str, jwk.Key] = {}
    for one in listed if isinstance(listed, Sequence) and not isinstance(listed, str) else ():
        if not isinstance(one, Mapping) or one.get("use", "sig") != "sig" or one.get("kty") not in ("EC", "RSA", "OKP"):
            continue
        try:
            key = jwk.import_key(dict(one))
        except (JoseError, ValueError, TypeError):
            continue  # of a kind that this version does not know
        found[str(one.get("kid", ""))] = key
    return found


def check_id_token(
    text: str,
    keys: Mapping[str, jwk.Key],
    *,
    issuer: str,
    client_id: str,
    nonce: str,
    access_token: str,
    now_us: int,
) -> Mapping[str, Any]:
    """Return the claims of a token that this provider made for this hub and this very sign-in.

    Raises KeyUnknownError; HubError(UNAUTHENTICATED, "id-token-refused") naming the claim, and none of its values.
    """
    if len(text) > TOKEN_CHARS:
        raise refused("it is too long")
    try:
        header = jws.extract_compact(text.encode(), registry=CLOSED_SET).headers()
        if header.get("alg") not in ALGORITHMS:
            raise refused("its algorithm is not a signature that the hub takes")
        token = jwt.decode(text, _key(keys, header), registry=CLOSED_SET)
        options = {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": client_id}}
        params = {"nonce": nonce, "client_id": client_id, "access_token": access_token}
        CodeIDToken(token.claims, token.header, options, params).validate(now=now_us // S, leeway=CLOCK_SKEW_S)
    except (MissingClaimError, InvalidClaimError) as error:
        raise refused(f"its {_claim(error)} is missing, or not what it has to be") from error
    except ExpiredTokenError as error:
        raise refused("it has expired") from error
    except (JoseError, ValueError) as error:
        raise refused("it is not signed by the provider") from error
    claims: Mapping[str, Any] = token.claims
    if not isinstance(claims["sub"], str) or not claims["sub"]:
        raise refused("its sub is empty")
    return claims


def _key(keys: Mapping[str, jwk.Key], header: Mapping[str, Any]) -> jwk.Key:
    """Choose by `kid`; a token without one is checked with the only key there is (section 10.1)."""
    kid = header.get("kid")
    if kid is None and len(keys) == 1:
        return next(iter(keys.values()))
    if not isinstance(kid, str) or kid not in keys:
        raise KeyUnknownError
    return keys[kid]


def _claim(error: MissingClaimError | InvalidClaimError) -> str:
    known = ("iss", "sub", "aud", "exp", "iat", "nbf", "nonce", "azp", "at_hash", "acr", "auth_time", "amr")
    return next((name for name in known if error.claim == name), "claims")


def refused(why: str) -> HubError:
    return HubError(
        Kind.UNAUTHENTICATED,
        f"What the provider answered is no proof of who you are: {why}. Nobody was signed in.",
        remedy="Sign in again; if it happens again, tell the hub's operator.",
        code="id-token-refused",
    )
