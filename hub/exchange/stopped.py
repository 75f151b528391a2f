"""What the operator has stopped, as one hand-out sees it: whole recipients and everything, or the lines of a few.

A recipient that is stopped is told so. What is under a stopped agreement, or comes from a stopped agency, waits on the
queue untouched and in nobody else's way, like what rests on a disputed link; it goes on in order by itself afterwards.
"""

from hub.core.errors import HubError, Kind
from hub.exchange.choose import Chosen
from hub.exchange.world import World
from hub.stop_flag import Stops


def leave_stopped(world: World, stops: Stops, recipient: int, chosen: Chosen) -> Chosen:
    """Take out what is stopped now, whenever it was chosen. Raises HubError(UNAVAILABLE) where nothing may go."""
    stopped = {agency.number for agency in world.catalogue.agencies.values() if agency.code in stops.agencies}
    if stops.everything or recipient in stopped:
        raise HubError(
            Kind.UNAVAILABLE,
            "releases are stopped by the operator",
            remedy="Nothing is lost; pull again later.",
            code="releases-stopped",
        )
    untouched = world.stopped_lines(stops)
    return chosen._replace(judged=[one for one in chosen.judged if one.candidate.subscription not in untouched])
