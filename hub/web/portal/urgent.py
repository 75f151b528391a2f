"""What stops a release goes first: in threads of its own, while what can wait stands still (`hub/way.py`)."""

from collections.abc import Callable
from time import perf_counter

from anyio import CapacityLimiter, to_thread
from fastapi import Request, Response

from hub.identity.sessions import check_csrf
from hub.web.portal.visit import Mine, Sent, mine
from hub.web.running import hub_of
from hub.web.signed_in import goes_first


async def urgently(request: Request, form: Sent, threads: CapacityLimiter, act: Callable[[Mine], Response]) -> Response:
    """Do `act` for whoever is signed in, once their form has proved to be theirs. Raises HubError."""
    began_s, hub = perf_counter(), hub_of(request)

    def done() -> Response:
        me = mine(request)
        check_csrf(me.session, form.one("csrf"))
        return act(me)

    if not goes_first(request, form.one("csrf")):
        return await to_thread.run_sync(done)  # it will be refused: nobody waits for that
    with hub.way.first():
        answered = await to_thread.run_sync(done, limiter=threads)
    hub.metrics.withdraw_s.observe(perf_counter() - began_s)
    return answered
