"""The words of the W3C Data Privacy Vocabulary (DPV 2) that a consent record is said in, and nothing else.

Sources: "Consent Records and Receipts as per ISO/IEC TS 27560:2023 using DPV" (W3C DPVCG, w3id.org/dpv/guides/
consent-27560), whose tables map each field of 27560 and of the GDPR to a term; DPV's modules consent, consent_status,
consent_types, consent_controls; its extension for the GDPR (eu-gdpr), module rights. tests/vectors/dpv_terms.txt
lists every IRI with the place it was taken from, and a test finds no other in an export.
"""

from collections.abc import Mapping
from types import MappingProxyType

from consent.canonical import Json
from consent.states import Action, State

RECORD = "https://w3id.org/dpv/schema/dpv-27560#record-eu-gdpr"  # the guide's profile with what the GDPR asks for

_ID: Mapping[str, Json] = {"@type": "@id"}
_TIME: Mapping[str, Json] = {"@type": "xsd:dateTime"}

# Embedded in every record: whoever reads it needs no network (JSON-LD 1.1, 3.1).
CONTEXT: Mapping[str, Json] = MappingProxyType(
    {
        "dpv": "https://w3id.org/dpv#",
        "eu-gdpr": "https://w3id.org/dpv/legal/eu/gdpr#",
        "loc": "https://w3id.org/dpv/loc#",
        "dct": "http://purl.org/dc/terms/",
        "prov": "http://www.w3.org/ns/prov#",
        "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
        "schema": "https://schema.org/",
        "xsd": "http://www.w3.org/2001/XMLSchema#",
        "dct:conformsTo": _ID,
        "dct:created": _TIME,
        "dct:modified": _TIME,
        "dct:publisher": _ID,
        "dct:replaces": _ID,
        "dct:isReplacedBy": _ID,
        "dpv:hasAuthority": _ID,
        "dpv:hasDataController": _ID,
        "dpv:hasJurisdiction": _ID,
        "dpv:hasLegalBasis": _ID,
        "dpv:hasLocation": _ID,
        "dpv:hasNecessity": _ID,
        "dpv:hasProcessing": _ID,
        "dpv:hasRecipient": _ID,
        "dpv:isExercisedAt": _ID,
        "dpv:isIndicatedAtTime": _TIME,
        "prov:wasInformedBy": _ID,
    }
)

# What a state is called there. DPV has no pause and nothing for a consent that another took over: both are only
# "invalid for processing". A request that nobody answered was neither given nor refused, which DPV calls deferred.
STATES: Mapping[State, str] = MappingProxyType(
    {
        State.REQUESTED: "dpv:ConsentRequested",
        State.GIVEN: "dpv:ConsentGiven",
        State.PAUSED: "dpv:ConsentStatusInvalidForProcessing",
        State.REFUSED: "dpv:ConsentRefused",
        State.LAPSED: "dpv:ConsentRequestDeferred",
        State.RENEWED: "dpv:ConsentStatusInvalidForProcessing",
        State.SUPERSEDED: "dpv:ConsentStatusInvalidForProcessing",
        State.WITHDRAWN: "dpv:ConsentWithdrawn",
        State.EXPIRED: "dpv:ConsentExpired",
        State.TERMINATED: "dpv:ConsentRevoked",  # by somebody else than the person, as DPV's note on the two says
        State.INVALIDATED: "dpv:ConsentInvalidated",
    }
)
RENEWED = "dpv:RenewedConsentGiven"  # a yes that continues an earlier one, or prolongs this one


def status(action: str, state: State, *, continues: bool) -> str:
    """Name what an event left the consent in."""
    again = action == Action.EXTEND or (action == Action.GIVE and continues)
    return RENEWED if again and state is State.GIVEN else STATES[state]


# GDPR articles as DPV names them, with the title that goes beside each.
RIGHTS: Mapping[str, str] = MappingProxyType(
    {
        "eu-gdpr:A7-3": "Right to withdraw consent",
        "eu-gdpr:A15": "Right of access",
        "eu-gdpr:A16": "Right to rectification",
        "eu-gdpr:A17": "Right to erasure",
        "eu-gdpr:A18": "Right to restriction of processing",
        "eu-gdpr:A20": "Right to data portability",
        "eu-gdpr:A77": "Right to lodge a complaint with a supervisory authority",
    }
)
CONSENT = "eu-gdpr:A6-1-a"  # consent
EXPLICIT_CONSENT = "eu-gdpr:A9-2-a"  # explicit consent, for special categories
PROCESSING = ("dpv:Collect", "dpv:Store", "dpv:Use")  # by the recipient


def prefixed(iri: str) -> str:
    """Write out a prefixed name. Raises `KeyError` for a prefix that the context does not have."""
    prefix, _, name = iri.partition(":")
    return f"{CONTEXT[prefix]}{name}"
