"""The shipped policy over the shipped catalogue: its papers are permitted as they stand, and no further."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from hub.catalogue_files import load
from hub.core.agreement import Catalogue, Subscription
from hub.core.question import Question, Verdict
from hub.policy.engine import Engine
from hub.policy.opa import OpaServer
from hub.policy.server import ServerPolicy
from tests.decision_vectors import COMPILED, ROOT
from tests.opa_world import ENGINES, Opa, engine, opa

SHIPPED = load(ROOT / "policies" / "catalogue")
MUST_DENY: list[dict[str, Any]] = json.loads((COMPILED.parent / "must_deny.json").read_bytes())["must_deny"]
SUBSCRIPTIONS = [
    pytest.param(line, id=f"{line.agreement.code} {line.purpose.code} {line.dataset.name}")
    for line in SHIPPED.subscriptions.values()
]
BREACHES = [
    pytest.param(entry, line, id=f"{entry['code']} {line.agreement.code} {line.dataset.name}")
    for entry in MUST_DENY
    for line in SHIPPED.subscriptions.values()
    if line.dataset.name in entry["datasets"]
]


@pytest.fixture(scope="module", params=ENGINES)
def policy(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The shipped policy over the shipped catalogue, in process and behind a server."""
    with engine(request.param, SHIPPED) as running:
        yield running


@pytest.fixture(scope="module")
def bare() -> Iterator[Opa]:
    """An OPA server that is given one catalogue after another."""
    with opa() as started:
        yield started


def well_standing(line: Subscription) -> Question:
    """Ask for a person against whom nothing speaks."""
    state = "given" if line.purpose.basis.needs_consent else "none"
    papers = (line.agreement.code, line.agreement.version, line.purpose.code, line.dataset.name)
    return Question(*papers, line.purpose.basis.value, state, line.purpose.assurance)


@pytest.mark.parametrize("line", SUBSCRIPTIONS)
def test_every_shipped_subscription_is_permitted_exactly_its_fields(policy: Engine, line: Subscription) -> None:
    """No reason stands against it, and policy and code name the same widest fields, by ways of their own."""
    assert policy.ask([well_standing(line)]) == [Verdict(policy.revision(), line.allowed, frozenset())]


@pytest.mark.parametrize(("entry", "line"), BREACHES)
def test_papers_that_go_too_far_are_refused_by_name(entry: dict[str, Any], line: Subscription, bare: Opa) -> None:
    """Widened to what an entry forbids, a shipped agreement is refused under that entry's code, without its fields."""
    catalogue, widened = breach(entry, line)
    bare.hold(catalogue)
    served = ServerPolicy(catalogue, COMPILED, OpaServer(bare.url))
    with engine("embedded", catalogue) as embedded:
        (verdict,) = embedded.ask([well_standing(widened)])
        assert served.ask([well_standing(widened)]) == [verdict]
    served.close()
    assert entry["code"] in verdict.reasons
    assert not verdict.fields & frozenset(entry.get("fields", line.allowed))


def test_every_must_deny_entry_speaks_of_things_that_there_are() -> None:
    """A misspelt dataset, field, purpose or agency would forbid nothing, or everybody."""
    for entry in MUST_DENY:
        datasets = [SHIPPED.datasets[name] for name in entry["datasets"]]
        for name in entry.get("fields", []):
            assert all(name in dataset.fields for dataset in datasets), (entry["code"], name)
        assert {*entry.get("purposes", []), *entry.get("purposes_except", [])} <= SHIPPED.purposes.keys()
        assert {*entry.get("recipients", []), *entry.get("recipients_except", [])} <= SHIPPED.agencies.keys()


def breach(entry: dict[str, Any], line: Subscription) -> tuple[Catalogue, Subscription]:
    """Widen the papers of `line` until `entry` forbids them; nothing else about them changes."""
    dataset, fields = line.dataset.name, frozenset(entry.get("fields", ()))
    code = "OTHER-USE" if "purposes_except" in entry else line.purpose.code
    recipient = entry.get("recipients", ["lindum" if "recipients_except" in entry else line.recipient])[0]
    wanted = line.purpose.wanted[dataset]
    purpose = replace(
        line.purpose,
        code=code,
        wanted={**line.purpose.wanted, dataset: replace(wanted, optional=wanted.optional | fields)},
    )
    agreement = replace(
        line.agreement,
        recipient=recipient,
        purposes=(*line.agreement.purposes, code),
        ceiling={**line.agreement.ceiling, dataset: line.agreement.ceiling[dataset] | fields},
    )
    catalogue = replace(
        SHIPPED,
        purposes={**SHIPPED.purposes, code: purpose},
        agreements={**SHIPPED.agreements, agreement.code: agreement},
    )
    return catalogue, replace(line, agreement=agreement, purpose=purpose)
