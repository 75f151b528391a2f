"""The states of a consent, and every move between them: the whole machine as one table."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """Where a consent stands (ISO/IEC TS 27560 consent states, with pause). `NONE`: there is no record at all."""

    NONE = "none"
    REQUESTED = "requested"
    GIVEN = "given"
    PAUSED = "paused"
    REFUSED = "refused"
    LAPSED = "lapsed"  # nobody answered in time
    RENEWED = "renewed"  # goes on in a new record for the same items
    SUPERSEDED = "superseded"  # goes on in a new record for other items
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    TERMINATED = "terminated"  # ended by somebody else than the person: purpose fulfilled, agreement over
    INVALIDATED = "invalidated"  # found never to have been a valid consent


class Action(StrEnum):
    """What can be done to a consent."""

    REQUEST = "request"
    GIVE = "give"
    REFUSE = "refuse"
    LAPSE = "lapse"
    PAUSE = "pause"
    RESUME = "resume"
    NARROW = "narrow"
    EXTEND = "extend"
    WITHDRAW = "withdraw"
    EXPIRE = "expire"
    SUPERSEDE = "supersede"
    RENEW = "renew"
    TERMINATE = "terminate"
    INVALIDATE = "invalidate"


ENDS = (
    State.REFUSED,
    State.LAPSED,
    State.RENEWED,
    State.SUPERSEDED,
    State.WITHDRAWN,
    State.EXPIRED,
    State.TERMINATED,
    State.INVALIDATED,
)

RUNNING = frozenset({State.GIVEN, State.PAUSED})  # its stretch goes on

_OUT_OF_RUNNING = {
    Action.WITHDRAW: State.WITHDRAWN,
    Action.EXPIRE: State.EXPIRED,
    Action.SUPERSEDE: State.SUPERSEDED,
    Action.TERMINATE: State.TERMINATED,
    Action.INVALIDATE: State.INVALIDATED,
}

MOVES: Mapping[State, Mapping[Action, State]] = MappingProxyType(
    {
        State.NONE: {Action.REQUEST: State.REQUESTED},
        State.REQUESTED: {
            Action.GIVE: State.GIVEN,
            Action.REFUSE: State.REFUSED,
            Action.LAPSE: State.LAPSED,
        },
        State.GIVEN: {
            Action.PAUSE: State.PAUSED,
            Action.NARROW: State.GIVEN,
            Action.EXTEND: State.GIVEN,
            Action.RENEW: State.RENEWED,
            **_OUT_OF_RUNNING,
        },
        # To prolong or renew is to say yes, so a paused consent is resumed first; to narrow only takes away.
        State.PAUSED: {Action.RESUME: State.GIVEN, Action.NARROW: State.PAUSED, **_OUT_OF_RUNNING},
        **{end: {} for end in ENDS},
    }
)

# What only the person, or who acts for the person, can want. An agency or an operator never says yes or no for anybody.
WILL_OF_THE_PERSON = frozenset(
    {Action.GIVE, Action.REFUSE, Action.PAUSE, Action.RESUME, Action.NARROW, Action.EXTEND, Action.WITHDRAW}
)
