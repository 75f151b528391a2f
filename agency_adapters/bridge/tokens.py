"""Access tokens for a cluster that takes OAUTHBEARER (RFC 7628), fetched by client credentials (RFC 6749 section 4.4).

The client shows a secret (HTTP Basic, section 2.3.1) or an assertion signed by a key (RFC 7523). Both are read from
their file with each fetch, so that a rotation needs no restart; nothing of them is ever told.
"""

import secrets
import ssl
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from kafka.net.sasl.oauth import AbstractTokenProvider

from agency_adapters.bridge.config import TokenSource
from agency_adapters.channel import ASSERTION_TYPE, is_loopback
from agency_adapters.clock import Clock, system_clock
from agency_adapters.errors import AgencyError, json_object
from agency_adapters.profile import read_private

TIMEOUT_S = 5.0  # the cluster's sign-in waits for it
LIFE_S = 300  # of a token whose answer says none: RFC 6749 section 5.1 leaves it open
ASSERTION_LIFE_S = 60
_ALGORITHMS: Mapping[type, str] = {RSAKey: "RS256", ECKey: "ES256", OKPKey: "EdDSA"}
_US = 1_000_000


class TokenRefused(AgencyError):
    """The token endpoint gave none, or was not reached. It may, later."""


class Tokens(AbstractTokenProvider):  # type: ignore[misc]  # the library has no types
    """Gives one token until most of its life is over. Safe to share between threads."""

    def __init__(self, source: TokenSource, *, clock: Clock = system_clock) -> None:
        super().__init__()
        self._source, self._clock = source, clock
        self._lock = threading.Lock()
        self._token, self._renew_at_us = "", 0

    def token(self) -> str:
        """Return the token at hand, or fetch one. Raises `TokenRefused`."""
        with self._lock:
            if self._clock() >= self._renew_at_us:
                self._token, life_s = self._fetch()
                self._renew_at_us = self._clock() + int(life_s * 0.8 * _US)
            return self._token

    def _fetch(self) -> tuple[str, float]:
        source, host = self._source, urlsplit(self._source.url).hostname or ""
        try:
            verify = ssl.create_default_context(cafile=source.ca_file)
            with httpx.Client(verify=verify, timeout=TIMEOUT_S, trust_env=not is_loopback(host)) as http:
                response = http.post(source.url, data=self._form(), auth=self._basic() or httpx.USE_CLIENT_DEFAULT)
        except (OSError, httpx.HTTPError) as error:
            remedy = "Check security.token.url, its ca_file and that it runs."
            raise TokenRefused(f"no answer from the token endpoint at {host}", remedy=remedy) from error
        body = json_object(response)
        token, life_s = body.get("access_token"), body.get("expires_in", LIFE_S)
        if response.status_code != httpx.codes.OK or not isinstance(token, str) or not isinstance(life_s, int):
            said = body.get("error")
            code = said if isinstance(said, str) and said.isidentifier() else "no access token"
            remedy = "Check security.token: client_id, its secret_file or key_file, and scope."
            what = f"the token endpoint at {host} refused client {source.client_id}"
            raise TokenRefused(f"{what}: {response.status_code} {code}", remedy=remedy)
        return token, life_s

    def _form(self) -> dict[str, str]:
        source = self._source
        form = {"grant_type": "client_credentials"} | ({"scope": source.scope} if source.scope else {})
        if source.key_file is not None:
            form |= {"client_id": source.client_id, "client_assertion_type": ASSERTION_TYPE}
            form["client_assertion"] = self._assertion()
        return form

    def _basic(self) -> tuple[str, str] | None:
        if self._source.secret_file is None:
            return None
        secret = read_private(self._source.secret_file, remedy="Write the client's secret there.").decode().strip()
        return quote(self._source.client_id, safe=""), quote(secret, safe="")

    def _assertion(self) -> str:
        assert self._source.key_file is not None  # the caller has asked
        key = _key(read_private(self._source.key_file, remedy="Write the client's private key there, as PEM."))
        now_s = self._clock() // _US
        claims: dict[str, Any] = {
            "iss": self._source.client_id,
            "sub": self._source.client_id,
            "aud": self._source.url,
            "jti": secrets.token_urlsafe(16),
            "iat": now_s,
            "exp": now_s + ASSERTION_LIFE_S,
        }
        algorithm = _ALGORITHMS[type(key)]
        header = {"alg": algorithm, "kid": key.thumbprint(), "typ": "JWT"}
        return jwt.encode(header, claims, key, algorithms=[algorithm])


def _key(pem: bytes) -> RSAKey | ECKey | OKPKey:
    for kind in (OKPKey, ECKey, RSAKey):
        try:
            return kind.import_key(pem)
        except (ValueError, TypeError, JoseError):  # another kind, or no key at all
            continue
    raise AgencyError("security.token.key_file holds no private key", remedy="Write it there as PEM: RSA, EC, Ed25519.")
