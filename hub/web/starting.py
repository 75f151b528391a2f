"""What every door answers while the hub cannot be put together, because an engine that it needs for that is away.

`/healthz` says that the process lives, so that nobody restarts it for nothing; `/readyz` says why it is not ready, as
it does later; everything else is told to come back.
"""

from collections.abc import Callable

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.core.errors import HubError, Item, Kind
from hub.web.problems import problem_response


def starting_app(why: Callable[[], HubError]) -> ASGIApp:
    """Make the application. `why` is what the last try to start ended with."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == "/healthz":
            response: Response = JSONResponse({"status": "ok"})
        else:
            response = problem_response(_not_ready(why()) if path == "/readyz" else _not_started(why()))
        await response(scope, receive, send)

    return answer


def _not_ready(error: HubError) -> HubError:
    said = (Item(error.what, error.where, error.remedy),)
    what = f"The hub is not ready: {error.what}."
    return HubError(Kind.UNAVAILABLE, what, remedy=error.remedy, code="not-ready", items=said)


def _not_started(error: HubError) -> HubError:
    what = f"The hub has not started yet: {error.what}."
    return HubError(Kind.UNAVAILABLE, what, remedy="Send it again in a moment.", code="not-started")
