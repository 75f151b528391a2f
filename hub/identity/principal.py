"""Who acts, for whom, as what, and how sure we are: carried by every act from the first sign-in on."""

from typing import NamedTuple

from consent.chain import By, Capacity


class Principal(NamedTuple):
    """`actor` acts for `person` in a capacity. `acr` is the assurance of this sign-in, 0..3; `session` names it."""

    person: int
    actor: int
    capacity: str  # self | guardian
    acr: int
    session: str


def by(principal: Principal) -> By:
    """Say it as the consent's own record does."""
    return By(principal.person, principal.actor, Capacity(principal.capacity), principal.acr, principal.session)
