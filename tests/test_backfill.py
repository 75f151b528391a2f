"""Backfill is opened once by its recipient, is for that recipient alone, and is decided like everything else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.core.errors import HubError
from hub.exchange.backfills import end_backfill, keep_progress, list_backfills, open_backfill
from tests.backfill_world import backfill, codes, go_round, notices, opened, state, wish
from tests.promise_hub import reasons_of_all
from tests.protocol_world import CONSENT, LOOK_BACK, Hub

pytestmark = pytest.mark.engines


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    opened = Hub(tmp_path)
    yield opened
    opened.close()


# Opening.


def test_the_provider_is_told_and_both_see_the_backfill(hub: Hub) -> None:
    """The notice names it; others neither hear of it nor see it."""
    of = opened(hub)
    (told,) = notices(hub, "population-register")
    assert (told["type"], told["backfill"], told["dataset"]) == ("backfill.open", of, CONSENT.dataset)
    assert [one["id"] for one in list_backfills(hub.world, "lindum")] == [of]
    assert [one["id"] for one in list_backfills(hub.world, "population-register")] == [of]
    assert list_backfills(hub.world, "tax") == []


@pytest.mark.parametrize(
    ("change", "code"),
    [({"recipient": "tax"}, "subscription-unknown"), ({"recipient": "population-register"}, "subscription-unknown")],
)
def test_only_the_recipient_itself_opens_one(hub: Hub, change: dict[str, Any], code: str) -> None:
    """Neither another subscriber nor the provider."""
    with pytest.raises(HubError) as refused:
        open_backfill(hub.world, wish(hub), days=30, **change)
    assert refused.value.code == code


def test_none_is_opened_under_an_agreement_that_is_not_in_force(hub: Hub) -> None:
    """Suspended is enough."""
    hub.suspend()
    with pytest.raises(HubError) as refused:
        opened(hub)
    assert refused.value.code == "agreement-phase"


def test_one_at_a_time_and_once_unless_the_operator_opens_another(hub: Hub) -> None:
    """A recipient cannot have everything sent again and again."""
    of = opened(hub)
    with pytest.raises(HubError) as refused:
        opened(hub)
    assert refused.value.code == "backfill-open"
    end_backfill(hub.world, of, agency="population-register")
    go_round(hub)
    assert state(hub, of) == "closed"
    with pytest.raises(HubError) as refused:
        opened(hub)
    assert refused.value.code == "backfill-done"
    assert opened(hub, again=True) != of


def test_opening_and_ending_and_closing_leave_an_audit_row_each(hub: Hub) -> None:
    """Under the agreement's fence, with nothing of a person in it."""
    of = opened(hub)
    end_backfill(hub.world, of, agency="population-register")
    go_round(hub)
    rows = hub.rows("SELECT detail, fences FROM audit WHERE kind = 16 ORDER BY id")
    assert [b'"act":"open"' in rows[0][0], b'"act":"end"' in rows[1][0], b'"act":"close"' in rows[2][0]] == [True] * 3
    assert all(b"agreements" in fences for _, fences in rows)


# For one recipient, by the same gate.


def test_what_is_backfilled_reaches_its_recipient_and_nobody_else(hub: Hub) -> None:
    """Minimal fields, marked as what was there before; no other subscriber of the dataset gets any of it."""
    hub.grant(hub.link("A"))
    of = opened(hub)
    backfill(hub, of, "old-1", last=True, address="Secret Street 1")
    hub.decide()
    events, _ = hub.drain()
    (one,) = events
    assert (one["kind"], one["backfill"], one["data"]) == ("data", True, {"municipality_code": "M-7"})
    recipients = hub.rows("SELECT DISTINCT recipient FROM delivery WHERE kind = 9")
    assert recipients == [(hub.catalogue.agencies["lindum"].number,)]


def test_without_consent_nothing_that_is_backfilled_goes(hub: Hub) -> None:
    """The same gate, the same reasons."""
    hub.link("A")
    of = opened(hub)
    backfill(hub, of, "old-1", last=True)
    hub.decide()
    assert hub.drain() == ([], 0)
    assert "consent.none" in reasons_of_all(hub)


