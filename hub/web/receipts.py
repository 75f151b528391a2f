"""Receipts and records for the person they are about: signed, exported, listed; and what anybody may ask of a receipt.

Without an account: the public keys that verify receipts, and what has become of what a receipt is about, for whoever
holds it. The address names a receipt by its random id and answers with a state, neither who nor what.
"""

import orjson
from anyio import to_thread
from fastapi import APIRouter, Request, Response

from consent.canonical import canonical
from consent.jsonld import jsonld
from consent.page import page
from consent.plain import plain
from hub.citizens.desk import CitizenDesk
from hub.citizens.receipts import own_receipt_signed, receipts_of_consent, status_address, status_of
from hub.citizens.records import OwnRecord, Setting, own_record
from hub.identity.principal import Principal
from hub.identity.pseudonyms import pseudonym
from hub.identity.receipt_keys import public_keys
from hub.settings import Settings
from hub.store.consents import ReceiptHead
from hub.web.citizen_forms import answer, language_of, rfc3339
from hub.web.signed_in import signed_in
from hub.web.words import RIGHT_TO_LEFT, words

PORTAL = "citizens' portal"  # no agency can have this code, so what names a person here names nobody elsewhere
KEYS_PATH = "/.well-known/consent-receipt-keys.json"
KEYS_MAX_AGE_S = 3600  # keys are published long before they sign, and never go
NOTHING_FROM_ELSEWHERE = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def receipt_routes() -> APIRouter:
    """Serve what belongs to the signed-in person, and what needs no account. Reads `citizens` and `settings`."""
    router = APIRouter()
    router.include_router(_own())
    router.include_router(_open())
    return router


def _own() -> APIRouter:
    router = APIRouter(prefix="/v1/me")

    @router.get("/receipts/{receipt}/jws")
    def get_signed(request: Request, receipt: str) -> Response:
        """Answer with the receipt as it was signed, to be kept as a file (RFC 7515: application/jose)."""
        jws = own_receipt_signed(_desk(request), _principal(request), receipt)
        return _file(jws, "application/jose", f"receipt-{receipt}.jws")

    @router.get("/consents/{consent}/receipts")
    def get_receipts(request: Request, consent: str) -> Response:
        desk = _desk(request)
        heads = receipts_of_consent(desk, _principal(request), consent)
        return answer({"receipts": [_head(desk, one) for one in heads]})

    @router.get("/consents/{consent}/record.jsonld")
    def get_jsonld(request: Request, consent: str) -> Response:
        own, _ = _record(request, consent)
        said = canonical(jsonld(own.record, own.events, own.beside))
        return _file(said, "application/ld+json", f"consent-{consent}.jsonld")

    @router.get("/consents/{consent}/record.json")
    def get_json(request: Request, consent: str) -> Response:
        own, _ = _record(request, consent)
        said = canonical(plain(own.record, own.events, own.beside, now_us=_desk(request).clock()))
        return _file(said, "application/json", f"consent-{consent}.json")

    @router.get("/consents/{consent}/record.html")
    def get_page(request: Request, consent: str) -> Response:
        own, language = _record(request, consent)
        text = page(
            plain(own.record, own.events, own.beside, now_us=_desk(request).clock()),
            lambda code: words(code, language),
            language=language,
            right_to_left=language in RIGHT_TO_LEFT,
        )
        headers = {
            "cache-control": "no-store",
            "vary": "accept-language, cookie",
            "content-language": language,
            "content-security-policy": NOTHING_FROM_ELSEWHERE,
            "x-content-type-options": "nosniff",
        }
        return Response(text, headers=headers, media_type="text/html")

    return router


def _open() -> APIRouter:
    """What needs no account."""
    router = APIRouter()

    @router.get(KEYS_PATH)
    async def get_keys(request: Request) -> Response:
        """Publish the JWK set that every receipt of this hub verifies with, the oldest too."""
        keys = await to_thread.run_sync(_public_keys, _desk(request))
        headers = {"cache-control": f"public, max-age={KEYS_MAX_AGE_S}"}
        return Response(orjson.dumps(keys), headers=headers, media_type="application/jwk-set+json")

    @router.get("/v1/receipts/{receipt}/status")
    def get_status(request: Request, receipt: str) -> Response:
        desk = _desk(request)
        found = status_of(desk, receipt)
        until = {"until": rfc3339(found.until_us)} if found.until_us else {}
        return answer({"receipt": found.receipt, "state": found.state, **until, "as_of": rfc3339(desk.clock())})

    return router


def _public_keys(desk: CitizenDesk) -> dict[str, list[dict[str, str]]]:
    with desk.store.read() as tx:
        return public_keys(tx, desk.keys.receipt)


def _record(request: Request, consent: str) -> tuple[OwnRecord, str]:
    desk, settings, principal = _desk(request), _settings(request), _principal(request)
    language = language_of(request, settings.languages)
    setting = Setting(settings.jurisdiction, settings.data_authority, settings.data_authority_contact)
    subject = pseudonym(desk.keys.pseudonym, PORTAL, principal.person)
    return own_record(desk, principal, consent, subject=subject, language=language, setting=setting), language


def _head(desk: CitizenDesk, one: ReceiptHead) -> dict[str, str]:
    return {
        "receipt": one.receipt,
        "action": one.kind,
        "moment": rfc3339(one.at_us),
        "signed": f"/v1/me/receipts/{one.receipt}/jws",
        "status": status_address(desk, one.receipt),
    }


def _file(said: bytes, media_type: str, name: str) -> Response:
    """Answer with bytes to be kept as they are, which no cache keeps: they are one person's."""
    headers = {
        "cache-control": "no-store",
        "vary": "accept-language, cookie",
        "content-disposition": f'attachment; filename="{name}"',
        "x-content-type-options": "nosniff",
    }
    return Response(said, headers=headers, media_type=media_type)


def _principal(request: Request) -> Principal:
    return signed_in(request).principal


def _desk(request: Request) -> CitizenDesk:
    desk: CitizenDesk = request.app.state.hub.citizens
    return desk


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.hub.settings
    return settings
