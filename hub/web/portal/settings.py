"""Settings, help, and the way out."""

from fastapi import APIRouter, Request, Response

from hub.core.errors import HubError, Kind
from hub.identity.sessions import end
from hub.web.portal.failures import PageRoute
from hub.web.portal.texts import NAMES
from hub.web.portal.visit import HOME, Changing, Form, Me, changing, keep_language, page, see, visit_of
from hub.web.signed_in import SIGNED_OUT, drop_cookie, is_https

AT = f"{HOME}/settings"


def settings_routes() -> APIRouter:
    """Serve `/my/settings`, `/my/help`, `POST /my/sign-out`, and the page after it."""
    router = APIRouter(route_class=PageRoute)

    @router.get(AT)
    def get_settings(me: Me, done: str = "") -> Response:
        return page(me, "settings.html", at="settings", title=me.texts.say("frame.settings"), done=done == "settings")

    @router.post(AT)
    def post_settings(request: Request, me: Changing, form: Form) -> Response:
        chosen = form.one("language")
        known = chosen in me.hub.settings.languages and chosen in NAMES
        language = chosen if known else me.language
        return keep_language(see(AT, done="settings"), language, secure=is_https(request))

    @router.get(f"{HOME}/help")
    def get_help(me: Me) -> Response:
        return page(me, "help.html", at="help", title=me.texts.say("frame.help"))

    @router.post(f"{HOME}/sign-out")
    def post_sign_out(request: Request, form: Form) -> Response:
        """Sign out. Whose session has ended meanwhile is out already, and is told the same."""
        try:
            me = changing(request, form)
        except HubError as error:
            if error.kind is not Kind.UNAUTHENTICATED:
                raise
        else:
            end(me.desk.store, me.desk.keys, me.session.cookie)
        answered = see(SIGNED_OUT)
        drop_cookie(request, answered)
        return answered

    @router.get(f"{HOME}/sign-out")
    def get_sign_out() -> Response:
        """Whoever loads the address of a form is led home: loading a page never changes anything."""
        return see(HOME)

    @router.get(SIGNED_OUT)
    def get_signed_out(request: Request) -> Response:
        """Say so, and go nowhere: a page of one's own would lead to the provider, which may sign in again unasked."""
        visit = visit_of(request)
        said = visit.texts.say
        return page(
            visit, "failure.html", title=said("frame.signed_out_title"), text=said("frame.signed_out"), href=HOME,
            label=said("frame.sign_in"),
        )  # fmt: skip

    return router
