"""How the demo looks in a terminal: one table per event, short sentences, no jargon."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import ROUNDED, SIMPLE_HEAD
from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from agency_adapters.results import Delivery
from hub.core.agreement import Basis, Catalogue, Purpose
from hub.demo.citizen import Use
from hub.demo.country import Published
from hub.demo.tally import Received, Seen, telling, why_not
from hub.web.words import words

LANGUAGE = "en"
WIDTH = 100  # columns: a sentence stays readable, and three columns of a table fit side by side
MADE_UP = "p1."  # how a name begins that the hub made for one agency alone
SHORT_NAME = 11  # characters shown of a name that the hub made up: "p1." and enough to tell two apart
GOT, KEPT, NO = "green", "bright_black", "red"


@dataclass(frozen=True, slots=True)
class Pages:
    """The narrator. Titles come from the catalogue, reasons from the words that citizens read."""

    console: Console
    catalogue: Catalogue

    def chapter(self, title: str, text: str) -> None:
        self.console.print()
        self.console.print(Rule(Text(f" {title} ", "bold"), style="cyan"), width=self.width)
        self.say(text)

    def say(self, text: str) -> None:
        """Print a sentence or two. Rich markup is understood."""
        self.console.print()
        self.console.print(Padding(Text.from_markup(text), (0, 2)), width=self.width)

    @property
    def width(self) -> int:
        return min(self.console.width, WIDTH)

    def question(self, offer: Mapping[str, Any], *, to: str) -> None:
        """Show what a person was asked, as they read it."""
        asked = [
            f"{_listed(_small(item['title']) for item in share['items'])}, from the {share['provider_title']}"
            for share in offer["shares"]
        ]
        withheld = [
            _small(one["title"])
            for share in offer["shares"]
            for one in share["withheld"]
            if self.catalogue.datasets[share["dataset"]].fields[one["field"]].names != "person_ref"
        ]
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="bold")
        rows.add_column()
        rows.add_row("Would get", Text("\n".join(asked), GOT))
        rows.add_row("Would not get", Text(_listed(withheld), KEPT))
        rows.add_row("Your benefit", str(offer["benefit"]))
        rows.add_row("Not used for", _listed(offer["not_used_for"]))
        title = f"{offer['recipient_title']} asks {to}: {_small(offer['purpose_title'])}"
        self._panel(rows, title)

    def event(
        self,
        event: Published,
        *,
        title: str,
        deliveries: Mapping[str, Sequence[Delivery]],
        decisions: Iterable[Seen],
        grounds: Mapping[str, str],
        only: Sequence[str] = (),
    ) -> None:
        """Show one event: who got which fields with their values, what stayed behind, who was refused and why.

        `deliveries` by recipient; `grounds` may say in the story's own words why a recipient may, by purpose.
        With `only`, these recipients have a row, and the others are named below.
        """
        known = list(decisions)
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), leading=1, expand=True)
        table.add_column("who, and on what ground", ratio=34)
        table.add_column("receives", ratio=38)
        table.add_column("does not receive", ratio=28)
        for one in known:
            if only and one.recipient not in only:
                continue
            purpose = self.catalogue.purposes[one.purpose]
            who = Text(self._agency(one.recipient), "bold")
            who.append(f"\n{self._purpose(purpose)}. {grounds.get(one.purpose) or _ground(purpose)}", "not bold italic")
            got = [
                d
                for d in deliveries.get(one.recipient, ())
                if d.kind == "data" and d.document["purpose"] == one.purpose
            ]
            if got:
                left = self._withheld(event, got)
                table.add_row(who, self._released(event.dataset, got[0]), Text(_listed(left), KEPT))
            else:
                table.add_row(who, self._refused(event, one), Text("anything", KEPT))
        dataset = self.catalogue.datasets[event.dataset]
        heading = Text.from_markup(
            f"{title} [{KEPT}]({self._agency(dataset.provider)} reports {len(event.data)} items)[/]"
        )
        others = [self._agency(one.recipient) for one in known if only and one.recipient not in only]
        self._panel(Group(table, Text(f"\n{_listed(others)}: as before.", KEPT)) if others else table, heading)

    def ask(self, asked: Mapping[str, Any], *, who: str, asker: str, case: str) -> None:
        """Show what an office asked about somebody, and whether the hub put the question."""
        dataset = self.catalogue.datasets[asked["dataset"]]
        titles = self._titles(asked["dataset"])
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="bold")
        rows.add_column()
        rows.add_row("Asks for", _listed(_small(titles[name]) for name in asked["fields"]))
        rows.add_row("Of the", self._agency(dataset.provider))
        rows.add_row("Open case", Text(case) if case else Text("none", NO))
        if asked["state"] == "refused":
            why = self.reasons(telling(asked["reasons"]), asked["dataset"])
            rows.add_row("The hub says", Text(f"✗ not asked. {why}", NO))
        else:
            rows.add_row("The hub says", Text("✓ asked", GOT))
        self._panel(rows, f"{self._agency(asker)} asks about {who}")

    def nobody(self, names: Sequence[str], dataset: str, *, rules: Sequence[str]) -> None:
        """Name what nobody got, and the rules that would not have it otherwise whatever anybody agreed."""
        titles = self._titles(dataset)
        never = " ".join(words(rule, LANGUAGE) for rule in rules)
        kept = _listed(_small(titles[name]) for name in names)
        self.say(f"[{NO}]Nobody at all[/] received: {kept}.\nWhatever anybody agrees: {never}")

    def switches(self, uses: Iterable[Use], dataset: str, *, whose: str) -> None:
        """Show the page of switches: one line per receiver of a dataset."""
        table = Table.grid(padding=(0, 3))
        for _ in range(3):
            table.add_column()
        for use in uses:
            for share in use.offer["shares"]:
                if share["dataset"] == dataset:
                    switch = Text("● on, your choice", GOT) if use.choice else Text("● on, by law", "cyan")
                    items = _listed(_small(one["title"]) for one in share["items"])
                    table.add_row(Text(use.offer["recipient_title"], "bold"), items, switch)
        self._panel(table, f"{whose} page: one switch per receiver")

    def receipt(self, receipt: Mapping[str, Any], *, took_ms: float, whose: str) -> None:
        """Show what a withdrawal gave back."""
        opened = receipt["opened_before"]
        lines = [
            f"[bold]{whose}[/] withdrew. The answer came after [bold]{took_ms:.0f} milliseconds[/]: nothing more goes.",
            "Already handed out before that moment: "
            + (_listed(self._opened(one) for one in opened) if opened else "[bold]nothing[/]")
            + ".",
        ]
        self._panel(Text.from_markup("\n".join(lines)), "Receipt", style="yellow")

    def reasons(self, codes: Iterable[str], dataset: str) -> str:
        """Put reasons into the words that a citizen reads."""
        titles = self._titles(dataset)
        return " ".join(words(code, LANGUAGE, titles=titles) for code in codes)

    def received(self, rows: Iterable[Received]) -> None:
        """Show what each recipient of a whole export got, and what was kept from it."""
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), leading=1, expand=True)
        table.add_column("who", ratio=26)
        table.add_column("received", ratio=42)
        table.add_column("did not receive", ratio=32)
        for one in rows:
            fields = ", ".join(f"{name} {count}" for name, count in sorted(one.fields.items()))
            got = Text(f"{one.deliveries} deliveries about {one.people} people\n", GOT).append(fields, "default")
            if one.stops:
                got.append(f"\n{one.stops} stop: a consent has ended", "yellow")
            kept = Text(f"{one.kept} times nothing\n", NO if one.kept else KEPT)
            for code, count in one.reasons.items():
                kept.append(f"{count}: {words(code, LANGUAGE)}\n", "default")
            table.add_row(Text(self._agency(one.recipient), "bold"), got, kept)
        self._panel(table, "What each office received")

    def totals(self, counted: Mapping[str, Any]) -> None:
        """Show what was counted, at the end."""
        table = Table.grid(padding=(0, 3))
        table.add_column(justify="right", style="bold cyan")
        table.add_column()
        for name, text in TOTALS.items():
            table.add_row(str(counted[name]), text)
        self._panel(table, "Counted, from what the recipients received and the citizens read")

    def next_steps(self, rows: Mapping[str, str]) -> None:
        """Say what to open or type next, and what for."""
        table = Table.grid(padding=(0, 3))
        table.add_column(style="bold cyan", no_wrap=True)
        table.add_column()
        for step, text in rows.items():
            table.add_row(Text(step), text)
        self._panel(table, "Now it is yours: open these, or type in another terminal (. .venv/bin/activate first)")

    def _panel(self, inside: Table | Text | Group, title: str | Text, *, style: str = "cyan") -> None:
        heading = Text(title, "bold") if isinstance(title, str) else title
        self.console.print()
        self.console.print(
            Panel(inside, title=heading, title_align="left", box=ROUNDED, border_style=style, padding=(1, 2)),
            width=self.width,
        )

    def _agency(self, code: str) -> str:
        return self.catalogue.agencies[code].titles[LANGUAGE]

    def _purpose(self, purpose: Purpose) -> str:
        return purpose.titles[LANGUAGE]

    def _titles(self, dataset: str) -> dict[str, str]:
        known = self.catalogue.datasets[dataset]
        derived = {name: (one.titles or {}).get(LANGUAGE, name) for name, one in known.derived.items()}
        return {name: one.titles[LANGUAGE] for name, one in known.fields.items()} | derived

    def _released(self, dataset: str, delivery: Delivery) -> Text:
        titles, text = self._titles(dataset), Text()
        for name, value in delivery.document["data"].items():
            if value != delivery.subject:
                text.append("✓ ", GOT)
                text.append(f"{titles[name]}: ")
                text.append(f"{_shown(value)}\n", GOT)
        if not delivery.subject:  # nothing of the person themselves is in it; the ask says whom it is about
            return text.append("about whom was asked", "cyan")
        whose = "a name made for it alone" if delivery.subject.startswith(MADE_UP) else "its own number"
        return text.append(f"about {_shown(delivery.subject)}, {whose}", "cyan")

    def _refused(self, event: Published, one: Seen) -> Text:
        return Text("✗ nothing\n", NO).append(self.reasons(telling(why_not(one)), event.dataset))

    def _withheld(self, event: Published, got: Sequence[Delivery]) -> list[str]:
        titles = self._titles(event.dataset)
        went = {name for one in got for name in one.document["data"]}
        kept = [name for name in event.data if name not in went and event.data[name] != event.subject]
        return [_small(titles[name]) for name in kept]

    def _opened(self, one: Mapping[str, Any]) -> str:
        dataset = _small(self.catalogue.datasets[one["dataset"]].titles[LANGUAGE])
        return f"“{dataset}”, {self._agency(one['recipient'])}'s number {one['number']}"


TOTALS = {
    "events": "things happened and were reported",
    "decisions": "times the hub decided: this report, for this office, about this person",
    "releases": "times an office received something",
    "refusals": "times an office received nothing",
    "asks": "questions that offices had about one person",
    "asks_refused": "of these, questions that nobody was asked",
    "holds": "times something was kept until its person has answered",
    "deliveries_acknowledged": "deliveries and stops that offices confirmed",
    "fields_released": "single items that went",
    "fields_withheld": "single items that stayed where they were",
    "withdraw_ms": "milliseconds for the slowest withdrawal, as its person waited",
    "seconds": "seconds, from starting the hub to here",
}


def _small(title: str) -> str:
    """Write a title as it stands inside a sentence; what begins with an abbreviation keeps it."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def _ground(purpose: Purpose) -> str:
    if purpose.basis is Basis.LAW_WITH_OBJECTION:
        return f"The law allows it ({purpose.law}); one may object."
    if purpose.basis.needs_consent:
        return "Only with a yes."
    return f"The law asks for it ({purpose.law})."


def _shown(value: Any) -> str:
    """Show a value; a name that the hub made up is cut short."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return _listed(_shown(one) for one in value)
    text = str(value)
    return f"{text[:SHORT_NAME]}…" if text.startswith(MADE_UP) else text


def _listed(parts: Iterable[str]) -> str:
    """Join as one says it: a, b and c."""
    known = list(parts)
    return known[0] if len(known) == 1 else f"{', '.join(known[:-1])} and {known[-1]}" if known else "nothing else"
