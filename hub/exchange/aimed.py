"""Events that are for somebody: a correction for who got the original, an answer for who asked, backfill for one.

What differs from news for every subscriber is which lines an event has and what is wanted of each. Whether it may go
is decided like any other event, by the same code, on the same facts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hub.core.agreement import Subscription, for_ask, without_look_back
from hub.core.leaf import canonical
from hub.core.minimise import Fields
from hub.exchange.intake import Taken
from hub.exchange.prepared import Answered, Bench, Prepared
from hub.exchange.rulings import Line, Memory, Ruled, Subject, line_of
from hub.exchange.standing import agreement_state
from hub.exchange.world import dumps
from hub.identity.keys import seal_with
from hub.store.aims import WITH_CASE, AimKeys, AimRow, AskFact, AskState
from hub.store.deliveries import DeliveryKind, QueueState
from hub.store.interned import intern_id

ID_BYTES = 16
_NEWS = AimRow(b"", 0, 0, 0, 0)  # what is no answer to anybody


@dataclass(frozen=True, slots=True)
class Aimed:
    """Which lines an aimed event is decided for. `refused`: why it is for nobody at all; `ask`: the one it answers."""

    lines: tuple[Line, ...]
    memory: Memory
    refused: str = ""
    ask: AskFact | None = None


def public_of(text: str) -> bytes:
    """Read the id of an ask or a backfill; of what is none, bytes that nothing is named by."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return b""
    return raw if len(raw) == ID_BYTES else b""


def aim_keys(taken: Sequence[Taken]) -> AimKeys:
    """List what aimed events name, to be looked up."""
    aims = [one.aim for one in taken if one.aim is not None]
    return AimKeys(
        sorted({public_of(aim.of) for aim in aims if aim.kind == "answers"}),
        sorted({one.corrected for one in taken if one.corrected}),
    )


def aim_at(bench: Bench, event: Taken, subjects: Sequence[Subject], out: Prepared) -> Aimed:
    """Find whom an aimed event is for."""
    assert event.aim is not None
    if event.aim.kind == "corrects":
        return _corrects(bench, event, subjects, out)
    return _answers(bench, event, subjects) if event.aim.kind == "answers" else _backfills(bench, event)


def _corrects(bench: Bench, event: Taken, subjects: Sequence[Subject], out: Prepared) -> Aimed:
    """A correction goes to who was promised the original: the others never got what is wrong.

    One of an answer holds what was asked for at most, as the answer did.
    """
    originals = {
        one.subscription: AimRow(one.public, one.delivery, one.fields, one.asks, 0, False, one.stands, one.names)
        for one in bench.known.aims.originals.get(event.corrected, ())
        if one.kind != DeliveryKind.DELETE and one.person == subjects[0].person
    }
    first, count = out.made.get(event.corrected, (0, 0))
    own = dict(out.aims) if count else {}
    for at in range(first, first + count):  # decided in this very batch
        public, kind, _, subscription, *_rest = out.deliveries[at]
        if kind != DeliveryKind.DELETE and out.deliveries[at][10] == subjects[0].person:
            was, stands = own.get(at, _NEWS), out.deliveries[at][9] > QueueState.OPENED
            originals[subscription] = AimRow(public, at, was.fields, was.asks, 0, True, stands, was.names)
    lines = []
    for one in bench.world.catalogue.by_dataset.get(event.dataset.name, ()):
        aim = originals.get(one.number)
        if aim is None:
            lines.append(_line(bench, one, closed="correction.no_original"))
            continue
        wanted = for_ask(one, frozenset(aim.names), with_case=aim.asks == WITH_CASE) if aim.asks else one
        lines.append(_line(bench, wanted, kind=DeliveryKind.CORRECTION, aim=aim))
    return _aimed(bench, event, lines)


def _answers(bench: Bench, event: Taken, subjects: Sequence[Subject]) -> Aimed:
    """An answer goes to who asked, and holds what was asked for at most."""
    assert event.aim is not None
    public = public_of(event.aim.of)
    ask = bench.known.aims.asks.get(public)
    if ask is None or (ask.provider, ask.dataset) != (event.publisher, event.dataset.number):
        return _nobody(bench, event, "ask.unknown")
    closed = _closed(bench, ask, subjects[0])
    if closed or not ask.asker:
        return _nobody(bench, event, closed, ask)
    subscription = bench.world.catalogue.subscriptions.get(ask.subscription)
    if subscription is None:
        return _nobody(bench, event, "agreement.ended", ask)
    wanted = for_ask(subscription, frozenset(ask.fields[1]), with_case=ask.asks == WITH_CASE)
    aim = AimRow(public, 0, ask.fields[0], ask.asks, ask.deadline_us, names=ask.fields[1])
    anew = "" if _is_same_grant(ask, subscription, subjects[0]) else "consent.new_stretch"
    return _aimed(bench, event, [_line(bench, wanted, kind=DeliveryKind.ANSWER, aim=aim, closed=anew)], ask)


