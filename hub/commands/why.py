"""`hub why`: for the operator, why somebody got something or did not, in words."""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from hub.core.agreement import Catalogue

LANGUAGE = "en"  # as every word that an operator reads
OUTCOMES = {"release": ("released", "green"), "hold": ("held", "yellow"), "refusal": ("refused", "red")}
FOLLOWS = ("nothing.left", "required.lost")  # what a person's own reason leads to; read after it
THEN = {
    "release": "It was handed out.",
    "hold": "At the hand-out it was held.",
    "refusal": "At the hand-out it was stopped:",
}


def why(
    token: Annotated[str, typer.Argument(help="An event's status token (st1....), or a delivery's id.")] = "",
    last: Annotated[bool, typer.Option("--last", help="The last decision.")] = False,
    count: Annotated[int, typer.Option(min=1, max=100, help="With --last: so many, the latest at the end.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object; reasons as codes.")] = False,
) -> None:
    """Say of a decision who got which fields, who did not, and every reason. Persons have no names here."""
    from rich.console import Console

    if bool(token) == last:
        raise typer.BadParameter("name an event's token or a delivery's id, or say --last", param_hint="TOKEN")
    decisions, catalogue = _found(token, count)
    if as_json:
        print(json.dumps({"decisions": decisions}, ensure_ascii=False))
        return
    console = Console(highlight=False, soft_wrap=False)
    if not decisions:
        console.print("Nothing was decided yet.")
    for one in decisions:
        _show(console, one, catalogue)


def _found(token: str, last: int) -> tuple[list[dict[str, Any]], "Catalogue"]:
    """Ask the running hub, or open its store where none runs."""
    from hub.commands.operator import ask, opened, running, settings_now
    from hub.core.catalogue import from_document
    from hub.web.why import explain

    settings = settings_now()
    client = running(settings)
    if client is None:
        with opened(settings) as hub:
            return explain(hub.world, token=token, last=last), hub.approved()
    with client:
        query = f"token={quote(token, safe='')}" if token else f"last={last}"
        found = ask(client, "GET", f"/why?{query}")["decisions"]
        return found, from_document(ask(client, "GET", "/catalogue"))


def _show(console: "Console", one: Mapping[str, Any], catalogue: "Catalogue") -> None:
    from rich.padding import Padding
    from rich.text import Text

    dataset = catalogue.datasets.get(one["dataset"])
    title = dataset.titles[LANGUAGE] if dataset else "Something that nobody subscribes to"
    heading = Text(f"{title}", "bold cyan")
    heading.append(
        f"  {one['dataset']}, {'asked' if one['asked'] else 'decided'} {one['at']}, entry {one['entry']} of the log",
        "bright_black",
    )
    console.print(heading)
    console.print(Padding(Text("about " + ", ".join(one["persons"])), (0, 2)))
    if one["erased"]:
        console.print(Padding(Text(f"{one['erased']} erased since: nothing of it is kept", "yellow"), (0, 2)))
    for answer in one["recipients"]:
        console.print(Padding(_answer(answer, catalogue, one["dataset"]), (1, 2, 0, 2)))
    console.print()


def _answer(answer: Mapping[str, Any], catalogue: "Catalogue", dataset: str) -> Any:
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    word, colour = OUTCOMES[answer["outcome"]]
    agency, purpose = catalogue.agencies.get(answer["recipient"]), catalogue.purposes.get(answer["purpose"])
    text = Text(agency.titles[LANGUAGE] if agency else answer["recipient"], "bold")
    text.append(f", {purpose.titles[LANGUAGE] if purpose else answer['purpose']}: ", "not bold")
    text.append(word, colour)
    text.append(f"  {answer['purpose']}, {answer['agreement']} v{answer['version']}", "bright_black not bold")
    lines: list[Any] = [text]
    personal = {code for person in answer["persons"] for code in person["reasons"]}
    of_all = [code for code in answer["reasons"] if code not in personal]
    follows = [code for code in of_all if code.startswith(FOLLOWS)]
    causes = [code for code in of_all if code not in follows]
    lines += [Padding(line, (0, 0, 0, 2)) for line in _reasons(causes, catalogue, dataset)]
    for person in answer["persons"]:
        lines.append(Padding(_person(person, catalogue, dataset), (0, 0, 0, 2)))
        lines += [Padding(line, (0, 0, 0, 4)) for line in _reasons(person["reasons"], catalogue, dataset)]
    lines += [Padding(line, (0, 0, 0, 2)) for line in _reasons(follows, catalogue, dataset)]
    if answer["then"]:
        lines.append(Padding(Text(THEN[answer["then"]], "cyan"), (0, 0, 0, 2)))
        lines += [Padding(line, (0, 0, 0, 4)) for line in _reasons(answer["then_reasons"], catalogue, dataset)]
    return Group(*lines)


def _person(person: Mapping[str, Any], catalogue: "Catalogue", dataset: str) -> Any:
    from rich.text import Text

    text = Text(f"{person['person']}: ")
    text.append(f"got {_listed(person['released'], catalogue, dataset)}", "green" if person["released"] else "")
    if person["withheld"]:
        text.append(f"; kept back: {_listed(person['withheld'], catalogue, dataset)}", "bright_black")
    return text


def _reasons(codes: Iterable[str], catalogue: "Catalogue", dataset: str) -> list[Any]:
    from rich.text import Text

    from hub.web.words import words

    titles = _titles(catalogue, dataset)
    return [Text(f"- {words(code, LANGUAGE, titles=titles)}").append(f"  {code}", "bright_black") for code in codes]


def _listed(names: Iterable[str], catalogue: "Catalogue", dataset: str) -> str:
    titles = _titles(catalogue, dataset)
    return ", ".join(titles.get(name, name) for name in names) or "nothing"


def _titles(catalogue: "Catalogue", dataset: str) -> dict[str, str]:
    known = catalogue.datasets.get(dataset)
    if known is None:
        return {}
    derived = {name: (one.titles or {}).get(LANGUAGE, name) for name, one in known.derived.items()}
    return {name: one.titles[LANGUAGE] for name, one in known.fields.items()} | derived
