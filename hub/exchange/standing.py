"""From facts to standings: what one person's choices, links and age mean to one subscription now.

Everything that depends on time is settled here, with the hub's clock, so that what `decide` and the policy are asked
holds no time and can be remembered. `Horizon` says until when the answers stay true.
"""

from collections.abc import Mapping
from datetime import date
from zoneinfo import ZoneInfo

from hub.core.age import local_date, next_midnight_us
from hub.core.agreement import Subscription
from hub.core.decide import AgreementState, Standing
from hub.store.facts import NEVER_US, ChoiceFact, RuleFacts

FieldSets = Mapping[int, Mapping[str, frozenset[str]]]
"""Interned scope -> dataset -> the fields a consent covers of it."""

_OVER = {"given": "expired", "paused": "expired", "requested": "lapsed"}  # what each is from its `until_us` on


class Horizon:
    """The moment of a decision, and the first later moment at which something it relied on changes by itself."""

    def __init__(self, now_us: int, zone: ZoneInfo) -> None:
        self.now_us, self.until_us = now_us, NEVER_US
        self._zone = zone

    def before(self, instant_us: int) -> bool:
        """Is it before `instant_us`? Then the answer holds until that instant, and no longer."""
        if self.now_us < instant_us:
            if instant_us < self.until_us:  # min() costs more, and this runs for every choice
                self.until_us = instant_us
            return True
        return False

    def today(self) -> date:
        self.until_us = min(self.until_us, next_midnight_us(self.now_us, self._zone))
        return local_date(self.now_us, self._zone)


def choice_state(choice: ChoiceFact, horizon: Horizon) -> str:
    """Name the state of a choice at this moment: past its end it is over, whether that is written down yet or not."""
    over = _OVER.get(choice.state)
    return over if over is not None and not horizon.before(choice.until_us) else choice.state


def standing_of(
    subscription: Subscription,
    role: str,
    state: str,
    scope: int,
    assurance: int,
    age: str,
    *,
    erased: bool,
    field_sets: FieldSets,
    kept: bool = True,
) -> Standing:
    """Say where one person stands towards one subscription. `kept`: does the promised stretch still run?"""
    if not subscription.purpose.basis.needs_consent:
        return Standing(role, "objected" if state == "objected" else "none", None, assurance, age, erased)
    if state != "given":
        return Standing(role, state, None, 0, age, erased)
    fields = field_sets.get(scope, {}).get(subscription.dataset.name, frozenset())
    return Standing(role, state, fields, assurance, age, erased, kept)


def agreement_state(
    subscription: Subscription, rules: RuleFacts, provider: int, recipient: int, horizon: Horizon
) -> AgreementState:
    """Say whether the agreement is in force at this moment."""
    agreement = subscription.agreement
    if horizon.before(agreement.valid_from_us):
        return AgreementState("not_yet")
    if not horizon.before(agreement.valid_until_us):
        return AgreementState("ended")
    return AgreementState(rules.phase(agreement.number, provider, recipient))