def _is_same_grant(ask: AskFact, subscription: Subscription, who: Subject) -> bool:
    """Does the consent still run that it was asked under? A later one is good for questions of its own."""
    choice = who.fact.choices.get((ask.asker, subscription.purpose.number))
    return not subscription.purpose.basis.needs_consent or (choice is not None and choice.stretch == ask.stretch)


def _closed(bench: Bench, ask: AskFact, who: Subject) -> str:
    """Say why an ask takes no answer about this person now; "" where it does."""
    if ask.state != AskState.ASKED:
        return "ask.closed"
    if not bench.horizon.before(ask.deadline_us):
        return "ask.expired"
    return "" if ask.person == who.person else "ask.other_person"


def _backfills(bench: Bench, event: Taken) -> Aimed:
    """Backfill goes to the recipient it was opened for, and to nobody else; after that has closed nothing of it does.

    What waited for a link meanwhile is no exception: both parties were told that it is over. Its provider hears of it.
    """
    assert event.aim is not None
    named = public_of(event.aim.of)
    subscription = next((line for line, (_, public) in bench.known.aims.backfills.items() if public == named), None)
    line = bench.world.catalogue.subscriptions.get(subscription) if subscription is not None else None
    if line is None or line.dataset.name != event.dataset.name:
        return _nobody(bench, event, "backfill.closed")
    return _aimed(bench, event, [_line(bench, without_look_back(line), kind=DeliveryKind.BACKFILLED)])


def _line(
    bench: Bench,
    subscription: Subscription,
    *,
    kind: DeliveryKind = DeliveryKind.DATA,
    aim: AimRow | None = None,
    closed: str = "",
) -> Line:
    provider = bench.world.catalogue.agencies[subscription.dataset.provider].number
    recipient = bench.world.catalogue.agencies[subscription.recipient].number
    state = agreement_state(subscription, bench.known.rules, provider, recipient, bench.horizon)
    if closed:
        state = state._replace(closed=closed)
    return line_of(subscription, recipient, state)._replace(kind=kind.value, aim=aim)


def _aimed(bench: Bench, event: Taken, lines: Sequence[Line], ask: AskFact | None = None) -> Aimed:
    found = tuple(lines)
    return Aimed(found, bench.rulings.under(bench.known.rules.revision, event.dataset, found), "", ask)


def _nobody(bench: Bench, event: Taken, refused: str, ask: AskFact | None = None) -> Aimed:
    return Aimed((), bench.rulings.under(bench.known.rules.revision, event.dataset, ()), refused, ask)


def note_aimed(
    bench: Bench, event: Taken, aimed: Aimed, ruled: Ruled, subjects: Sequence[Subject], out: Prepared
) -> None:
    """Note what else follows from an aimed event that is decided: an ask is closed, a person's backfill is all here."""
    assert event.aim is not None
    if aimed.refused:
        out.misaimed.append((event, aimed.refused))
    elif aimed.ask is not None:
        out.answered.append(_close(event, aimed.ask, ruled, subjects, out))
        bench.known.aims.asks[public_of(event.aim.of)] = aimed.ask._replace(state=AskState.ANSWERED.value)
    elif event.aim.kind == "backfill" and event.aim.last:
        line: Subscription = aimed.lines[0].subscription
        out.backfilled.append((bench.known.aims.backfills[line.number][0], line.number, subjects[0].person))


def _close(event: Taken, ask: AskFact, ruled: Ruled, subjects: Sequence[Subject], out: Prepared) -> Answered:
    if not ask.asker:
        return Answered(ask.id, AskState.ANSWERED, None, _for_the_person(event, ask, subjects[0], event.parts[0]))
    ruling = ruled.rulings[0]
    if ruling.outcome == "release":
        return Answered(ask.id, AskState.ANSWERED)
    body = canonical(list(ruling.reasons))
    out.interned[intern_id(body)] = body
    return Answered(ask.id, AskState.REFUSED, intern_id(body))


def _for_the_person(event: Taken, ask: AskFact, who: Subject, part: Fields) -> bytes | None:
    """Seal for a person what is theirs of the answer to their own question. An erased person gets none."""
    if who.key is None:
        return None
    assert event.aim is not None
    naming = {name for name, field in event.dataset.fields.items() if field.names or field.element_ref}
    own = {name: part[name] for name in ask.fields[1] if name in part and name not in naming}
    return seal_with(who.key, dumps(own), public_of(event.aim.of))
