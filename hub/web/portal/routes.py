"""All pages together: what `hub/web/apps.py` includes."""

from fastapi import APIRouter, Request, Response

from hub.citizens.desk import NotTheirs
from hub.web.portal.assets import asset_routes
from hub.web.portal.failures import PageRoute
from hub.web.portal.history import history_routes
from hub.web.portal.home import home_routes
from hub.web.portal.objections import objection_routes
from hub.web.portal.people import people_routes
from hub.web.portal.receipts import receipt_routes
from hub.web.portal.requests import request_routes
from hub.web.portal.settings import settings_routes
from hub.web.portal.sharing import sharing_routes
from hub.web.portal.visit import HOME, mine


def portal_routes(*, dev_sign_in: bool) -> APIRouter:
    """Serve the pages under `/my`; with `dev_sign_in` also the page that signs in without proof."""
    router = APIRouter()
    pages = (
        home_routes, request_routes, sharing_routes, objection_routes, history_routes, receipt_routes, settings_routes,
        asset_routes,
    )  # fmt: skip
    for routes in (*pages, people_routes) if dev_sign_in else pages:
        router.include_router(routes())
    router.include_router(_elsewhere())
    return router


def _elsewhere() -> APIRouter:
    """Any other address beside or below the pages: one page says that nothing is there, to whoever is signed in."""
    router = APIRouter(route_class=PageRoute)

    @router.get(f"{HOME}/{{rest:path}}")
    def get_nothing(request: Request, rest: str) -> Response:  # noqa: ARG001 - the address that nobody made
        mine(request)
        raise NotTheirs

    return router
