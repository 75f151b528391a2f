"""The text that a person had before their eyes when saying yes, kept under its hash for as long as the log is."""

from consent.notice import Notice
from consent.terms import Terms
from hub.citizens.desk import CitizenDesk, key_of, own_consent, record_of, terms_of
from hub.citizens.offers import Titles, notice_of, offer_of
from hub.citizens.requests import purpose_asked
from hub.identity.principal import Principal
from hub.store.engine import Tx
from hub.store.interned import intern_id


def notice_of_request(desk: CitizenDesk, principal: Principal, public: str, language: str) -> Notice:
    """Name the words that a request of one's own is shown with. Raises NotTheirs."""
    with desk.store.read() as tx:
        row = own_consent(tx, public, principal.person)
        record = record_of(tx, key_of(desk, principal.person), row)
    return _kept(desk, record.terms, language)


def notice_of_purpose(desk: CitizenDesk, *, recipient: str, purpose: str, language: str) -> Notice:
    """Name the words that a purpose is shown with to somebody who was not asked. Raises HubError as `purpose_asked`."""
    wanted = purpose_asked(desk.catalogue, recipient, purpose)
    return _kept(desk, terms_of(desk.catalogue, recipient, wanted), language)


def _kept(desk: CitizenDesk, terms: Terms, language: str) -> Notice:
    """Keep the text, in a transaction of its own where it is new: it is the catalogue's words, so nobody's data."""
    purpose = desk.catalogue.purposes.get(terms.purpose)
    offer = offer_of(Titles(desk.catalogue, language), terms)
    notice, text = notice_of(offer, version=purpose.version if purpose else 1, language=language)
    with desk.store.read() as tx:
        known = tx.one("SELECT 1 FROM interned WHERE id = ?", (intern_id(text),)) is not None
    if not known:

        def keep(tx: Tx) -> None:
            tx.insert("interned(id, body)", [(intern_id(text), text.decode())], or_ignore=True)

        desk.store.write(keep, group=True)
    return notice
