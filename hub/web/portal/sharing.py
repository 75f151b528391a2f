"""What is shared: the list, one consent with all that happened to it, and its end in two clicks."""

from collections.abc import Callable, Sequence

from anyio import CapacityLimiter
from fastapi import APIRouter, Request, Response

from consent.states import RUNNING
from hub.citizens.choices import narrow_it, pause_it, resume_it
from hub.citizens.desk import CitizenDesk
from hub.citizens.inbox import DOORS, ByLaw, Consents, Given, consents
from hub.citizens.offers import Offer
from hub.citizens.timeline import timeline
from hub.citizens.withdraw import withdraw_it
from hub.core.errors import HubError
from hub.identity.principal import Principal
from hub.web.citizen import URGENT_THREADS
from hub.web.portal.failures import PageRoute
from hub.web.portal.interrupted import chosen_before
from hub.web.portal.own import own_given
from hub.web.portal.urgent import urgently
from hub.web.portal.visit import HOME, Form, Me, Mine, Sent, page, see
from hub.web.portal.wording import act_line, all_items
from hub.web.words import words

LIST = f"{HOME}/sharing"
ONE = f"{LIST}/{{consent}}"
ACTIONS = {door: action.value for action, door in DOORS.items()}  # what a form does, as the record calls it
NOTHING_LEFT = frozenset({"consent-nothing-left", "consent-required-missing", "consent-not-narrower"})


def sharing_routes() -> APIRouter:
    """Serve `/my/sharing`, what has ended, and one consent."""
    router = APIRouter(route_class=PageRoute)
    threads = CapacityLimiter(URGENT_THREADS)

    @router.get(LIST)
    def get_sharing(me: Me) -> Response:
        found = consents(me.desk, me.principal, me.language)
        return page(
            me, "sharing.html", at="sharing", title=me.texts.say("sharing.title"),
            consents=[(one, me.texts.listed(all_items(one.offer))) for one in found.running],
            by_law=[(one, me.texts.listed(all_items(one.offer)), _choice(me, one)) for one in found.by_law],
        )  # fmt: skip

    @router.get(f"{LIST}/ended")
    def get_ended(me: Me) -> Response:
        ended = consents(me.desk, me.principal, me.language).ended
        titled = [(one, me.texts.listed(all_items(one.offer))) for one in ended]
        return page(me, "ended.html", at="sharing", title=me.texts.say("sharing.ended_title"), ended=titled)

    @router.get(ONE)
    def get_one(me: Me, consent: str, done: str = "") -> Response:
        given = own_given(me, consent)[0]
        return _one(me, given, done=done, ticked=chosen_before(me).all("item"))

    @router.post(ONE)
    async def post_change(request: Request, form: Form, consent: str) -> Response:
        """Pause, go on, or take items out. What stops a release goes first."""

        def act(me: Mine) -> Response:
            return _change(me, form, consent)

        return await urgently(request, form, threads, act)

    @router.get(f"{ONE}/stop")
    def get_stop(me: Me, consent: str) -> Response:
        given, found = own_given(me, consent)
        return _stop(me, given, found) if "withdraw" in given.actions else see(f"{LIST}/{consent}")

    @router.post(f"{ONE}/stop")
    async def post_stop(request: Request, form: Form, consent: str) -> Response:
        """Withdraw. Once this has answered, nothing that relied on the consent goes out any more."""

        def act(me: Mine) -> Response:
            withdraw_it(me.desk, me.principal, consent)
            return see(f"{LIST}/{consent}", done="withdraw")

        return await urgently(request, form, threads, act)

    return router


def _choice(me: Mine, one: ByLaw) -> str:
    """Say where a person stands to what the law allows: they objected, they can, or they cannot."""
    return str(me.texts.say("sharing.objected")) if one.objected else words(one.offer.refusal, me.language)


def _one(me: Mine, given: Given, *, done: str = "", error: str = "", ticked: Sequence[str] = ()) -> Response:
    """Show one consent. `ticked` is what this person had ticked themselves, to be taken out."""
    offer, told = given.offer, timeline(me.desk, me.principal, given.consent)
    latest, running = told.steps[-1].action, given.state in {state.value for state in RUNNING}
    title = "consent.title" if running else "consent.title_ended" if given.given_us else "consent.title_refused"
    return page(
        me,
        "consent.html",
        status=422 if error else 200,
        at="sharing",
        title=me.texts.say(title, purpose=offer.purpose_title, recipient=offer.recipient_title),
        given=given,
        offer=offer,
        items=me.texts.listed(all_items(offer)),
        running=running,
        told=told,
        now_us=me.desk.clock(),
        receipts=[
            (one, act_line(me.titles, me.texts, one.kind, offer.recipient, offer.purpose)) for one in told.receipts
        ],
        done=done if ACTIONS.get(done) == latest else "",  # an address from yesterday says nothing that is not so today
        error=error,
        ticked=ticked,
    )


def _stop(me: Mine, given: Given, found: Consents) -> Response:
    """Show what stops if this ends, and what goes on: everything of the recipient's that rests on something else."""
    offer = given.offer
    others = [one.offer for one in found.running if one.consent != given.consent]
    others += [one.offer for one in found.by_law if not one.objected]
    return page(
        me,
        "stop.html",
        at="sharing",
        title=me.texts.say("stop.title", recipient=offer.recipient_title),
        given=given,
        offer=offer,
        items=me.texts.listed(all_items(offer)),
        goes_on=[
            (one.purpose_title, me.texts.listed(all_items(one))) for one in others if one.recipient == offer.recipient
        ],
        refusal=words(offer.refusal, me.language),
        back=f"{LIST}/{given.consent}",
    )


def _change(me: Mine, form: Sent, consent: str) -> Response:
    acts: dict[str, Callable[[CitizenDesk, Principal, str], object]] = {"pause": pause_it, "resume": resume_it}
    act = form.one("act")
    if act in acts:
        acts[act](me.desk, me.principal, consent)
        return see(f"{LIST}/{consent}", done=act)
    given, _ = own_given(me, consent)
    if act != "narrow" or not form.all("item"):
        return _one(me, given, error="error.choice_nothing")
    try:
        narrow_it(me.desk, me.principal, consent, items=left_of(given.offer, form.all("item")))
    except HubError as error:
        if error.code not in NOTHING_LEFT:
            raise
        return _one(me, given, error="error.choice_everything", ticked=form.all("item"))
    return see(f"{LIST}/{consent}", done="narrow")


def left_of(offer: Offer, ticked: list[str]) -> list[tuple[str, str]]:
    """Return what stays when the ticked items go: without a needed item, nothing of its dataset."""
    left = []
    for share in offer.shares:
        gone = {one.field for one in share.items if f"{share.dataset}/{one.field}" in ticked}
        if not any(one.required and one.field in gone for one in share.items):
            left += [(share.dataset, one.field) for one in share.items if one.field not in gone]
    return left
