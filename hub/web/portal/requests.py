"""A question and its answer: everything needed to decide, two equal buttons, nothing ticked beforehand."""

from collections.abc import Sequence

from fastapi import APIRouter, Response

from hub.citizens.choices import grant, say_no
from hub.citizens.desk import US_PER_DAY
from hub.citizens.inbox import Given, OpenRequest, open_requests
from hub.citizens.notices import notice_of_request
from hub.web.portal.failures import PageRoute, stale
from hub.web.portal.interrupted import chosen_before, too_weak
from hub.web.portal.own import own_given
from hub.web.portal.visit import HOME, Changing, Form, Me, Mine, page, see, sign_in_at
from hub.web.portal.wording import all_items
from hub.web.words import words

AT = f"{HOME}/requests/{{consent}}"


def request_routes() -> APIRouter:
    """Serve `GET` and `POST /my/requests/{consent}`."""
    router = APIRouter(route_class=PageRoute)

    @router.get(AT)
    def get_request(me: Me, consent: str) -> Response:
        asked = _open(me, consent)
        if isinstance(asked, Given):
            return see(f"{HOME}/sharing/{consent}")
        before = chosen_before(me)
        same = before.one("notice") == asked.notice  # what was chosen of other words than those of now is not shown
        return _page(me, asked, ticked=before.all("item") if same else [], again=same)

    @router.post(AT)
    def post_answer(me: Changing, form: Form, consent: str) -> Response:
        """Say yes or no. A form whose words or whose state are not those of now changes nothing."""
        asked = _open(me, consent)
        if isinstance(asked, Given):
            return stale(me, asked)
        answer = form.one("answer")
        if answer == "no":
            say_no(me.desk, me.principal, consent)
            return see(f"{HOME}/sharing/{consent}", done="refuse")
        if answer != "yes":
            return _page(me, asked, error="error.answer_missing", ticked=form.all("item"))
        if form.one("notice") != asked.notice:
            return _page(me, asked, error="error.stale_title")
        items = _chosen(asked, form.all("item"))
        if not items:
            return _page(me, asked, error="error.choice_nothing")
        if me.principal.acr < asked.assurance:
            return too_weak(me, asked.assurance)
        notice = notice_of_request(me.desk, me.principal, consent, me.language)
        grant(me.desk, me.principal, consent, items=items, until_us=None, notice=notice)
        return see(f"{HOME}/sharing/{consent}", done="grant")

    return router


def _open(me: Mine, consent: str) -> OpenRequest | Given:
    """Find a question of one's own, or what has become of it. Raises NotTheirs."""
    for asked in open_requests(me.desk, me.principal, me.language):
        if asked.consent == consent:
            return asked
    return own_given(me, consent)[0]


def _chosen(asked: OpenRequest, ticked: list[str]) -> list[tuple[str, str]]:
    """Return what a yes covers: everything that is needed, and of the rest what was ticked."""
    return [
        (share.dataset, one.field)
        for share in asked.offer.shares
        for one in share.items
        if one.required or f"{share.dataset}/{one.field}" in ticked
    ]


def _page(
    me: Mine, asked: OpenRequest, *, error: str = "", ticked: Sequence[str] = (), again: bool = False
) -> Response:
    """Show the question. `ticked` is what this person had ticked themselves; `again`: before they signed in anew."""
    offer, texts = asked.offer, me.texts
    needed = [one.title for share in offer.shares for one in share.items if one.required] or all_items(offer)
    heading = texts.say("request.heading", recipient=offer.recipient_title, items=texts.listed(needed))
    return page(
        me,
        "request.html",
        status=422 if error else 200,
        at="home",
        title=heading,
        asked=asked,
        offer=offer,
        until_us=me.desk.clock() + offer.days * US_PER_DAY,
        refusal=words(offer.refusal, me.language),
        basis="request.basis_request" if offer.basis == "explicit_request" else "request.basis_consent",
        strong=me.principal.acr >= asked.assurance,
        stronger=sign_in_at(me.request, me.request.url.path, least=asked.assurance),
        error=error,
        ticked=ticked,
        again=again,
    )
