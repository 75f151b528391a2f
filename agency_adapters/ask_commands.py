"""`hub-agency ask` and `hub-agency answer`: a question of this agency's own, and what others ask of it."""

import dataclasses
import os
from pathlib import Path
from typing import Annotated

import typer

from agency_adapters.asks import Answered, answer_asks, read_answers
from agency_adapters.client import HubClient
from agency_adapters.profile import directory_of, read_profile, seen_path
from agency_adapters.seen import Seen
from agency_adapters.terminal import line, tell

ProfileName = Annotated[str | None, typer.Option("--profile", help="Which profile; else the only or the last one.")]
LONGEST_WAIT_S = 30


def add_ask_commands(app: typer.Typer) -> None:
    """Add both to the command line."""

    @app.command()
    def ask(
        subject: Annotated[str, typer.Argument(help="The person, by this agency's own id.")],
        purpose: Annotated[str, typer.Option(help="What for, as the agreement has it.")],
        dataset: Annotated[str, typer.Option(help="What is asked for.")],
        case: Annotated[str, typer.Option(help="The open case. Without one the hub's policy refuses.")] = "",
        field: Annotated[list[str] | None, typer.Option(help="One field; again for more. Default: all agreed.")] = None,
        deadline: Annotated[str, typer.Option(help="RFC 3339; until then an answer helps. Default: 24 hours.")] = "",
        ask_id: Annotated[str, typer.Option("--id", help="This agency's own id of the question.")] = "",
        wait: Annotated[int, typer.Option(min=0, max=LONGEST_WAIT_S, help="Seconds to wait until it is closed.")] = 0,
        profile: ProfileName = None,
    ) -> None:
        """Ask a provider about one person; write the ask as it stands. Its answer comes with `pull`."""
        found, key = read_profile(directory_of(os.environ), profile)
        with HubClient(found.settings, key) as client:
            put = client.ask(
                subject, purpose, dataset, case=case, fields=field or (), deadline=deadline or None,
                ask_id=ask_id or None,
            )  # fmt: skip
            line(client.asked(str(put["id"]), wait_s=wait) if wait else put)

    @app.command()
    def answer(
        source: Annotated[Path, typer.Option("--from", help="JSON lines: dataset, subject, data.")],
        wait: Annotated[int, typer.Option(min=0, help="Seconds to wait for the first question.")] = 0,
        limit: Annotated[int | None, typer.Option(min=1, help="At most so many; else all there are.")] = None,
        profile: ProfileName = None,
    ) -> None:
        """Answer what is asked from a file; write one line a question, and whatever else is in the feed."""
        lookup, directory = read_answers(source), directory_of(os.environ)
        found, key = read_profile(directory, profile)
        counts = {"answered": 0, "no_answer": 0, "gone": 0}
        with HubClient(found.settings, key) as client, Seen(seen_path(directory, found.name)) as seen:
            for one in answer_asks(client, seen, lookup, limit=limit, wait_s=wait):
                if isinstance(one, Answered):
                    counts[one.outcome] += 1
                    line({**dataclasses.asdict(one.question), "outcome": one.outcome})
                else:
                    line(one.document)
        tell(", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in counts.items()) + ".")
