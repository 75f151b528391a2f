"""Find what is one's own: somebody else's looks as if it were not there."""

from hub.citizens.desk import NotTheirs
from hub.citizens.inbox import Consents, Given, consents
from hub.web.portal.visit import Mine


def own_given(me: Mine, consent: str) -> tuple[Given, Consents]:
    """Return a consent that was answered, or whose time is over, beside all that is shared. Raises NotTheirs."""
    found = consents(me.desk, me.principal, me.language)
    for given in (*found.running, *found.ended):
        if given.consent == consent:
            return given, found
    raise NotTheirs
