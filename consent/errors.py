"""The one error of this package: a closed set of codes, each with what is wrong and what would be possible instead.

No message ever holds a personal value: codes, states, datasets, fields and moments of the record only.
"""

from enum import StrEnum


class Code(StrEnum):
    """Why a consent cannot do that. The values are stable: callers and their translations may rely on them."""

    ILLEGAL = "illegal-transition"  # not from this state; `items` are the actions that are possible
    OTHER_PERSON = "other-person"  # the acting principal acts for somebody else than the record is about
    NOT_THEIRS = "not-theirs"  # only the person or who may act for the person can want this
    ASSURANCE = "assurance-too-low"  # a yes is said again under a weaker sign-in than the first one
    UNKNOWN_FIELD = "unknown-field"  # `items` were never asked for
    NOT_NARROWER = "not-narrower"  # `items` are not given now; more needs a new consent
    REQUIRED_MISSING = "required-missing"  # `items` are what their datasets are useless without
    NOTHING_LEFT = "nothing-left"  # an empty choice is a refusal or a withdrawal; `items` are the required ones
    UNTIL_PAST = "until-past"
    UNTIL_TOO_LONG = "until-too-long"  # longer than was asked
    NOT_LONGER = "not-longer"  # an extension that extends nothing
    TOO_EARLY = "too-early"  # the deadline or the end has not come yet
    SUCCESSOR = "bad-successor"  # the record named as the next one is not one
    VALUE = "bad-value"  # a value of the wrong shape: a mistake of the caller's code, not of a person
    CHAIN = "chain-broken"  # events altered, reordered or missing; `index` says where


class ConsentError(Exception):
    """A transition that cannot be, or a history that cannot be believed.

    `items` are "dataset/field" or actions, sorted; `index` is the event's place in the chain, -1 elsewhere.
    """

    def __init__(
        self, code: Code, what: str, *, remedy: str = "", items: tuple[str, ...] = (), index: int = -1
    ) -> None:
        super().__init__(what)
        self.code, self.what, self.remedy, self.items, self.index = code, what, remedy, items, index
