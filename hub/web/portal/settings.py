"""Settings, help, and the way out."""

from fastapi import APIRouter, Request, Response

from hub.identity.sessions import end
from hub.web.portal.failures import PageRoute
from hub.web.portal.texts import NAMES
from hub.web.portal.visit import HOME, Changing, Form, Me, keep_language, page, see
from hub.web.signed_in import drop_cookie, is_https

AT = f"{HOME}/settings"


def settings_routes() -> APIRouter:
    """Serve `/my/settings`, `/my/help` and `POST /my/sign-out`."""
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
    def post_sign_out(request: Request, me: Changing) -> Response:
        end(me.desk.store, me.desk.keys, me.session.cookie)
        answered = see(HOME)
        drop_cookie(request, answered)
        return answered

    @router.get(f"{HOME}/sign-out")
    def get_sign_out() -> Response:
        """Whoever loads the address of a form is led home: loading a page never changes anything."""
        return see(HOME)

    return router
