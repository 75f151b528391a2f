"""What an agency sees of itself: its own agreements and schemas, one AsyncAPI document, and nothing of anybody else.

Whatever is delivered fits the document: shown on the demo's deliveries, and on made-up events of every dataset.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agency_adapters.results import Delivery
from hub.clock import system_clock
from hub.core.agreement import Catalogue, Subscription
from hub.core.asyncapi import asyncapi_document, channel_of
from hub.core.minimise import fields_by_person, mentions, merge, minimise, rewrite
from hub.core.reduced import reduced_schema
from hub.demo.country import Country
from hub.demo.run import open_country
from hub.demo.stories import begin
from hub.exchange.own_catalogue import describe_own
from hub.identity.pseudonyms import alias, pseudonym
from hub.store.facts import RuleFacts
from hub.store.file_drop import turn_off, turn_on
from hub.store.webhooks import WebhookRow, put_webhook
from tests.protocol_world import NOW_US, shipped
from tests.world import Town, town

ISSUER = "https://hub.example"
PARSER = Path(__file__).resolve().parents[1] / ".tools" / "asyncapi"
NODE = shutil.which("node")


@lru_cache(maxsize=64)
def document(agency: str) -> dict[str, Any]:
    return asyncapi_document(shipped()[0], agency, issuer=ISSUER)


def own_lines(agency: str) -> list[Subscription]:
    return [one for one in shipped()[0].subscriptions.values() if one.recipient == agency]


def described(agency: str, **rules: Any) -> dict[str, Any]:
    catalogue = shipped()[0]
    phases = dict.fromkeys([one.number for one in catalogue.agreements.values()], "in_force")
    facts = RuleFacts("r", rules.get("phases", phases), frozenset(), {})
    return describe_own(catalogue, agency, facts, now_us=NOW_US)


def agencies() -> list[str]:
    return sorted(shipped()[0].agencies)


# The catalogue.


@pytest.mark.parametrize("agency", agencies())
def test_an_agency_sees_its_own_lines_and_nobody_elses(agency: str) -> None:
    """Agreements that it is a party to, subscriptions that it is the recipient of, datasets that it publishes."""
    own, catalogue = described(agency), shipped()[0]
    assert {one["code"] for one in own["agreements"]} == {
        one.code for one in catalogue.agreements.values() if agency in (one.provider, one.recipient)
    }
    assert {(one["agreement"], one["purpose"], one["dataset"]) for one in own["subscriptions"]} == {
        (one.agreement.code, one.purpose.code, one.dataset.name) for one in own_lines(agency)
    }
    assert {one["name"] for one in own["datasets"]} == {
        one.name for one in catalogue.datasets.values() if one.provider == agency
    }
    parties = {code for one in own["agreements"] for code in (one["provider"], one["recipient"])} | {agency}
    strangers = set(catalogue.agencies) - parties
    assert not [code for code in strangers if f'"{code}"' in json.dumps(own)]


def test_a_subscription_shows_only_what_may_ever_come_and_why() -> None:
    """Fields with their titles in every language, the law, how long it may be kept, how far look-back reaches."""
    (residence,) = [one for one in described("lindum")["subscriptions"] if one["dataset"] == "pop.residence"]
    assert [one["name"] for one in residence["fields"]] == ["municipality_code"]
    assert set(residence["fields"][0]["titles"]) == {"en", "ru", "ar", "zh"}
    assert set(residence["schema"]["properties"]) == {"municipality_code"}
    assert residence["schema"]["additionalProperties"] is False
    assert {"law", "retention_days", "look_back_days", "basis", "benefit", "not_used_for"} <= residence.keys()


def test_a_reduced_schema_is_of_what_arrives_and_not_of_what_was_sent() -> None:
    """Names are the recipient's, identifiers are aliases; of an array elements may be missing, or name one person."""
    seen = set()
    for line in shipped()[0].subscriptions.values():
        properties = reduced_schema(line)["properties"]
        for name in line.allowed & line.dataset.fields.keys():
            field, schema = line.dataset.fields[name], properties[name]
            one = schema["items"] if field.many else schema
            if field.names == "identifier":
                assert jsonschema_rs.is_valid(one, alias(b"s" * 32, "tax", name, "AB-1"))
                assert not jsonschema_rs.is_valid(one, "AB-1")
            if field.names == "person_ref":
                assert jsonschema_rs.is_valid(one, pseudonym(b"s" * 32, "tax", 7))
            assert not field.many or not {"minItems", "uniqueItems"} & schema.keys()
            seen |= {field.names, field.many}
    assert {"identifier", "person_ref", True} <= seen


def test_agreements_that_are_not_in_force_are_shown_as_what_they_are() -> None:
    """A recipient sees that it hears nothing, and why."""
    own = described("lindum", phases={})
    assert {one["phase"] for one in own["agreements"]} == {"unsigned"}
    assert {one["phase"] for one in own["subscriptions"]} == {"unsigned"}


