"""At the citizens' door: what of mine would go, if I said yes? A preview, from who holds it, for oneself alone."""

from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from hub.citizens.offers import Titles
from hub.core.agreement import Catalogue
from hub.exchange.own_asks import ask_for_oneself, own_ask
from hub.identity.principal import Principal
from hub.store.asks import AskRow
from hub.web.citizen_forms import Form, Text, answer, language_of, rfc3339
from hub.web.running import hub_of
from hub.web.signed_in import changing, signed_in
from hub.web.words import words


class OwnAskForm(Form):
    recipient: Text
    purpose: Text
    dataset: Text


def citizen_ask_routes() -> APIRouter:
    """Serve `POST /v1/me/asks` and `GET /v1/me/asks/{ask}`."""
    router = APIRouter(prefix="/v1/me/asks")

    @router.post("")
    def post_own_ask(request: Request, form: OwnAskForm) -> Response:
        hub, principal = hub_of(request), _principal(request, changed=True)
        asked = ask_for_oneself(
            hub.world, principal.person, recipient=form.recipient, purpose=form.purpose, dataset=form.dataset
        )
        if asked.ring:
            hub.bell.ring(asked.ring)
        language = language_of(request, hub.settings.languages)
        return answer(own_ask_json(hub.world.catalogue, asked.row, None, language), 201, language=language)

    @router.get("/{ask}")
    async def get_own_ask(request: Request, ask: str) -> Response:
        hub = hub_of(request)
        principal = await to_thread.run_sync(_principal, request)
        row, held = await to_thread.run_sync(own_ask, hub.world, principal.person, ask)
        language = language_of(request, hub.settings.languages)
        return answer(own_ask_json(hub.world.catalogue, row, held, language), language=language)

    return router


def own_ask_json(catalogue: Catalogue, row: AskRow, held: dict[str, Any] | None, language: str) -> dict[str, Any]:
    """Say field by field what would go, with its value where it is known, and what stays whatever one says.

    A field that names somebody has no value here: the recipient would read a name of its own in its place.
    """
    line = catalogue.subscriptions.get(row.subscription)
    said: dict[str, Any] = {
        "id": row.public.hex(),
        "state": row.word,
        "reasons": list(row.reasons),
        "in_words": [words(one, language) for one in row.reasons],
        "deadline": rfc3339(row.deadline_us),
    }
    if line is None:
        return said
    titles = Titles(catalogue, language)
    names = titles.fields(line.dataset.name, [*line.dataset.fields, *line.dataset.derived])
    going = [
        {"field": name, "title": names[name], "required": name in line.required}
        | ({"value": held[name]} if held is not None and name in held else {})
        for name in row.fields
    ]
    bases = {one.base for one in line.dataset.derived.values() if one.name in row.fields}
    staying = [{"field": name, "title": names[name]} for name in line.dataset.fields if name not in row.fields]
    return said | {
        "recipient": line.recipient,
        "purpose": line.purpose.code,
        "dataset": line.dataset.name,
        "provider": line.agreement.provider,
        "would_go": going,
        "would_stay": [one | ({"only_derived": True} if one["field"] in bases else {}) for one in staying],
    }


def _principal(request: Request, *, changed: bool = False) -> Principal:
    return (changing(request) if changed else signed_in(request)).principal
