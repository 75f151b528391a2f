"""Promise 9: one machine and many give the same decisions: same tests, same vectors.

The decision table (vectors/decisions.json) is read by the code and by the Rego; test_decision_table.py runs it. The
suites of the ports (test_port_*.py) are what another engine must pass. Here: the way to a decision does not matter.
"""

from pathlib import Path
from typing import Any

import pytest

from hub.exchange.world import Limits
from tests.decision_vectors import TABLE
from tests.opa_world import ENGINES, engine
from tests.promise_hub import restarted
from tests.protocol_world import CONSENT, LOOK_BACK, OBJECTION, Hub, opened, shipped

pytestmark = pytest.mark.engines(whole=True)

MATTERS = (CONSENT, LOOK_BACK, OBJECTION)


def story(hub: Hub, *, batches: bool, restart: bool) -> list[Any]:
    """Tell the same story of three matters and three people; returns what came out, by delivery."""
    for at, matter in enumerate(MATTERS):
        for local_id in ("A", "B", "C"):
            person = hub.link(f"{local_id}{at}", matter)
            if matter is not OBJECTION and local_id != "C":
                hub.grant(person, matter)
            if matter is OBJECTION and local_id == "B":
                hub.object(person)
    for at, matter in enumerate(MATTERS):
        for number in range(3):
            for local_id in ("A", "B", "C"):
                hub.publish(f"{matter.dataset}-{local_id}{number}", f"{local_id}{at}", matter)
                if not batches:
                    hub.decide()
    if restart:
        hub = restarted(hub)
    hub.decide()
    found = hub.rows(
        "SELECT d.public, d.recipient, d.subscription, q.state, length(d.payload) FROM delivery d"
        " JOIN queue q ON q.delivery = d.id WHERE d.kind = 1 ORDER BY d.public"
    )
    if restart:
        hub.close()
    return found


@pytest.mark.parametrize(
    ("batches", "restart", "limit"),
    [(True, False, 200), (True, False, 2), (True, True, 200)],
    ids=["in one batch", "in small batches", "after a restart"],
)
def test_decisions_do_not_depend_on_how_events_are_batched(
    tmp_path: Path, batches: bool, restart: bool, limit: int
) -> None:
    """One by one, in batches of any size, or by another process: same deliveries, same states, same sizes."""
    with opened(tmp_path / "one by one") as hub:
        expected = story(hub, batches=False, restart=False)
    with opened(tmp_path / "other", limits=Limits(batch_events=limit)) as hub:
        found = story(hub, batches=batches, restart=restart)
    assert len(expected) > 9
    assert found == expected


def test_the_vectors_are_enough_to_compare_engines_by() -> None:
    """At least sixty rows, of every outcome."""
    outcomes = {row["expect"]["outcome"] for row in TABLE["rows"]}
    assert len(TABLE["rows"]) >= 60
    assert outcomes >= {"release", "hold", "refusal", "wait"}


def test_two_engines_over_the_same_papers_are_of_one_revision() -> None:
    """So that a verdict of either is believed by both, and none of any other."""
    for kind in ENGINES:
        with engine(kind, shipped()[0]) as again:
            again.probe()
            assert again.revision() == shipped()[1].revision()
