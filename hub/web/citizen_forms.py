"""How citizens' requests and answers look in JSON: bodies as declared forms, moments as RFC 3339, reasons in words."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import orjson
from fastapi import Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from hub.citizens.history import Acted, Decided, Entry, HistoryPage
from hub.citizens.inbox import ByLaw, Consents, Given, OpenRequest
from hub.citizens.offers import Titles
from hub.web.words import words

US = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ITEMS_MOST = 500  # as many as terms may ask for
Text = Annotated[str, Field(min_length=1, max_length=256)]


class Form(BaseModel):
    """A request's body. What it does not know it refuses: a misspelt `items` would otherwise give everything."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ItemForm(Form):
    dataset: Text
    field: Text


class GrantForm(Form):
    """Which of the items asked for, and until when; left out: all of them, as long as was asked."""

    items: Annotated[list[ItemForm], Field(max_length=ITEMS_MOST)] | None = None
    until: AwareDatetime | None = None


class UnaskedForm(GrantForm):
    recipient: Text
    purpose: Text


class ExtendForm(Form):
    until: AwareDatetime


class NarrowForm(Form):
    items: Annotated[list[ItemForm], Field(max_length=ITEMS_MOST)]


class ObjectionForm(Form):
    recipient: Text
    purpose: Text


class RequestForm(Form):
    """An agency's question: about whom, by its own id of them, and what for."""

    subject: Text
    purpose: Text
    deadline: AwareDatetime | None = None


class SignInForm(Form):
    """Development only. A person is named as `agency:its own id of them`; `for` names the person acted for."""

    person: Text
    acts_for: Annotated[Text | None, Field(alias="for")] = None
    assurance: Annotated[int, Field(ge=0, le=3)] = 2


def pairs(items: list[ItemForm] | None) -> list[tuple[str, str]] | None:
    return None if items is None else [(one.dataset, one.field) for one in items]


def instant_us(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - EPOCH) // timedelta(microseconds=1)


def rfc3339(time_us: int) -> str:
    """Return the instant in UTC, to the microsecond."""
    return f"{EPOCH + timedelta(microseconds=time_us):%Y-%m-%dT%H:%M:%S.%fZ}"


def language_of(request: Request, languages: tuple[str, ...]) -> str:
    """Choose among our languages by Accept-Language (RFC 9110 section 12.5.4); the first where none fits."""
    best, chosen = 0.0, languages[0]
    for part in request.headers.get("accept-language", "")[:200].split(","):
        name, _, weight = part.strip().partition(";q=")
        language = name.strip().partition("-")[0].lower()
        try:
            quality = float(weight or 1)
        except ValueError:
            continue
        if language in languages and quality > best:
            best, chosen = quality, language
    return chosen


def answer(body: Any, status: int = 200, *, language: str = "") -> Response:
    """Answer with JSON that no cache keeps: it is one person's."""
    headers = {"cache-control": "no-store", "vary": "accept-language, cookie"}
    if language:
        headers["content-language"] = language
    return Response(orjson.dumps(body), status, headers, "application/json")


def receipt_json(said: bytes) -> dict[str, Any]:
    """Show a receipt, of a consent or of an objection, from its canonical bytes."""
    receipt: dict[str, Any] = orjson.loads(said)
    of = "objection" if receipt["kind"] == "objection-receipt" else "consent"
    return {
        "receipt": receipt["id"],
        "moment": rfc3339(receipt["moment_us"]),
        "state": receipt["state"],
        of: receipt["record"],
        "action": receipt["action"],
        "opened_before": [
            {**{name: one[name] for name in ("recipient", "dataset", "delivery", "number")}, "opened": moment}
            for one in receipt["opened_before"]
            for moment in (rfc3339(one["opened_us"]),)
        ],
        "promise": receipt["promise"],
        "signed": f"/v1/me/receipts/{receipt['id']}/jws",
        **({"status": receipt["status"]} if "status" in receipt else {}),  # absent before receipts were signed
    }


def request_json(one: OpenRequest, language: str) -> dict[str, Any]:
    return {**shown(one), "offer": shown(one.offer), "if_you_say_no": words(one.offer.refusal, language)}


def consents_json(found: Consents, language: str) -> dict[str, Any]:
    return {
        "consents": [shown(one) for one in found.running],
        "ended": [_ended(one, language) for one in found.ended],
        "by_law": [_by_law(one, language) for one in found.by_law],
    }


def _ended(one: Given, language: str) -> dict[str, Any]:
    return {**shown(one), "in_words": words(f"consent.{one.state}", language)}


def _by_law(one: ByLaw, language: str) -> dict[str, Any]:
    return {**shown(one), "in_words": words(one.offer.refusal, language)}


def history_json(page: HistoryPage, titles: Titles) -> dict[str, Any]:
    return {"entries": [_entry(one, titles) for one in page.entries], "after": page.after}


def _entry(one: Entry, titles: Titles) -> dict[str, Any]:
    if isinstance(one, Decided):
        return {**shown(one), **_titles(shown(one), titles), "in_words": _reasons(one, titles)}
    return _acted(one, titles)


def _acted(one: Acted, titles: Titles) -> dict[str, Any]:
    said = {name: value for name, value in one.said.items() if name not in ("event", "session")}
    moment = rfc3339(one.moment_us)
    return {"kind": one.kind, "audit": one.audit, "moment": moment, **said, **_titles(said, titles)}


def _reasons(one: Decided, titles: Titles) -> list[str]:
    named = [reason.partition(":")[2] for reason in one.reasons if ":" in reason]
    known = titles.fields(one.dataset, named)
    return [words(reason, titles.language, titles=known) for reason in one.reasons]


def _titles(said: Mapping[str, Any], titles: Titles) -> dict[str, Any]:
    """Put the catalogue's titles beside its names."""
    worded: dict[str, Any] = {}
    for name in ("provider", "recipient", "agency"):
        if name in said:
            worded[f"{name}_title"] = titles.agency(said[name])
    if "purpose" in said:
        worded["purpose_title"] = titles.purpose(said["purpose"])
    if "dataset" in said:
        worded["dataset_title"] = titles.dataset(said["dataset"])
        names = {*said["fields"], *said["withheld"]}
        worded["titles"] = titles.fields(said["dataset"], sorted(names))
    return worded


def shown(value: Any) -> Any:
    """Turn a frozen value into JSON: a member in microseconds loses that ending and becomes RFC 3339."""
    if is_dataclass(value):
        members = ((one.name, getattr(value, one.name)) for one in fields(value))
        return {
            name.removesuffix("_us"): rfc3339(member) if name.endswith("_us") and member is not None else shown(member)
            for name, member in members
        }
    if isinstance(value, tuple):
        return [shown(one) for one in value]
    return value
