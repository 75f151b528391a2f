"""The first page: what waits for an answer, what happened last, and how much is shared."""

from fastapi import APIRouter, Response

from hub.citizens.history import history
from hub.citizens.inbox import consents, open_requests
from hub.web.portal.failures import PageRoute
from hub.web.portal.visit import HOME, Me, page, see
from hub.web.portal.wording import all_items, lines

LATEST = 5  # entries: what fits beside the rest without scrolling for long


def home_routes() -> APIRouter:
    """Serve `GET /` and `GET /my`."""
    router = APIRouter(route_class=PageRoute)

    @router.get("/")
    def get_front() -> Response:
        return see(HOME)

    @router.get(HOME)
    def get_home(me: Me) -> Response:
        waiting = open_requests(me.desk, me.principal, me.language)
        found = consents(me.desk, me.principal, me.language)
        latest = history(me.desk, me.principal, limit=LATEST).entries
        return page(
            me,
            "home.html",
            at="home",
            title=me.texts.say("home.title"),
            waiting=[(one, me.texts.listed(all_items(one.offer))) for one in waiting],
            latest=lines(latest, me.titles, me.texts)[:LATEST],
            consents=len(found.running),
            by_law=sum(not one.objected for one in found.by_law),
        )

    return router
