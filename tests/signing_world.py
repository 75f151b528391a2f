"""What tests of signed agreements share: a running hub, its invented officers, and agreements that somebody changed."""

from dataclasses import dataclass
from typing import Any

import httpx
import orjson
from joserfc.jwk import OKPKey

from agency_adapters import agreements as theirs
from hub.core.agreement import Catalogue
from hub.core.catalogue import from_document, to_document
from hub.exchange import officers
from hub.exchange.agreements import propose
from hub.identity.officers import sign_detached
from hub.store.facts import read_rules, rules_of
from tests.world import Town, birth

SMALLER: dict[str, Any] = {"ceiling": {"civil.birth.registered": ["child_id", "dob"]}}
CODE, NUMBER, PROVIDER, RECIPIENT, STRANGER = "AGR-1", 1, "civil-registry", "family-benefits", "tax"


def changed(catalogue: Catalogue, **members: Any) -> Catalogue:
    """Return the catalogue with a new version of the agreement."""
    document = to_document(catalogue)
    one = document["agreements"][CODE]
    document["agreements"][CODE] = one | {"version": one["version"] + 1} | members
    return from_document(document)


@dataclass(frozen=True)
class Signing:
    """A town, its officers' private keys, and the doors by which they sign."""

    town: Town
    keys: dict[str, OKPKey]

    def proposed(self, **members: Any) -> Catalogue:
        """Open a new version of the agreement for signature; returns the catalogue with it."""
        catalogue = changed(self.town.hub.approved(), **members)
        propose(self.town.hub.agreements, catalogue, [CODE])
        return catalogue

    def view(self, agency: str) -> Any:
        return theirs.agreement(self.town.agency(agency).channel, CODE)

    def payload(self, which: str = "proposed") -> bytes:
        return theirs.canonical(self.view(PROVIDER)["documents"][which]["terms"])

    def jws(self, agency: str, payload: bytes = b"") -> str:
        """Sign as the agency's officer, the open terms where nothing else is given."""
        key = self.keys[agency]
        return sign_detached(payload or self.payload(), key, kid=key.thumbprint())

    def sign(self, agency: str) -> Any:
        """Sign as an officer does, with the agency's own tool."""
        channel = self.town.agency(agency).channel
        terms = theirs.checked_terms(theirs.agreement(channel, CODE), CODE, agency)
        return theirs.send_signature(channel, CODE, theirs.sign(terms, self.keys[agency]))

    def post(self, agency: str, act: str, body: Any = None, *, code: str = CODE) -> httpx.Response:
        token = self.town.hub.agency_tokens.issue(agency, "").token
        headers = {"authorization": f"Bearer {token}"}
        return httpx.post(f"{self.town.url}/v1/agreements/{code}/{act}", json=body, headers=headers)

    def phase(self, agency: str = PROVIDER) -> str:
        return str(self.view(agency)["phase"])

    def register(self, agency: str, key: OKPKey) -> str:
        """Register another officer of an agency."""
        jwk = {**key.as_dict(private=False), "kid": key.thumbprint()}
        done = officers.add(self.town.hub.agreements, agency, jwk, name="Ada Example", office="Registrar")
        return str(done["kid"])

    def epoch(self, kind: int, subject: int) -> int:
        with self.town.hub.store.read() as tx:
            return rules_of(read_rules(tx)).epochs.get((kind, subject), 0)

    def received(self, number: str) -> list[set[str]]:
        """Publish one birth and return the fields of what the recipient got."""
        token = self.town.agency(PROVIDER).publish([birth(number, dob="2026-02-01")]).accepted[0].token
        assert self.town.decided(token) == "handled"
        found = self.town.pull(RECIPIENT)
        self.town.agency(RECIPIENT).acknowledge(found)
        return [set(one.document["data"]) for one in found]

    def rows(self) -> tuple[Any, ...]:
        """Read all that an act about agreements may change, and how many audit rows there are."""
        with self.town.hub.store.read() as tx:
            tables = ("agreement_signature", "agreement_state", "agreement_suspension", "officer_key")
            rows = [tx.rows(f"SELECT * FROM {table}") for table in tables]
            return (*rows, tx.one("SELECT count(*) FROM audit WHERE kind IN (6, 10)"))

    def last_act(self) -> dict[str, Any]:
        with self.town.hub.store.read() as tx:
            row = tx.one("SELECT detail FROM audit WHERE kind IN (6, 10) ORDER BY id DESC LIMIT 1")
        assert row is not None
        found: dict[str, Any] = orjson.loads(row[0])
        return found
