"""The decision table: every row through `decide`, with the verdicts of the real policy.

The rows stand in tests/vectors/decisions.json and were written from the design, not from the code. The policy's own
test (policies/decision_table_test.rego) reads the same rows for the engine's share of them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from hub.core.agreement import Subscription
from hub.core.decide import Decision, Hold, Refusal, Release, Wait, decide, question
from hub.core.question import Verdict
from hub.policy.engine import Engine
from hub.policy.papers import policy_data
from tests.decision_vectors import TABLE, case, catalogue, subscriptions
from tests.opa_world import ENGINES, engine

ROWS: list[Mapping[str, Any]] = TABLE["rows"]
ENGINE_REASONS = ("policy.", "consent.", "objection.", "assurance.")


@pytest.fixture(scope="module", params=ENGINES)
def policy(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The real policy over the table's catalogue, in process and behind a server."""
    with engine(request.param, catalogue()) as running:
        yield running


@pytest.fixture(scope="module")
def known() -> dict[str, Subscription]:
    """The table's subscriptions by name."""
    return subscriptions(catalogue())


def rows(*outcomes: str) -> list[Any]:
    return [pytest.param(row, id=row["name"]) for row in ROWS if not outcomes or row["expect"]["outcome"] in outcomes]


@pytest.mark.parametrize("row", rows())
def test_every_row_is_decided_as_the_table_says(
    row: Mapping[str, Any], policy: Engine, known: dict[str, Subscription]
) -> None:
    """Outcome, fields and reasons of every person, and the reasons of the whole are those of the row."""
    given = case(row["given"], known)
    answers = policy.ask([question(given.subscription, standing) for standing in given.standings])
    verdicts = tuple(
        _as_told(verdict, person) for verdict, person in zip(answers, row["given"]["persons"], strict=True)
    )
    decision = decide(
        given.subscription, given.agreement, given.standings, given.present, verdicts, revision=policy.revision()
    )
    assert _in_words(decision) == row["expect"]


@pytest.mark.parametrize("row", rows("release", "hold", "refusal"))
def test_every_row_has_its_share_from_the_policy_itself(
    row: Mapping[str, Any], policy: Engine, known: dict[str, Subscription]
) -> None:
    """The engine names the widest fields of the papers, and of a person's reasons those it can see."""
    given = case(row["given"], known)
    permitted = row["given"].get("permitted", TABLE["subscriptions"][row["given"]["subscription"]]["permitted"])
    for standing, expected in zip(given.standings, row["expect"]["persons"], strict=True):
        (verdict,) = policy.ask([question(given.subscription, standing)])
        assert sorted(verdict.fields) == permitted
        assert sorted(verdict.reasons) == [reason for reason in expected["reasons"] if _of_the_engine(reason)]


def test_the_table_visits_every_corner() -> None:
    """Every outcome, basis, state of consent, phase, number of persons and must-deny entry has its row."""
    outcomes = Counter(row["expect"]["outcome"] for row in ROWS)
    assert len(ROWS) >= 80
    assert outcomes.keys() == {"release", "hold", "refusal", "wait"}
    bases = {_purpose_of(row)["basis"] for row in ROWS}
    assert bases == {"consent", "law", "law_with_objection", "explicit_request", "vital_interest"}
    met = {reason for row in ROWS for reason in row["expect"].get("reasons", [])}
    assert {f"agreement.{phase}" for phase in ("unsigned", "not_yet", "ended", "suspended", "agency_suspended")} <= met
    assert {len(row["given"]["persons"]) for row in ROWS} == {1, 2, 3}


def test_the_tables_catalogue_is_what_the_hub_would_give_the_policy() -> None:
    """What the Rego test reads from the file is, key for key, the document that `policy_data` writes."""
    told = TABLE["catalogue"]
    written = policy_data(catalogue())
    for kind, of_file in told.items():
        assert written[kind].keys() == of_file.keys()
        for name, document in written[kind].items():
            assert _only(document, of_file[name]) == document


def _only(shape: Any, said: Any) -> Any:
    """Cut what the file says down to the keys that the document has; lists compare as sets."""
    if isinstance(shape, dict):
        return {key: _only(shape[key], said[key]) for key in shape}
    return sorted(said) if isinstance(shape, list) else said


def _purpose_of(row: Mapping[str, Any]) -> Mapping[str, Any]:
    purpose: Mapping[str, Any] = TABLE["catalogue"]["purposes"][
        TABLE["subscriptions"][row["given"]["subscription"]]["purpose"]
    ]
    return purpose


def _as_told(verdict: Verdict, person: Mapping[str, Any]) -> Verdict | None:
    match person.get("verdict", "given"):
        case "missing":
            return None
        case "outdated":
            return verdict._replace(revision="sha256:of-an-older-policy")
    return verdict


def _of_the_engine(reason: str) -> bool:
    return reason.startswith(ENGINE_REASONS) and reason != "consent.new_stretch"


def _in_words(decision: Decision) -> dict[str, Any]:
    match decision:
        case Wait(reason):
            return {"outcome": "wait", "reasons": [reason]}
        case Release(parts):
            return {"outcome": "release", "persons": _persons(parts)}
        case Hold(parts, reasons):
            return {"outcome": "hold", "persons": _persons(parts), "reasons": list(reasons)}
        case Refusal(parts, reasons):
            return {"outcome": "refusal", "persons": _persons(parts), "reasons": list(reasons)}


def _persons(parts: Any) -> list[dict[str, list[str]]]:
    return [{"fields": sorted(part.fields), "reasons": list(part.reasons)} for part in parts]
