"""A record as JSON-LD: ISO/IEC TS 27560:2023 in the W3C DPV profile, with what the GDPR wants known (articles 13, 14).

The sections are 27560's: header, processing, parties, events; the guide (see dpv.py) puts the notice into the header
and each "purpose" into a `dpv:Process`, here one per dataset, so that each item stands beside who provides it. An event
is named by its SHA-256 as RFC 6920 writes it (`ni:///sha-256;...`), and `prov:wasInformedBy` names the one before it:
that is the chain. A record that was never given has no notice that was agreed to, so it does not claim to conform.
"""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from itertools import groupby

from consent.canonical import Json
from consent.chain import START, Capacity, Event
from consent.dpv import (
    CONSENT,
    CONTEXT,
    EXPLICIT_CONSENT,
    PROCESSING,
    RECORD,
    RIGHTS,
    status,
)
from consent.particulars import Particulars, Party, rfc3339
from consent.plain import Moment, moments, shown_items
from consent.record import Record
from consent.states import ENDS, State
from consent.terms import Item

Node = dict[str, Json]


def jsonld(record: Record, events: Sequence[Event], beside: Particulars) -> Node:
    """Show a record as its events left it: what time alone has ended is said once its event is written.

    Raises `ConsentError(CHAIN)`.
    """
    address = f"{beside.withdrawal}/{record.id}"
    node: Node = {
        "@context": dict(CONTEXT),
        "@id": address,
        "@type": "dpv:ConsentRecord",
        "dct:identifier": record.id,
        "dpv:hasIdentifier": record.id,
        "dct:created": rfc3339(events[0].said.at_us),
        "dct:modified": rfc3339(record.at_us),
        "dct:publisher": beside.issuer,
        "dct:provenance": {
            "@type": "dct:ProvenanceStatement",
            "dct:identifier": digest_uri(record.head),
            "dct:description": "SHA-256 over the RFC 8785 form of the latest event, which names the one before it",
            "dct:extent": record.events,
        },
        "dpv:hasDataSubject": {
            "@id": _subject(beside),
            "@type": "dpv:DataSubject",
            "dct:identifier": beside.subject,
        },
        "dpv:hasProcess": [_process(dataset, items, record, beside) for dataset, items in _by_dataset(record)],
        "dpv:hasEntity": _entities(record, beside),
        "dpv:hasConsentStatus": [_event(one, beside) for one in moments(events)],
    }
    if record.notice is not None:
        node["dct:conformsTo"] = RECORD
        node["dpv:hasNotice"] = _notice(record, beside)
    if record.continues:
        node["dct:replaces"] = f"{beside.withdrawal}/{record.continues}"
    if record.successor:
        node["dct:isReplacedBy"] = f"{beside.withdrawal}/{record.successor}"
    return node


def digest_uri(sha256: bytes) -> str:
    """Name something by its SHA-256 (RFC 6920 section 3)."""
    return f"ni:///sha-256;{urlsafe_b64encode(sha256).rstrip(b'=').decode()}"


def _subject(beside: Particulars) -> str:
    return f"urn:person:{beside.subject}"


def _agency(code: str) -> str:
    return f"urn:agency:{code}"


def _notice(record: Record, beside: Particulars) -> Node:
    assert record.notice is not None  # the caller looked
    return {
        "@id": digest_uri(record.notice.sha256),
        "@type": "dpv:ConsentNotice",
        "dct:identifier": record.notice.sha256.hex(),
        "dct:language": record.notice.language,
        "dct:hasVersion": str(record.notice.version),
        "dct:publisher": beside.issuer,
    }


def _by_dataset(record: Record) -> list[tuple[str, list[Item]]]:
    items = shown_items(record)
    return [(dataset, list(some)) for dataset, some in groupby(items, key=lambda item: item.dataset)]


def _process(dataset: str, items: list[Item], record: Record, beside: Particulars) -> Node:
    """One purpose over the items of one dataset: 27560 6.3.4, 6.3.5."""
    terms = record.terms
    special = any(beside.field(item.pair).special for item in items)
    return {
        "@type": "dpv:Process",
        "dct:title": _text(beside.dataset(dataset), beside),
        "dpv:hasPurpose": {
            "@id": f"urn:purpose:{terms.purpose}",
            "@type": "dpv:Purpose",
            "dct:identifier": terms.purpose,
            "dct:title": _text(beside.purpose, beside),
            "dct:description": _text(beside.benefit or beside.purpose, beside),
        },
        "dpv:hasLegalBasis": [CONSENT, EXPLICIT_CONSENT] if special else [CONSENT],
        "dpv:hasPersonalData": [_data(item, beside) for item in items],
        "dpv:hasProcessing": [*PROCESSING],
        "dpv:hasDataController": _agency(terms.recipient),
        "dpv:hasRecipient": _agency(terms.recipient),
        "dpv:hasDataSource": [_source(code, beside) for code in sorted({item.provider for item in items})],
        "dpv:hasStorageCondition": [
            {"@type": "dpv:StorageLocation", "dpv:hasLocation": _place(beside)},
            {"@type": "dpv:StorageDuration", "dpv:hasDuration": _period(beside.retention_days)},
        ],
        "dpv:hasJurisdiction": _place(beside),
        "dpv:hasConsentControl": {"@type": "dpv:WithdrawConsent", "dpv:isExercisedAt": beside.withdrawal},
        "dpv:hasRight": [_right(iri, beside) for iri in RIGHTS],
        "dpv:hasAuthority": _agency(beside.authority.code),
    }


