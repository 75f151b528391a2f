"""The two stories: a child is born (S1), and a family moves (S4). Played step by step, told as they happen."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from agency_adapters.results import Delivery
from hub.demo.cast import Choice
from hub.demo.country import Country, Published
from hub.demo.pages import Pages
from hub.demo.tally import Seen, Tally
from hub.exchange.feed import rfc3339
from hub.ports import Clock

NEWBORN = "civil.birth.registered"
US = 1_000_000


class Played(NamedTuple):
    """An event, and what came of it."""

    event: Published
    deliveries: Mapping[str, list[Delivery]]
    decisions: list[Seen]


def begin(country: Country, clock: Clock) -> int:
    """Link everybody, let agencies ask and people answer. Returns how many ids were linked."""
    linked = country.link_everybody()
    for choice in country.cast.choices:
        _answer(country, choice, clock)
    for agency in {choice.to for choice in country.cast.choices}:
        country.collect(agency)  # an objection is told to whom it concerns; the stories begin with empty hands
    country.tally = Tally()
    return linked


def _answer(country: Country, choice: Choice, clock: Clock) -> None:
    with country.citizen(choice.who, on=choice.on) as citizen:
        if choice.says == "object":
            citizen.object_to(choice.to, choice.purpose)
            return
        country.agency(choice.to).request_consent(country.cast.people[choice.on].ids[choice.to], choice.purpose)
        if choice.says == "nothing":
            return
        asked = str(citizen.request_for(choice.to, choice.purpose)["consent"])
        if choice.says == "no":
            citizen.refuse(asked)
        else:
            until = rfc3339(clock() + choice.for_s * US) if choice.for_s else ""
            citizen.grant(asked, until=until)


def play(country: Country, name: str, *, reader: str, child: str = "") -> Played:
    """Publish, let every recipient pull and acknowledge, and read in the person's own history what was decided."""
    event = country.publish(country.cast.happenings[name], child=child)
    deliveries = {one: country.collect(one) for one in country.recipients(event.dataset)}
    return Played(event, deliveries, read(country, event, reader=reader))


def read(country: Country, event: Published, *, reader: str) -> list[Seen]:
    """Read the subject's history, as `reader` on their behalf: one decision per recipient, in their own role."""
    role = country.catalogue.datasets[event.dataset].subject_role
    with country.citizen(reader, on=event.about) as citizen:
        seen = [one for one in citizen.decisions() if one.case == event.case]
    country.tally.saw(seen)
    return [one for one in seen if one.role == role]


def birth(country: Country, pages: Pages) -> None:
    """S1."""
    pages.chapter(
        "Story 1: A child is born",
        "Ivy Fernhollow is nine days old. Her parents are tired and have filled in no form.\n"
        "Three offices could help if they knew. None of them needs to know everything.",
    )
    _ivy(country, pages)
    _mira(country, pages)
    _sami(country, pages)
    _an(country, pages)


def _ivy(country: Country, pages: Pages) -> None:
    with country.citizen("nora", on="ivy") as nora:
        offer = nora.consent_for("lindum", "KINDER-PLACE")["offer"]
    pages.question(offer, to="Nora, for Ivy")
    pages.say(
        "Nora said [green]yes[/]. For the family allowance nobody is asked: the law allows it, and one may object."
    )
    yes = {"KINDER-PLACE": "Nora said yes."}
    born = play(country, "ivy-birth", reader="nora")
    show(pages, born, "Ivy was born", yes)
    show(pages, play(country, "ivy-residence", reader="nora"), "Ivy lives in Lindum", yes)
    show(pages, play(country, "nora-account", reader="nora"), "Nora has a bank account", {})
    went = {name for got in born.deliveries.values() for one in got for name in one.document["data"]}
    left = [name for name in born.event.data if name not in went]
    pages.nobody(left, NEWBORN, rules=["policy.birth_weight_never_released"])
    pages.say(
        "The month of birth was worked out on the way; Lindum never saw the day. And Ivy goes by another name at each "
        "office, so two of them cannot lay their lists side by side."
    )


