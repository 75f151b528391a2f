"""Three errands: a driving licence (S3), help in time (S5), a child's card at a counter (S7). Two of them by asking."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from agency_adapters.errors import HubProblem
from hub.core.errors import HubError, Kind
from hub.demo.country import Country
from hub.demo.pages import Pages
from hub.demo.stories import Played, play, read, show

POLICE, FUND, DEBTS, CENTRE = "traffic-police", "social-fund", "debt-collection", "child-card-centre"


class Ask(NamedTuple):
    """A question as an office puts it: about whom, what for, and what happens to be the answer."""

    asker: str
    who: str
    purpose: str
    answer: str  # of the demo's happenings
    case: str = ""
    actor: str = ""


def ask(country: Country, pages: Pages, one: Ask) -> str:
    """Put a question, and show what the hub made of it. Returns its id; "" where nobody was asked."""
    happening = country.cast.happenings[one.answer]
    person = country.cast.people[one.who]
    put = country.agency(one.asker).ask(
        person.ids[one.asker], one.purpose, happening.dataset, case=one.case, actor=one.actor
    )
    country.tally.asks.append(str(put["state"]))
    pages.ask(put, who=person.name, asker=one.asker, case=one.case)
    return str(put["id"]) if put["state"] == "asked" else ""


def answered(
    country: Country, pages: Pages, one: Ask, *, title: str = "", grounds: Mapping[str, str] = MappingProxyType({})
) -> Played:
    """Ask; let the provider answer what reaches it, and the asker take what comes."""
    put = ask(country, pages, one)
    happening = country.cast.happenings[one.answer]
    provider = country.catalogue.datasets[happening.dataset].provider
    questions = [found for found in country.collect(provider) if found.document.get("ask") == put]
    if len(questions) != 1:
        raise HubError(Kind.CONFLICT, f"a question of the demo came {len(questions)} times", code="demo-event")
    event = country.publish(happening, answers=put)
    deliveries = {one.asker: country.collect(one.asker)}
    played = Played(event, deliveries, read(country, event, reader=READERS.get(one.who, one.who)))
    if title:
        show(pages, played, title, grounds)
    return played


READERS = {"an": "xiaohe", "sami": "layla"}  # who reads a child's history


def licence(country: Country, pages: Pages) -> None:
    """S3."""
    pages.chapter(
        "Story 3: A driving licence, without a folder of papers",
        "Tom Fernhollow renews his licence. He has been examined, and has paid; nobody sends him for papers.\n"
        "The Traffic Police opens a case and asks, one question to each office that knows.",
    )
    case = "TP-RENEW-5512"
    said = {"LICENCE-RENEW": "Tom said yes."}
    fit = answered(
        country,
        pages,
        Ask(POLICE, "tom", "LICENCE-RENEW", "tom-fitness", case),
        title="Tom is fit to drive",
        grounds=said,
    )
    kept = [name for name in ("clinic", "diagnosis_codes", "lab_results") if name in fit.event.data]
    pages.nobody(kept, fit.event.dataset, rules=["policy.diagnosis_never_released"])
    answered(country, pages, Ask(POLICE, "tom", "LICENCE-CHECK", "tom-licence", case), title="Tom's present licence")
    answered(country, pages, Ask(POLICE, "tom", "LICENCE-CHECK", "tom-fee", case), title="The fee is paid")
    pages.say(
        "Tom reads each of these questions in his own history, with the case it was asked for. "
        "[bold]And without a case?[/] An officer is curious about Tom, and has nothing open."
    )
    ask(country, pages, Ask(POLICE, "tom", "LICENCE-CHECK", "tom-licence"))
    pages.say("[bold]Another driver.[/] Pavel's certificate ran out a year ago, and he has said yes as well.")
    old = answered(country, pages, Ask(POLICE, "pavel", "LICENCE-RENEW", "pavel-fitness", "TP-RENEW-5513"))
    until = _value(old, POLICE, "valid_until")
    accepted = until >= country.cast.today.isoformat()
    pages.say(
        f"The answer says: valid until {until}. The Traffic Police does {'' if accepted else '[red]not[/] '}accept it, "
        "and tells Pavel why. It never learned what the examination found."
    )


def early_help(country: Country, pages: Pages) -> None:
    """S5, up to the flag."""
    pages.chapter(
        "Story 4: Help before the bills pile up",
        "Pavel Lesnogorsky has lost his job. Long before, he agreed that the Social Support Fund may hear of "
        "such things, so that it can come to him. Nobody else hears of it.",
    )
    said = {"EARLY-HELP": "Pavel said yes, long ago."}
    show(pages, play(country, "pavel-job-ends", reader="pavel"), "Pavel's job ended", said)
    bill = play(country, "pavel-bill", reader="pavel")
    show(pages, bill, "A bill may become too much", said)
    flagged = _value(bill, FUND, "at_risk")
    pages.say(
        f"The Fund has its flag{' [green]✓[/]' if flagged else ''}, and calls Pavel. Whom he worked for, what he "
        "earned and what he owes, it was never told."
    )
    refused = _refused(country, "EARLY-HELP", "util.account")
    pages.say(
        f"[bold]The Debt Collection Office asks as well.[/] The hub: [red]{refused}[/].\nWhatever anybody agrees: "
        f"{pages.reasons(['policy.no_debt_collection'], 'util.account')}"
    )


def counter(country: Country, pages: Pages) -> None:
    """S7."""
    pages.chapter(
        "Story 5: A child's health card, at a counter",
        "Xiaohe stands at a counter with An. The clerk has signed in as herself, and reads the visit's code from "
        "a ticket. Xiaohe approves on her own phone, for An and for herself: once, for this card.",
    )
    visit, clerk = "VISIT-0417", "counter-7/clerk-22"
    for on in ("an", ""):
        with country.citizen("xiaohe", on=on) as xiaohe:
            xiaohe.grant_unasked(CENTRE, "CHILD-CARD")
    said = {"CHILD-CARD": "Xiaohe has just approved it."}
    cover = Ask(CENTRE, "an", "CHILD-CARD", "an-cover", visit, clerk)
    answered(country, pages, cover, title="An is insured", grounds=said)
    guardian = answered(
        country, pages, Ask(CENTRE, "an", "CHILD-CARD", "an-guardian", visit, clerk), title="Xiaohe may act for An",
        grounds=said,
    )  # fmt: skip
    with country.citizen("xiaohe") as xiaohe:
        country.tally.saw(
            xiaohe.decisions()
        )  # the guardian's name is hers: An's own history does not show that it went
    same = _value(guardian, CENTRE, "guardian") == country.cast.people["xiaohe"].ids[CENTRE]
    who, so = ("one person", "the card is printed") if same else ("two people", "no card is printed")
    pages.say(
        f"An's guardian and the visitor at the counter are {who}: {so} while they wait. What was claimed from the "
        "insurance, and what the court has on file, stayed where they are."
    )
    pages.say("[bold]Once more?[/] Xiaohe approved one card. The clerk presses the button again.")
    ask(country, pages, cover)
    pages.say(
        "[bold]And somebody else's child.[/] Darya comes with a ticket in the name of Sami, whose guardian she is not. "
        "Layla, who is, has approved nothing."
    )
    ask(country, pages, Ask(CENTRE, "sami", "CHILD-CARD", "an-cover", "VISIT-0418", clerk))


def _refused(country: Country, purpose: str, dataset: str) -> str:
    """Have the debt collectors ask for a purpose that is not theirs; returns the hub's words."""
    try:
        country.agency(DEBTS).ask("DC-1", purpose, dataset, case="DC-1")
    except HubProblem as problem:
        country.tally.asks.append("refused")
        return problem.problem.what
    raise HubError(Kind.CONFLICT, "debt collectors were let in", code="demo-event")


def _value(played: Played, recipient: str, name: str) -> Any:
    """Find a value in what a recipient received."""
    found: Sequence[Any] = [
        one.document["data"][name]
        for one in played.deliveries[recipient]
        if one.kind == "data" and name in one.document["data"]
    ]
    if not found:
        raise HubError(Kind.CONFLICT, f"no {name} came in the demo", code="demo-event")
    return found[-1]
