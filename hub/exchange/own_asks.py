"""A person asks a provider themselves: what of mine would go to this recipient, if I said yes?

The question reaches the provider like an agency's, and says `for: person`. The answer is an event like any other; the
gate hands it to nobody, and keeps what is the person's own of it sealed for them until the question's time is over.
"""

import os
from typing import Any

from hub.core.agreement import for_ask
from hub.core.decide import Part, Refusal, Release
from hub.core.errors import HubError, Kind
from hub.exchange.aimed import public_of
from hub.exchange.asks import ID_BYTES, US, Asked, ground_of, new_row, put, record, save, subject_of, subscription_of
from hub.exchange.intake import NO_TAGS
from hub.exchange.standing import Horizon, agreement_state
from hub.exchange.world import World
from hub.failpoints import reach
from hub.identity.keys import unseal_with
from hub.store.aims import FOR_PERSON, AskState
from hub.store.asks import THE_PERSON, AskRow, ask_by_public, own_asks_since
from hub.store.engine import Tx, loads

OWN_US = 3_600 * US  # a preview is for the hour in which one makes up one's mind; then nothing of it is kept
OWN_A_DAY = 20  # each is work for a provider's people or machines; the catalogue asks for far fewer consents of anybody
DAY_US = 86_400 * US


def ask_for_oneself(world: World, person: int, *, recipient: str, purpose: str, dataset: str) -> Asked:
    """Ask the provider of a dataset for all that this recipient might have for the purpose.

    Raises HubError: NOT_FOUND where there is no such agreement, CONFLICT where it is not in force, TOO_MANY.
    """
    subscription = subscription_of(world, recipient, purpose, dataset)
    line = for_ask(subscription, subscription.allowed, with_case=True)
    public = os.urandom(ID_BYTES)

    def transaction(tx: Tx) -> Asked:
        now_us = world.clock()
        if own_asks_since(tx, person=person, since_us=now_us - DAY_US) >= OWN_A_DAY:
            raise HubError(
                Kind.TOO_MANY,
                f"you have asked {OWN_A_DAY} times within a day",
                remedy="Look at the answers you have; ask again tomorrow.",
                code="asks-too-many",
                retry_after_s=3_600,
            )
        who = subject_of(world, tx, person, 0, line)
        if who.key is None:
            raise own_unknown()
        row = new_row(world, line, public, recipient, asks=FOR_PERSON, now_us=now_us, deadline_us=now_us + OWN_US)
        row = row._replace(person=person)
        ground = ground_of(world, tx, line, who, row)
        recipients = world.catalogue.agencies[recipient].number
        state = agreement_state(line, ground.rules, row.provider, recipients, Horizon(now_us, world.zone))
        if state.phase != "in_force" or ground.rules.superseded(world.catalogue.digest):
            raise HubError(
                Kind.CONFLICT,
                "this agreement is not in force, so nothing would go",
                remedy="Look again later.",
                code="agreement-phase",
            )
        if row.provider not in who.fact.names:
            reasons = ("ask.provider_unlinked",)
            audit_of = Refusal((Part(frozenset(), reasons),), reasons)
            record(tx, ground, audit_of, public, NO_TAGS, now_us, own=True)
            closed = row._replace(state=AskState.NO_ANSWER.value, reasons=reasons, closed_us=now_us)
            return Asked(save(tx, closed, who, NO_TAGS))
        audit = record(tx, ground, Release((Part(line.allowed, ()),)), public, NO_TAGS, now_us, own=True)
        return put(world, tx, row._replace(state=AskState.ASKED.value), ground, NO_TAGS, audit)

    asked = world.store.write(transaction)
    reach("asking.own_committed")
    return asked


def own_ask(world: World, person: int, text: str) -> tuple[AskRow, dict[str, Any] | None]:
    """Return a person's own ask and, once answered, what the provider holds of it, by field. Raises HubError."""
    with world.store.read() as tx:
        row = ask_by_public(tx, public_of(text))
    if row is None or (row.asker, row.person) != (THE_PERSON, person):
        raise own_unknown()
    if row.answer is None or world.clock() >= row.deadline_us:
        return row, None
    key = world.open_keys.of([person]).get(person)
    return row, None if key is None else loads(unseal_with(key, row.answer, row.public).decode())


def own_unknown() -> HubError:
    return HubError(
        Kind.NOT_FOUND, "there is no such entry of yours", remedy="Go back to your list.", code="entry-unknown"
    )