def _mira(country: Country, pages: Pages) -> None:
    pages.say(
        "[bold]Another family.[/] Mira's father Pavel has objected to the family allowance, as the law lets him. "
        "Her mother Darya said no to Lindum's question."
    )
    born = play(country, "mira-birth", reader="darya")
    said = {"KINDER-PLACE": "Darya said no.", "FAM-ALLOW": "The law allows it; Pavel objected for his part."}
    show(pages, born, "Mira was born", said, only=("family-benefits", "lindum"))
    parents = [
        one.document["data"].get("parent_ids", ()) for one in born.deliveries["family-benefits"] if one.kind == "data"
    ]
    pages.say(
        f"{len(born.event.data['parent_ids'])} parents were reported, {sum(map(len, parents))} went to the Family "
        "Benefits Office: Pavel's part stayed behind. Mira's own allowance does not suffer for it."
    )


def _sami(country: Country, pages: Pages) -> None:
    pages.say(
        "[bold]A change of mind.[/] Layla said yes for Sami. His birth is reported, and a delivery lies ready for "
        "Lindum. Before Lindum comes to fetch it, Layla says: no, stop."
    )
    event = country.publish(country.cast.happenings["sami-birth"])
    with country.citizen("layla", on="sami") as layla:
        gone = layla.withdraw(layla.consent_for("lindum", "KINDER-PLACE")["consent"])
    country.tally.withdraw_ms.append(gone.took_ms)
    pages.receipt(gone.receipt, took_ms=gone.took_ms, whose="Layla")
    deliveries = {one: country.collect(one) for one in country.recipients(event.dataset)}
    born = Played(event, deliveries, read(country, event, reader="layla"))
    show(pages, born, "Sami was born", {"KINDER-PLACE": "Layla said yes, and withdrew it."}, only=("lindum",))
    stops = [one for one in deliveries["lindum"] if one.kind == "stop"]
    pages.say(
        f"What lay ready never left. Lindum came, and found {len(stops)} message instead: [yellow]stop[/], "
        "this consent has ended. Lindum has confirmed it."
    )


def _an(country: Country, pages: Pages) -> None:
    with country.citizen("xiaohe", on="an") as xiaohe:
        gone = xiaohe.withdraw(xiaohe.consent_for("lindum", "KINDER-START")["consent"])
    country.tally.withdraw_ms.append(gone.took_ms)
    pages.say(
        "[bold]Three years on.[/] An's parents had agreed to an invitation to kindergarten, and no longer want it."
    )
    turned = play(country, "an-turned-3", reader="xiaohe")
    show(pages, turned, "An turned three", {"KINDER-START": "Xiaohe said yes once, and withdrew it."})


def move(country: Country, pages: Pages) -> None:
    """S4."""
    pages.chapter(
        "Story 2: A family moves, and tells it once",
        "Xiaohe Linqiu moves to Orchard Steps with her family, and tells the Population Register. Only the register.\n"
        "Five offices are waiting for such news. Each gets what it needs for its own work.",
    )
    with country.citizen("xiaohe") as xiaohe:
        pages.switches(xiaohe.uses(), "pop.address.changed", whose="Xiaohe's")
    moved = play(country, "xiaohe-move", reader="xiaohe")
    show(pages, moved, "Xiaohe moved", {"UTILITY-MOVE": "Xiaohe said yes."})
    went = {name for got in moved.deliveries.values() for one in got for name in one.document["data"]}
    left = [name for name in moved.event.data if name not in went | {"resident"}]
    rules = ["policy.household_never_to_utilities", "policy.old_address_never_to_school"]
    pages.nobody(left, moved.event.dataset, rules=rules)
    pages.say("[bold]And somebody else.[/] Darya moves too. Lindum Utilities has asked her; she has not answered yet.")
    waits = {"UTILITY-MOVE": "Only with a yes; Darya has not answered."}
    show(pages, play(country, "darya-move", reader="darya"), "Darya moved", waits, only=("utilities",))


def show(pages: Pages, played: Played, title: str, grounds: Mapping[str, str], *, only: Sequence[str] = ()) -> None:
    event, deliveries, decisions = played
    pages.event(event, title=title, deliveries=deliveries, decisions=decisions, grounds=grounds, only=only)
