"""What an export says beside the record itself: names, contacts, titles and places. All of it is the caller's.

A record holds codes and no words, and nothing of who the parties are; ISO/IEC TS 27560:2023 6.3.6 and GDPR articles 13
and 14 want both said. No value here is about the person but `subject`, an opaque name that means nothing elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from consent.terms import Pair

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody with a part in it (27560 6.3.6). Where contact or address is not known the text is empty."""

    code: str
    name: str
    contact: str = ""  # whom to turn to, as a text for people
    address: str = ""  # postal


@dataclass(frozen=True, slots=True)
class Field:
    """One item in words. `special`: GDPR article 9; `sensitive`: classified so by the dataset."""

    title: str
    special: bool = False
    sensitive: bool = False


@dataclass(frozen=True, slots=True)
class Particulars:
    """Everything an export in one language needs to know beside the record."""

    issuer: str  # address of the hub, without a slash at the end
    subject: str
    language: str  # BCP 47, of every title here
    purpose: str  # its title
    benefit: str
    not_used_for: tuple[str, ...]
    retention_days: int  # how long the recipient keeps what it got
    jurisdiction: str  # ISO 3166-1 alpha-2, or EU: where it is stored and whose law it is
    parties: Mapping[str, Party]  # by code: the recipient and every provider
    authority: Party  # whom to complain to
    datasets: Mapping[str, str] = field(default_factory=dict)  # titles by name
    fields: Mapping[Pair, Field] = field(default_factory=dict)

    @property
    def withdrawal(self) -> str:
        """Return the address under which the person withdraws and does the rest."""
        return f"{self.issuer}/v1/me/consents"

    def party(self, code: str) -> Party:
        """Return a party; one that nobody knows any more is called by its code."""
        return self.parties.get(code) or Party(code, code)

    def field(self, pair: Pair) -> Field:
        return self.fields.get(pair) or Field(pair[1])

    def dataset(self, name: str) -> str:
        return self.datasets.get(name, name)


def rfc3339(time_us: int) -> str:
    """Return an instant (UTC microseconds) as RFC 3339 has it, in UTC and to the microsecond."""
    return f"{EPOCH + timedelta(microseconds=time_us):%Y-%m-%dT%H:%M:%S.%fZ}"
