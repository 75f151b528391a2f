"""`hub topics`: show what the brokers have to be told, for somebody to review, and then tell them exactly that."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hub.bus.kafka_plan import Plan, Wanted
    from hub.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The bus's topics and their ACLs, where Kafka is the bus.")


@app.command()
def plan(as_json: Annotated[bool, typer.Option("--json", help="The plan as one JSON object.")] = False) -> None:
    """Compare the catalogue in force with the brokers. Changes nothing; exit code 1 where something bars a topic."""
    from hub.bus.kafka_access import access_of
    from hub.bus.kafka_topics import plan_now

    settings = _on_kafka()
    found = plan_now(access_of(settings, of="admin"), _wanted(settings))
    if as_json:
        print(json.dumps(found.document(), indent=2))
    else:
        _show(found)
    if any(one.bars for one in found.findings):
        raise typer.Exit(1)


@app.command()
def apply(
    expect: Annotated[str, typer.Option("--expect", help="The digest of the plan that was reviewed.")],
) -> None:
    """Do exactly the plan of this digest: grants, then topics, then their settings. Never deletes a topic or an ACL."""
    from hub.bus.kafka_access import access_of
    from hub.bus.kafka_topics import carry_out

    settings = _on_kafka()
    done = carry_out(access_of(settings, of="admin"), _wanted(settings), expect)
    print(f"Done: {len(done.grants)} grants, {len(done.create)} topics, {len(done.configure)} configured.")
    _show_findings(done)


def _on_kafka() -> "Settings":
    from hub.commands.operator import settings_now
    from hub.core.errors import HubError, Kind

    settings = settings_now()
    if settings.bus != "kafka":
        raise HubError(
            Kind.STARTUP,
            "this hub's bus has no topics to plan: it is in the hub's own database",
            where="bus",
            remedy="Set HUB_BUS=kafka and HUB_KAFKA_BOOTSTRAP where Kafka is to be the bus.",
            code="topics-embedded",
        )
    return settings


def _wanted(settings: "Settings") -> "Wanted":
    """Read the catalogue in force, from the hub that runs or from the store."""
    from hub.bus.kafka_plan import wanted_of
    from hub.commands.operator import ask, opened, running
    from hub.core.catalogue import from_document

    client = running(settings)
    if client is not None:
        with client:
            return wanted_of(settings, from_document(ask(client, "GET", "/catalogue")))
    with opened(settings) as hub:
        return wanted_of(settings, hub.approved())


def _show(found: "Plan") -> None:
    document: dict[str, Any] = found.document()
    for one in found.grants:
        print(f"grant      {one.principal} may {one.operation} {one.resource.lower()} {one.name}")
    for name, topic in found.create.items():
        config = ", ".join(f"{key}={value}" for key, value in sorted(topic.config.items()))
        print(f"create     {name}: {topic.partitions} partitions, on {topic.replication} brokers, {config}")
    for name, changed in found.configure.items():
        print(f"configure  {name}: " + ", ".join(f"{key}={value}" for key, value in sorted(changed.items())))
    _show_findings(found)
    if found.grants or found.create or found.configure:
        print(f"To do exactly this: hub topics apply --expect {document['digest']}")
    else:
        print("Nothing to do.")


def _show_findings(found: "Plan") -> None:
    for one in found.findings:
        effect = " - nothing of it is decided" if one.bars else ""
        print(f"FINDING    {one.topic or 'all topics'}: {one.what}{effect}. {one.remedy}")
