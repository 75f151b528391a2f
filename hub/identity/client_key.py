"""How the hub shows a provider who it is without a shared secret: `private_key_jwt` (RFC 7523)."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import orjson
from joserfc import jwk, jws
from joserfc.errors import JoseError

from hub.core.errors import HubError, Kind
from hub.identity.id_tokens import CLOSED_SET

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LIFE_S = 60
S = 1_000_000
BY_CURVE: Mapping[str, str] = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}


class ClientKey(NamedTuple):
    """A private key and the algorithm that goes with its kind; RSA signs with PS256."""

    key: jwk.Key
    algorithm: str

    def sign_in(self, body: str, *, client_id: str, url: str, now_us: int) -> str:
        """Add a fresh assertion for the token endpoint `url` to a form's body. Good for `LIFE_S`, once."""
        now_s = now_us // S
        claims = {
            "iss": client_id, "sub": client_id, "aud": url, "iat": now_s, "exp": now_s + LIFE_S,
            "jti": secrets.token_urlsafe(16),
        }  # fmt: skip
        header = {"alg": self.algorithm, "typ": "JWT", "kid": self.key.kid or self.key.thumbprint()}
        assertion = jws.serialize_compact(header, orjson.dumps(claims), self.key, registry=CLOSED_SET)
        form = {"client_id": client_id, "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
        return f"{body}&{urlencode(form)}"


def read_client_key(path: Path) -> ClientKey:
    """Read a private key, as JWK or PEM. Raises HubError(STARTUP): it is none, or of a kind that signs nothing here."""
    try:
        content = path.read_bytes()
        key = _of_jwk(orjson.loads(content)) if content.lstrip().startswith(b"{") else _of_pem(content)
        curve = str(key.as_dict().get("crv", ""))
        algorithm = "PS256" if key.key_type == "RSA" else BY_CURVE[curve]
        if not key.is_private:
            raise ValueError("public")
    except (OSError, ValueError, KeyError, TypeError, JoseError) as cause:
        raise HubError(
            Kind.STARTUP,
            "the key that the hub signs in to the provider with cannot be used",
            where="sign_in_key_file",
            remedy="Name a private EC (P-256, P-384, P-521), Ed25519 or RSA key, as JWK or PEM, mode 0600.",
            code="sign-in-key-file",
        ) from cause
    return ClientKey(key, algorithm)


def _of_jwk(said: dict[str, str | list[str]]) -> jwk.Key:
    if said.get("kty") not in ("EC", "RSA", "OKP"):
        raise ValueError("no key of a pair")
    return jwk.import_key(said)


def _of_pem(content: bytes) -> jwk.Key:
    """Find out which kind of key this is: joserfc wants to be told."""
    for kind in (jwk.ECKey, jwk.RSAKey, jwk.OKPKey):
        try:
            return kind.import_key(content)
        except (ValueError, TypeError, JoseError):
            continue
    raise ValueError("no key")
