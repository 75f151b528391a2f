"""A person's own consent record, with everything said beside it that the catalogue and the settings know."""

from collections.abc import Iterable
from typing import NamedTuple

from consent.chain import Event
from consent.particulars import Field, Particulars, Party
from consent.record import Record
from hub.citizens.desk import CitizenDesk, events_of, key_of, own_consent, record_of
from hub.citizens.offers import Titles, offer_of
from hub.core.agreement import Catalogue
from hub.identity.principal import Principal

AUTHORITY = "supervisory-authority"  # its code in records; no agency has it, for the catalogue knows none


class Setting(NamedTuple):
    """What the operator says: whose law it is, and whom to complain to."""

    jurisdiction: str
    authority: str
    authority_contact: str


class OwnRecord(NamedTuple):
    """What every export is made from."""

    record: Record
    events: list[Event]
    beside: Particulars


def own_record(
    desk: CitizenDesk, principal: Principal, public: str, *, subject: str, language: str, setting: Setting
) -> OwnRecord:
    """Open a record of this person's own. `subject` names the person in it. Raises NotTheirs."""
    with desk.store.read() as tx:
        row = own_consent(tx, public, principal.person)
        key = key_of(desk, principal.person)
        record, events = record_of(tx, key, row), events_of(tx, key, row)
    titles = Titles(desk.catalogue, language)
    return OwnRecord(record, events, _beside(desk, titles, record, subject, setting))


def _beside(desk: CitizenDesk, titles: Titles, record: Record, subject: str, setting: Setting) -> Particulars:
    catalogue, terms = desk.catalogue, record.terms
    offer, purpose = offer_of(titles, terms), catalogue.purposes.get(terms.purpose)
    contact = setting.authority_contact
    return Particulars(
        issuer=desk.issuer,
        subject=subject,
        language=titles.language,
        purpose=offer.purpose_title,
        benefit=offer.benefit,
        not_used_for=offer.not_used_for,
        retention_days=purpose.retention_days if purpose else offer.days,
        jurisdiction=setting.jurisdiction,
        parties=_parties(titles, {terms.recipient, *(item.provider for item in terms.items)}),
        authority=Party(AUTHORITY, setting.authority, contact, contact),
        datasets={item.dataset: titles.dataset(item.dataset) for item in terms.items},
        fields={
            (share.dataset, item.field): Field(
                item.title, item.special, _sensitive(catalogue, share.dataset, item.field)
            )
            for share in offer.shares
            for item in share.items
        },
    )


def _parties(titles: Titles, codes: Iterable[str]) -> dict[str, Party]:
    known = titles.catalogue.agencies
    return {
        code: Party(code, titles.agency(code), known[code].contact, known[code].address)
        if code in known
        else Party(code, code)
        for code in codes
    }


def _sensitive(catalogue: Catalogue, name: str, item: str) -> bool:
    """A derived field is as sensitive as its base; one that nobody knows any more counts as sensitive."""
    dataset = catalogue.datasets.get(name)
    if dataset is None:
        return True
    derived = dataset.derived.get(item)
    field = dataset.fields.get(derived.base if derived else item)
    return field is None or field.classification == "sensitive"
