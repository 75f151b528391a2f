"""Every agency's registered public keys in memory: signing in goes on while the store is busy or down."""

from collections.abc import Mapping
from typing import Any

import orjson

from hub.core.errors import HubError
from hub.identity.agency_keys import KEYS_PER_AGENCY, PUBLIC_PARTS, AgencyKey, agency_key
from hub.logs import Log
from hub.store.agency_keys import FOR_EVER_US, KeyRow, all_keys, put_key
from hub.store.engine import Store

STORED_PARTS = sorted(PUBLIC_PARTS | {"kid", "alg", "use"})


class RegisteredKeys:
    """The keys as stored. Replaced whole on every change, so that readers need no lock."""

    def __init__(self, store: Store, log: Log) -> None:
        """Read them. One that is not accepted any more is left out and logged: it opens no door."""
        self._store, self._log = store, log
        self._by_agency: Mapping[str, tuple[AgencyKey, ...]] = {}
        self._load()

    def of(self, agency: str) -> tuple[AgencyKey, ...]:
        return self._by_agency.get(agency, ())

    def add(self, agency: str, jwk: Mapping[str, Any], *, now_us: int) -> AgencyKey:
        """Register a public key from now on; beyond `KEYS_PER_AGENCY` the oldest go. Raises HubError(INVALID)."""
        key = agency_key(jwk, from_us=now_us, until_us=FOR_EVER_US)
        text = orjson.dumps({name: jwk[name] for name in STORED_PARTS if name in jwk}).decode()
        row = KeyRow(agency, key.kid, text, now_us, FOR_EVER_US)
        self._store.write(lambda tx: put_key(tx, row, most=KEYS_PER_AGENCY))
        self._load()
        self._log.info("agency.key.registered", agency=agency)
        return key

    def _load(self) -> None:
        found: dict[str, tuple[AgencyKey, ...]] = {}
        for row in all_keys(self._store):
            try:
                key = agency_key(orjson.loads(row.jwk), from_us=row.from_us, until_us=row.until_us)
            except HubError as refused:
                self._log.error("agency.key.refused", agency=row.agency, code=refused.code)
                continue
            found[row.agency] = (*found.get(row.agency, ()), key)
        self._by_agency = found