def _source(provider: str, beside: Particulars) -> Node:
    return {
        "@id": _agency(provider),
        "@type": "dpv:ThirdPartyDataSource",
        "dct:title": _text(beside.party(provider).name, beside),
    }


def _right(iri: str, beside: Particulars) -> Node:
    node: Node = {"@type": ["dpv:DataSubjectRight", iri], "dct:title": {"@value": RIGHTS[iri], "@language": "en"}}
    if iri == "eu-gdpr:A77":
        return {**node, "dct:description": _text(beside.authority.contact, beside)}
    return {**node, "dpv:isExercisedAt": beside.withdrawal}


def _data(item: Item, beside: Particulars) -> Node:
    field = beside.field(item.pair)
    kind = "dpv:PersonalData"
    if field.special:
        kind = "dpv:SpecialCategoryPersonalData"
    elif field.sensitive:
        kind = "dpv:SensitivePersonalData"
    return {
        "@type": kind,
        "dct:identifier": f"{item.dataset}/{item.field}",
        "dct:title": _text(field.title, beside),
        "dpv:hasNecessity": "dpv:Required" if item.required else "dpv:Optional",
    }


def _entities(record: Record, beside: Particulars) -> list[Json]:
    """27560 6.3.6: everybody with a part, but for the data subject, whom nobody needs to reach through a record."""
    providers = sorted({item.provider for item in shown_items(record)} - {record.terms.recipient})
    return [
        _entity(beside.party(record.terms.recipient), ["dpv:DataController", "dpv:Recipient"], beside),
        *(_entity(beside.party(code), ["dpv:DataController"], beside) for code in providers),
        _entity(beside.authority, ["dpv:DataProtectionAuthority"], beside),
    ]


def _entity(party: Party, roles: list[str], beside: Particulars) -> Node:
    return {
        "@id": _agency(party.code),
        "@type": ["dpv:GovernmentalOrganisation", *roles],
        "dpv:hasIdentifier": party.code,
        "dpv:hasName": _text(party.name, beside),
        "dpv:hasContact": party.contact or beside.issuer,
        "dpv:hasAddress": party.address or beside.issuer,
        "schema:contactPoint": {"@type": "schema:ContactPoint", "schema:description": party.contact or beside.issuer},
        "schema:address": {"@type": "schema:PostalAddress", "schema:streetAddress": party.address or beside.issuer},
    }


def _event(one: Moment, beside: Particulars) -> Node:
    """27560 6.3.7. For what is brought about by time or an operator the recipient answers, as the controller."""
    said, record = one.said, one.record
    method = f"signed in at assurance {said.by.acr}" if said.by.session else said.by.capacity.value
    node: Node = {
        "@id": digest_uri(one.event.hash),
        "@type": status(said.action, record.state, continues=bool(record.continues)),
        "dct:type": said.action,
        "dpv:hasLegalBasis": CONSENT,
        "dpv:isIndicatedAtTime": rfc3339(said.at_us),
        "dpv:isIndicatedBy": _by(said.by.capacity, record, beside),
        "dpv:hasIndicationMethod": method,
        "dpv:hasDuration": _lasts(record),
    }
    if said.prev != START:
        node["prov:wasInformedBy"] = digest_uri(said.prev)
    return node


def _by(capacity: Capacity, record: Record, beside: Particulars) -> Node:
    if capacity is Capacity.SELF:
        return {"@id": _subject(beside)}
    if capacity is Capacity.GUARDIAN:
        return {"@type": "dpv:GuardianOfDataSubject"}
    return {"@id": _agency(record.terms.recipient)}


def _lasts(record: Record) -> Node:
    """Say how long what the event left behind lasts: until a moment, or, after an end, for ever."""
    if record.state in ENDS:
        return {"@type": "dpv:EndlessDuration"}
    until_us = record.deadline_us if record.state is State.REQUESTED else record.until_us
    moment: Node = {"@type": "xsd:dateTime", "@value": rfc3339(until_us)}
    return {"@type": "dpv:UntilTimeDuration", "rdf:value": moment}


def _period(days: int) -> Node:
    period: Node = {"@type": "xsd:duration", "@value": f"P{days}D"}
    return {"@type": "dpv:TemporalDuration", "rdf:value": period}


def _place(beside: Particulars) -> str:
    return f"loc:{beside.jurisdiction}"


def _text(text: str, beside: Particulars) -> Node:
    return {"@value": text, "@language": beside.language}