def test_a_publisher_gets_its_whole_schema() -> None:
    """It is what its events are checked against."""
    own = {one["name"]: one for one in described("population-register")["datasets"]}
    assert own["pop.residence"]["schema"] == shipped()[0].datasets["pop.residence"].schema


# The document.


@pytest.mark.parametrize("agency", agencies())
def test_the_document_has_a_channel_for_each_subscription_and_nothing_of_others(agency: str) -> None:
    """Besides those for notices and acknowledgements; every reference leads somewhere."""
    made, catalogue = document(agency), shipped()[0]
    assert set(made["channels"]) == {channel_of(one) for one in own_lines(agency)} | {"notices", "acknowledgements"}
    text = json.dumps(made)
    providers = {one.agreement.provider for one in own_lines(agency)}
    assert not [code for code in set(catalogue.agencies) - providers - {agency} if f"{code} " in text]
    for reference in references(made):
        at: Any = made
        for step in reference.removeprefix("#/").split("/"):
            at = at[step]


def references(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for one in part.values():
            yield from references(one)
    elif isinstance(part, list):
        for one in part:
            yield from references(one)


def test_no_two_subscriptions_share_a_channel() -> None:
    """Names are made of three codes that are unique together."""
    lines = shipped()[0].subscriptions.values()
    assert len({channel_of(one) for one in lines}) == len(lines)


@pytest.mark.skipif(
    (NODE is None or not (PARSER / "node_modules").is_dir()) and os.environ.get("HUB_REQUIRE_ASYNCAPI") != "1",
    reason="`make asyncapi` installs the official parser; HUB_REQUIRE_ASYNCAPI=1 fails without it",
)
@pytest.mark.parametrize("agency", ["lindum", "population-register", "family-benefits"])
def test_the_official_parser_finds_no_error_in_it(agency: str) -> None:
    """One that receives, one that mostly publishes, one with several purposes."""
    assert NODE is not None, "node is not installed"
    ran = subprocess.run(
        [NODE, "check.mjs"], cwd=PARSER, input=json.dumps(document(agency)), capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [line for line in ran.stdout.splitlines() if "asyncapi-latest-version" not in line] == []


# What is delivered fits.


def message_of(made: Mapping[str, Any], delivery: Mapping[str, Any]) -> str:
    """Find a delivery's message as a recipient does: by kind, purpose, agreement, and dataset where it has one."""
    kind = delivery["kind"]
    if kind in ("notice", "ask"):
        return str(kind)
    ending = f"_{delivery['purpose']}_{delivery['agreement']}"
    return next(
        f"{name}_{kind}"
        for name, channel in made["channels"].items()
        if name.endswith(ending) and (kind in ("stop", "delete") or channel["x-dataset"] == delivery["type"])
    )


def misfits(made: Mapping[str, Any], delivery: Mapping[str, Any]) -> list[str]:
    """Say in what a delivery does not fit its message."""
    schema = {
        "$ref": f"#/components/messages/{message_of(made, delivery)}/payload",
        "components": made["components"],
    }
    validator = jsonschema_rs.Draft7Validator(schema, validate_formats=True)
    return [error.message for error in validator.iter_errors(dict(delivery))]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with town(tmp_path_factory.mktemp("own") / "hub") as running:
        yield running


def demo_deliveries(country: Country) -> dict[str, list[Delivery]]:
    """Let everything happen that the demo knows, twice: to a child that was granted for, and to one that was not."""
    for happening in country.cast.happenings.values():
        for child in ("test-granted", "test-refused"):
            country.publish(happening, child=child)
    return {agency: country.collect(agency) for agency in country.catalogue.agencies}


def test_every_delivery_of_the_demo_fits_the_document_of_who_gets_it(place: Town) -> None:
    """Fetched from the hub by the agency that pulls; and the same delivery with a field more does not fit."""
    with open_country(place.url, place.hub.settings.data_dir, system_clock) as country:
        begin(country, system_clock)
        got = demo_deliveries(country)
        count = 0
        for agency, deliveries in got.items():
            if not deliveries:
                continue
            made = country.agency(agency).asyncapi()
            for one in deliveries:
                assert misfits(made, one.document) == [], one.type
                count += 1
                if one.kind == "data":
                    data = {**one.document["data"], "surplus": 1}
                    assert misfits(made, {**one.document, "data": data})
        assert count >= 10


def test_the_hub_serves_both_to_whoever_asks_for_its_own(place: Town) -> None:
    """With the phase that the store knows, and the media type that tools look for."""
    client = place.agency("lindum")
    own = client.catalogue()
    assert {one["phase"] for one in own["agreements"]} == {"in_force"}
    assert client.asyncapi()["id"] == "urn:agency:lindum"
    assert client.asyncapi()["servers"]["hub"]["host"] == place.url.partition("://")[2]


def test_the_document_names_the_ways_out_that_are_set_up_and_no_other(place: Town) -> None:
    """Pull always; a webhook while it is tried, not where it is unproven or was given up; files until turned off."""
    client, store = place.agency("tax"), place.hub.store
    number = place.hub.approved().agencies["tax"].number
    acting: dict[str, Any] = {"clock": place.hub.clock, "salt": place.hub.act_salt}

    def register(state: str) -> None:
        never = 2**62  # nobody listens there, so no try is due in this test
        row = WebhookRow("tax", "https://tax.example/hub", state, since_us=never, next_us=never)
        store.write(lambda tx: put_webhook(tx, row))

    def ways() -> list[str]:
        found = [one["x-ways-out"] for one in client.asyncapi()["channels"].values() if "x-ways-out" in one]
        assert all(one == found[0] for one in found)
        return list(found[0])

    assert ways() == ["pull"]
    for state, named in (("unproven", False), ("active", True), ("failing", True), ("disabled", False)):
        register(state)
        assert ways() == (["pull", "webhook"] if named else ["pull"])
    turn_on(store, number, form="csv", bom=False, **acting)
    assert ways() == ["pull", "file"]
    assert turn_off(store, number, **acting)
    assert ways() == ["pull"]


def texts(schema: Mapping[str, Any]) -> st.SearchStrategy[str]:
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True)
    if schema.get("format") == "date":
        return st.dates().map(lambda day: day.isoformat())
    if schema.get("format") == "date-time":
        return st.datetimes().map(lambda at: at.replace(microsecond=0).isoformat() + "Z")
    return st.text("ab", min_size=schema.get("minLength", 0), max_size=min(schema.get("maxLength", 4), 4))


def lists(schema: Mapping[str, Any]) -> st.SearchStrategy[list[Any]]:
    least, most = schema.get("minItems", 0), min(schema.get("maxItems", 3), 3)
    return st.lists(values(schema["items"]), min_size=least, max_size=most, unique_by=repr)


def values(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Make values that fit a schema as datasets use them."""
    least, most = schema.get("minimum", -9), schema.get("maximum", 9_999)
    if "enum" in schema:
        return st.sampled_from(list(schema["enum"]))
    make: dict[str, Any] = {
        "string": lambda: texts(schema),
        "integer": lambda: st.integers(least, most),
        "number": lambda: st.floats(least, most, allow_nan=False),
        "boolean": st.booleans,
        "array": lambda: lists(schema),
        "object": lambda: objects(schema),
    }
    made: st.SearchStrategy[Any] = make[schema["type"]]()
    return made


def objects(schema: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    made = {name: values(part) for name, part in schema["properties"].items()}
    needed = set(schema.get("required", ()))
    return st.fixed_dictionaries(
        {name: one for name, one in made.items() if name in needed},
        optional={name: one for name, one in made.items() if name not in needed},
    )


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_a_publisher_sends_what_may_leave_of_it_fits_the_reduced_schema(data: st.DataObject) -> None:
    """Cut to any of the fields that may go, people renamed or left out, identifiers replaced; no value but fits."""
    catalogue: Catalogue = shipped()[0]
    line = data.draw(st.sampled_from(sorted(catalogue.subscriptions.values(), key=lambda one: one.number)))
    dataset = line.dataset
    event = data.draw(objects(dataset.schema))
    subject = data.draw(st.text("xyz", min_size=1, max_size=3))
    for field in dataset.fields.values():
        if (
            field.names == "person_ref"
            and field.role == dataset.subject_role
            and not field.many
            and field.name in event
        ):
            event[field.name] = subject
    assert jsonschema_rs.Draft202012Validator(dict(dataset.schema)).is_valid(event)
    persons = mentions(dataset, subject, event)
    named = {(one.role, one.local_id): data.draw(st.sampled_from(["p1.AAAA", "own-7", None])) for one in persons}
    kept = data.draw(st.sets(st.sampled_from(sorted(line.allowed))))
    parts = [minimise(part, kept) for part in fields_by_person(dataset, event, persons)]
    shares = [
        rewrite(
            dataset, part, lambda role, local_id: named.get((role, local_id)),
            identifier=lambda _field, _value: "i1.AAAAAAAAAAAAAAAAAAAAAA",
        )
        for part in parts
    ]  # fmt: skip
    schema = {name: said for name, said in reduced_schema(line).items() if name != "required"}
    errors = [
        error.message
        for error in jsonschema_rs.Draft7Validator(schema, validate_formats=True).iter_errors(merge(shares))
    ]
    assert errors == []
