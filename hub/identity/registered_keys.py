"""Every agency's registered public keys in memory: signing in goes on while the store is busy or down."""

from collections.abc import Mapping
from threading import Lock
from typing import Any

import orjson

from hub.core.errors import HubError, Kind
from hub.identity.agency_keys import KEYS_PER_AGENCY, PUBLIC_PARTS, AgencyKey, agency_key
from hub.logs import Log
from hub.store.agency_keys import FOR_EVER_US, KeyRow, all_keys, end_key, put_key
from hub.store.engine import Store

STORED_PARTS = sorted(PUBLIC_PARTS | {"kid", "alg", "use"})


class RegisteredKeys:
    """The keys as stored. Replaced whole on every change, so that readers need no lock."""

    def __init__(self, store: Store, log: Log) -> None:
        """Read them. One that is not accepted any more is left out and logged: it opens no door."""
        self._store, self._log, self._loading = store, log, Lock()
        self._by_agency: Mapping[str, tuple[AgencyKey, ...]] = {}
        self.load()

    def of(self, agency: str) -> tuple[AgencyKey, ...]:
        return self._by_agency.get(agency, ())

    def add(self, agency: str, jwk: Mapping[str, Any], *, now_us: int) -> AgencyKey:
        """Register a public key from now on; beyond `KEYS_PER_AGENCY` the oldest go. Raises HubError(INVALID)."""
        key = agency_key(jwk, from_us=now_us, until_us=FOR_EVER_US)
        text = orjson.dumps({name: jwk[name] for name in STORED_PARTS if name in jwk}).decode()
        row = KeyRow(agency, key.kid, text, now_us, FOR_EVER_US)
        self._store.write(lambda tx: put_key(tx, row, most=KEYS_PER_AGENCY))
        self.load()
        self._log.info("agency.key.registered", agency=agency)
        return key

    def end(self, agency: str, kid: str, *, now_us: int) -> None:
        """Let a key sign nobody in from now on: it leaked, or its time is over. Raises HubError(NOT_FOUND)."""
        if not self._store.write(lambda tx: end_key(tx, agency, kid, now_us=now_us)):
            known = ", ".join(key.kid for key in self.of(agency) if now_us < key.until_us)
            raise HubError(
                Kind.NOT_FOUND,
                "the agency has no key of this kid that still counts",
                where="kid",
                remedy=f"Its keys are {known}." if known else "It has no key at all.",
                code="key-unknown",
            )
        self.load()
        self._log.warning("agency.key.ended", agency=agency)

    def load(self) -> None:
        """Read them anew: they were changed, here or in another process."""
        with self._loading:  # so that what was read later is what stays
            found: dict[str, tuple[AgencyKey, ...]] = {}
            for row in all_keys(self._store):
                try:
                    key = agency_key(orjson.loads(row.jwk), from_us=row.from_us, until_us=row.until_us)
                except HubError as refused:
                    self._log.error("agency.key.refused", agency=row.agency, code=refused.code)
                    continue
                found[row.agency] = (*found.get(row.agency, ()), key)
            self._by_agency = found
