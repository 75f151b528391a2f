"""Play over a FHIR R4 Bulk Data export: real-shaped records instead of the demo's people.

1. read the patients, let the register link them          2. a seeded half is asked and says yes; nobody else is asked
3. the export's publishers publish everything             4. one of those who said yes withdraws, before anybody came
5. every recipient takes what there is for it              6. every patient reads in their own history what was decided
"""

import random
import secrets
import time
from collections.abc import Iterator, Mapping
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import httpx

from agency_adapters import fhir
from agency_adapters.ndjson import Broken
from hub.core.errors import HubError, Kind
from hub.demo.cast import P2, REGISTER
from hub.demo.citizen import Citizen
from hub.demo.country import HANDLED_WITHIN_S, Country
from hub.demo.pages import Pages

CHUNK_EVENTS = 500
ASKED = {"health-region": "CARE-PLAN", "school-board": "HEALTH-CARD", "lindum": "KINDER-PLACE"}
KINDERGARTEN_YEARS = 6  # KINDER-PLACE is for children below that
BACKLOG = "hub_intake_backlog_events"
LOOK_S = 0.05
DAYS_A_YEAR = 365.2425  # mean Gregorian year: a day more or less asks one more or fewer


def play_export(country: Country, pages: Pages, directory: Path, *, seed: int, reference: date) -> None:
    """Play it. Raises `AgencyError` where the directory holds no export."""
    publishers = {name: country.catalogue.datasets[name].provider for name in fhir.DATASETS}
    patients = _patients(directory, publishers, reference)
    pages.chapter(
        "A FHIR export, played over the hub",
        f"{directory}: {len(patients)} people with their records. The register links each. Half of them, chosen "
        f"by seed {seed}, are asked and say yes. The others are not asked, and what needs a yes stays where it is.",
    )
    _link(country, patients, publishers)
    chosen = sorted(random.Random(seed).sample(sorted(patients), len(patients) // 2))  # noqa: S311 - a demo's seed
    for patient in chosen:
        _say_yes(country, patient, patients[patient], reference)
    counts = _publish(country, directory, publishers, reference)
    _wait_until_decided(country)
    pages.say(
        f"{counts['events']} events were published by {len(set(publishers.values()))} agencies in "
        f"{len(publishers)} datasets; {counts['skipped']} lines had nothing to publish, {counts['broken']} were broken."
    )
    _withdraw_one(country, pages, chosen)
    recipients = sorted({one for dataset in publishers for one in country.recipients(dataset)})
    taken = {recipient: country.collect(recipient) for recipient in recipients}
    for patient in patients:
        with _citizen(country, patient) as citizen:
            country.tally.saw(citizen.decisions())
    pages.received([country.tally.of_recipient(recipient, found) for recipient, found in taken.items()])


def _patients(directory: Path, publishers: Mapping[str, str], reference: date) -> dict[str, date]:
    """Read who is in the export, with their dates of birth."""
    only = {"pop.person": publishers["pop.person"]}
    return {
        event["subject"]: date.fromisoformat(event["data"]["dob"])
        for outcome in fhir.read_export(directory, publishers=only, reference=reference)
        if isinstance(outcome, fhir.Mapped)
        for event in outcome.events
    }


def _link(country: Country, patients: Mapping[str, date], publishers: Mapping[str, str]) -> None:
    """Link each patient's id at the publishers, and one of its own at each agency that asks."""
    links = [
        {"agency": agency, "local_id": local_id, "mine": patient, "level": P2, "born": born.isoformat()}
        for patient, born in patients.items()
        for agency, local_id in [
            *((publisher, patient) for publisher in sorted(set(publishers.values()))),
            *((agency, _own_id(agency, patient)) for agency in ASKED),
        ]
    ]
    refused = sum("problem" in one for one in country.agency(REGISTER).link(links))
    if refused:
        raise HubError(Kind.CONFLICT, f"the hub refused {refused} of {len(links)} links", code="demo-links")


def _own_id(agency: str, patient: str) -> str:
    return f"{agency}-{patient}"


def _citizen(country: Country, patient: str) -> Citizen:
    return Citizen(country.address, person=f"{REGISTER}:{patient}")


def _say_yes(country: Country, patient: str, born: date, reference: date) -> None:
    """Have every agency ask that may, and say yes to each."""
    small = (reference - born).days < KINDERGARTEN_YEARS * DAYS_A_YEAR
    with _citizen(country, patient) as citizen:
        for agency, purpose in ASKED.items():
            if purpose != "KINDER-PLACE" or small:
                country.agency(agency).request_consent(_own_id(agency, patient), purpose)
                citizen.grant(str(citizen.request_for(agency, purpose)["consent"]))


def _publish(country: Country, directory: Path, publishers: Mapping[str, str], reference: date) -> dict[str, int]:
    """Publish what each line gives, a chunk at a time and in the export's order for each publisher."""
    counts = {"events": 0, "skipped": 0, "broken": 0}
    events = _events(directory, publishers, reference, counts)
    while chunk := list(islice(events, CHUNK_EVENTS)):
        counts["events"] += len(chunk)
        for publisher in sorted(set(publishers.values())):
            own = [event for event in chunk if event["source"] == f"urn:agency:{publisher}"]
            country.hand_in(publisher, own)
    return counts


def _events(
    directory: Path, publishers: Mapping[str, str], reference: date, counts: dict[str, int]
) -> Iterator[dict[str, Any]]:
    for outcome in fhir.read_export(directory, publishers=publishers, reference=reference):
        match outcome:
            case fhir.Mapped(events=events):
                yield from ({**event, "case": secrets.token_hex(8)} for event in events)
            case fhir.Skipped():
                counts["skipped"] += 1
            case Broken():
                counts["broken"] += 1


def _wait_until_decided(country: Country) -> None:
    """Wait until the intake is empty, as /metrics says: asking for each event's state would run into the quota."""
    until_s = time.monotonic() + HANDLED_WITHIN_S * 3
    with httpx.Client(base_url=country.address, trust_env=False) as http:
        while time.monotonic() < until_s:
            lines = http.get("/metrics").text.splitlines()
            if any(line.split() in ([BACKLOG, "0"], [BACKLOG, "0.0"]) for line in lines):
                return
            time.sleep(LOOK_S)
    raise HubError(Kind.UNAVAILABLE, "the gate did not come to an end", remedy="See /readyz.", code="demo-unhandled")


def _withdraw_one(country: Country, pages: Pages, chosen: list[str]) -> None:
    """Let the first of those who said yes take it back while everything lies ready."""
    if not chosen:
        return
    with _citizen(country, chosen[0]) as citizen:
        gone = citizen.withdraw(citizen.consent_for("health-region", "CARE-PLAN")["consent"])
    country.tally.withdraw_ms.append(gone.took_ms)
    pages.receipt(gone.receipt, took_ms=gone.took_ms, whose="One of those who had said yes")