def test_nothing_that_is_backfilled_is_held(hub: Hub) -> None:
    """Look-back is for what happens; what was there before is refused, and the recipient may ask again later."""
    hub.link("A", LOOK_BACK)
    of = opened(hub, LOOK_BACK)
    backfill(hub, of, "old-1", matter=LOOK_BACK, last=True)
    hub.decide()
    assert hub.states(LOOK_BACK) == []


def test_a_withdrawal_stops_what_is_backfilled_and_waits(hub: Hub) -> None:
    """It is decided again before it leaves, like everything."""
    person = hub.link("A")
    consent = hub.grant(person)
    of = opened(hub)
    backfill(hub, of, "old-1", last=True)
    hub.decide()
    hub.withdraw(person, consent)
    events, cancelled = hub.drain()
    assert (codes(events), cancelled) == ([], 1)


def test_the_same_fact_under_its_live_id_is_another_event(hub: Hub) -> None:
    """A live event and its backfilled twin have ids of their own, and so have their deliveries; neither is lost."""
    hub.grant(hub.link("A"))
    hub.publish("fact")
    of = opened(hub)
    backfill(hub, of, "fact-of-backfill", last=True)
    hub.decide()
    events, _ = hub.drain()
    assert codes(events) == ["M-7", "M-7"]
    assert len({one["id"] for one in events}) == 2


def test_an_id_that_was_published_live_is_a_conflict_in_a_backfill(hub: Hub) -> None:
    """The provider is told; nothing is delivered twice under one id."""
    hub.grant(hub.link("A"))
    hub.publish("fact")
    hub.decide()
    of = opened(hub)
    backfill(hub, of, "fact", last=True)
    assert hub.decide().conflicts == 1
    events, _ = hub.drain()
    assert codes(events) == ["M-7"]


@pytest.mark.parametrize("named", ["0" * 32, "no id at all", "closed"])
def test_for_a_backfill_that_is_not_open_nothing_is_decided_and_the_provider_hears_why(hub: Hub, named: str) -> None:
    """An invented id, no id, and one that is closed."""
    hub.grant(hub.link("A"))
    if named == "closed":
        named = opened(hub)
        end_backfill(hub.world, named, agency="population-register")
        go_round(hub)
    backfill(hub, named, "old-1", last=True)
    hub.decide()
    assert codes(hub.drain()[0]) == []
    told = [one for one in notices(hub, "population-register") if one["type"] == "event.refused"]
    assert [one["reason"] for one in told] == ["backfill.closed"]


# Progress.


def test_the_provider_keeps_a_cursor_that_nobody_else_sees(hub: Hub) -> None:
    """Sealed where it rests; the recipient sees how far it is, and not the provider's own keys."""
    hub.link("A")
    of = opened(hub)
    backfill(hub, of, "old", last=True)
    hub.decide()
    keep_progress(hub.world, "population-register", of, cursor="row-CANARY", persons=12)
    (own,) = list_backfills(hub.world, "population-register")
    (theirs,) = list_backfills(hub.world, "lindum")
    assert (own["cursor"], own["persons"], own["done"]) == ("row-CANARY", 12, 1)
    assert "cursor" not in theirs
    assert (theirs["persons"], theirs["done"]) == (12, 1)
    assert b"CANARY" not in repr(hub.rows("SELECT * FROM backfill")).encode()


def test_only_its_provider_fills_or_ends_one(hub: Hub) -> None:
    """Not even the recipient; and after it is closed nobody."""
    of = opened(hub)
    for agency in ("lindum", "tax"):
        with pytest.raises(HubError) as refused:
            keep_progress(hub.world, agency, of, cursor="", persons=1)
        assert refused.value.code == "backfill-unknown"
        with pytest.raises(HubError) as refused:
            end_backfill(hub.world, of, agency=agency)
        assert refused.value.code == "backfill-unknown"
    end_backfill(hub.world, of, agency="population-register")
    go_round(hub)
    with pytest.raises(HubError) as refused:
        keep_progress(hub.world, "population-register", of, cursor="", persons=1)
    assert refused.value.code == "backfill-closed"
