"""Offers and entries in words, one function for each kind of sentence; templates only lay out what stands here."""

from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from hub.citizens.history import Acted, Decided, Entry, HandedOut
from hub.citizens.offers import Offer, Titles
from hub.core.agreement import Basis
from hub.web.portal.texts import Texts
from hub.web.words import words

BASES = {  # what stands where a law would, for bases that are none
    Basis.CONSENT: "history.by_consent",
    Basis.EXPLICIT_REQUEST: "history.by_request",
    Basis.VITAL_INTEREST: "history.by_vital",
}
KINDS = ("release", "refusal", "acts")  # what a history can be narrowed to
FOLLOWING = frozenset({"nothing", "required"})  # kinds of reasons that another one brings about
ACTS = frozenset(
    {
        "request", "grant", "refuse", "pause", "resume", "narrow", "extend", "renew", "supersede", "withdraw", "lapse",
        "expire", "object", "take-back",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of a history: what, when, and what is told about it, as (label, text) pairs."""

    moment_us: int
    kind: str  # release | refusal | acts
    recipient: str  # its code; empty where nobody is concerned
    what: Markup
    more: tuple[tuple[str, str], ...]
    reference: int
    outcome: str = ""  # code of a short word for what came of it; empty for what one did oneself


def all_items(offer: Offer) -> list[str]:
    """Return the titles of everything that would go."""
    return [one.title for share in offer.shares for one in share.items]


def basis_of(titles: Titles, texts: Texts, purpose: str) -> str:
    """Say what a purpose rests on: the article of a law, or what stands in its place."""
    known = titles.catalogue.purposes.get(purpose)
    if known is None:
        return ""
    return known.law or str(texts.say(BASES.get(known.basis, "sharing.lawful")))


def act_line(titles: Titles, texts: Texts, act: str, recipient: str, purpose: str) -> Markup:
    """Say in a line what was done to a consent or an objection."""
    if act not in ACTS:
        return texts.say("act.other")
    return texts.say(f"act.{act}", recipient=titles.agency(recipient), purpose=titles.purpose(purpose))


def lines(entries: Iterable[Entry], titles: Titles, texts: Texts) -> list[Line]:
    return [_decided(one, titles, texts) if isinstance(one, Decided) else _acted(one, titles, texts) for one in entries]


def _acted(one: Acted, titles: Titles, texts: Texts) -> Line:
    if one.kind == "consent":
        what = act_line(titles, texts, one.said["act"], one.said["recipient"], one.said["purpose"])
        return Line(one.moment_us, "acts", one.said["recipient"], what, (), one.audit)
    what = texts.say("act.link" if one.kind == "link" else "act.other")
    return Line(one.moment_us, "acts", "", what, (), one.audit)


def _decided(one: Decided, titles: Titles, texts: Texts) -> Line:
    dataset, say = one.dataset, texts.say
    named = {"recipient": titles.agency(one.recipient), "provider": titles.agency(one.provider)}
    went = one.handed_out[-1] if one.handed_out else None
    items = texts.listed(titles.fields(dataset, went.fields if went and went.fields else one.fields).values())
    what = say(_happened(one, went), **named, items=items, dataset=texts.inside(titles.dataset(dataset)))
    more: list[tuple[str, str]] = [
        (say("flow.from_to", **named), titles.dataset(dataset)),
        (say("flow.purpose"), titles.purpose(one.purpose)),
        (say("history.basis"), basis_of(titles, texts, one.purpose)),
    ]
    if one.outcome != "release":
        more += [(say("flow.reason"), reason) for reason in _reasons(one, titles)]
    if one.withheld and one.outcome == "release":
        more.append((say("flow.withheld"), texts.listed(titles.fields(dataset, one.withheld).values())))
    more += _after(went, titles, texts, dataset) if went is not None else []
    kind = "release" if one.outcome == "release" else "refusal"
    told = tuple((str(name), str(text)) for name, text in more)
    return Line(one.moment_us, kind, one.recipient, what, told, one.audit, _outcome(one, went))


def _outcome(one: Decided, went: HandedOut | None) -> str:
    """Name the short word for what came of a decision; a release that nobody has fetched is not passed on yet."""
    if one.outcome == "release" and not one.fields:
        return ""
    if one.outcome == "release":
        return "history.pending" if went is None else "history.release"
    return "history.hold" if one.outcome == "hold" else "history.refusal"


def _happened(one: Decided, went: HandedOut | None) -> str:
    """Name the sentence of what came of a decision."""
    if one.kind == "own-ask":
        return "history.own_ask"
    if one.kind == "ask":
        return "history.ask" if one.outcome == "release" else "history.ask_refused"
    if one.outcome == "hold":
        return "history.held"
    if one.outcome == "refusal":
        return "history.refused"
    if not one.fields:  # somebody else's part went, as a child's where this is the parent
        return "history.none_of_yours"
    return "history.received" if went is not None else "history.ready"


def _reasons(one: Decided, titles: Titles) -> list[str]:
    """Say why not, without what only follows from it: that nothing is left, and what is missing for that reason."""
    told = [reason for reason in one.reasons if reason.partition(".")[0] not in FOLLOWING] or list(one.reasons)
    fields = [reason.partition(":")[2] for reason in told if ":" in reason]
    known = titles.fields(one.dataset, fields)
    return [words(reason, titles.language, titles=known) for reason in told]


def _after(went: HandedOut, titles: Titles, texts: Texts, dataset: str) -> list[tuple[str, str]]:
    """Say what became of a hand-out: confirmed, used, stopped."""
    said: list[tuple[str, str]] = []
    label = str(texts.say("flow.state"))
    if went.stopped:
        said.append((label, str(texts.say("history.stopped"))))
    elif went.acknowledged_us is not None:
        said.append((label, str(texts.say("history.acknowledged", moment=texts.moment(went.acknowledged_us)))))
    if went.used:
        used = texts.listed(titles.fields(dataset, went.used).values())
        said.append((label, str(texts.say("history.used", items=used))))
    return said
