"""`hub status` and the metrics on what goes between agencies: backfills, asks and webhooks, and nobody's name."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.app import Hub as Whole
from hub.commands.status import draw
from hub.exchange.backfills import Wish, end_backfill, keep_progress, open_backfill
from hub.metrics import Metrics, open_metrics, render
from hub.operations.between import look, measure_between, problems_between
from tests.asks_world import BY_LAW, answered, known, put
from tests.backfill_world import backfill, opened, wish
from tests.protocol_world import Hub
from tests.webhook_world import AGENCY, Machine, Post, Say, machine

DAY_S = 86_400


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    one = Hub(tmp_path)
    yield one
    one.close()


@pytest.fixture
def metrics(hub: Hub) -> Metrics:
    return open_metrics(hub.catalogue.agencies.keys)


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    made = Post(tmp_path / "whole")
    yield made
    made.close()


@pytest.fixture
def to() -> Iterator[Machine]:
    with machine() as running:
        yield running


def seen(hub: Hub) -> dict[str, Any]:
    with hub.store.read() as tx:
        return look(tx, hub.catalogue, hub.clock())


def problems(hub: Hub) -> list[str]:
    said = problems_between(seen(hub), hub.clock())
    assert all(remedy for _, remedy in said)
    return [what for what, _ in said]


def measured(hub: Hub, metrics: Metrics) -> list[str]:
    with hub.store.read() as tx:
        measure_between(metrics, tx, hub.catalogue, hub.clock())
    return render(metrics).decode().splitlines()


def test_an_open_backfill_is_shown_with_its_parties_and_how_many_persons_are_done(hub: Hub) -> None:
    """Of how many, as the provider said; and since when. Once it is closed it is gone from both."""
    hub.grant(hub.link("A"))
    of = opened(hub)
    keep_progress(hub.world, "population-register", of, cursor="c", persons=7)
    backfill(hub, of, "M-1", last=True)
    hub.decide()
    (one,) = seen(hub)["backfills"]
    line = wish(hub)
    assert one == {
        "backfill": of, "provider": "population-register", "recipient": "lindum",
        "subscription": f"{line.agreement} / {line.purpose} / {line.dataset}", "state": "open", "persons": 7, "done": 1,
        "since_us": hub.clock(), "until_us": one["until_us"],
    }  # fmt: skip
    end_backfill(hub.world, of, agency="population-register")
    assert [one["state"] for one in seen(hub)["backfills"]] == ["ending"]
    hub.store.write(lambda tx: tx.run("UPDATE backfill SET closed_us = 1"))
    assert seen(hub)["backfills"] == []


def test_the_metrics_count_open_backfills_and_their_persons_by_provider(hub: Hub, metrics: Metrics) -> None:
    """At zero from the first scrape on, and again once it is closed."""
    zero = 'hub_backfills_open{agency="population-register"} 0.0'
    assert zero in render(metrics).decode().splitlines()
    of = opened(hub)
    keep_progress(hub.world, "population-register", of, cursor="c", persons=7)
    hub.pass_by(90)
    assert {
        'hub_backfills_open{agency="population-register"} 1.0',
        'hub_backfill_persons{agency="population-register"} 7.0',
        'hub_backfill_persons_done{agency="population-register"} 0.0',
        "hub_oldest_backfill_seconds 90.0",
    } <= set(measured(hub, metrics))
    hub.store.write(lambda tx: tx.run("UPDATE backfill SET closed_us = 1"))
    assert {zero, "hub_oldest_backfill_seconds 0.0"} <= set(measured(hub, metrics))


def test_a_backfill_that_its_provider_did_not_begin_in_two_days_is_a_problem(hub: Hub) -> None:
    """Not before, and not once anybody is done."""
    opened(hub)
    hub.pass_by(2 * DAY_S)
    assert problems(hub) == []
    hub.pass_by(1)
    (said,) = problems(hub)
    assert said.startswith("population-register has backfilled nobody of ")
    assert said.endswith("/ pop.residence for lindum in 2 days")
    hub.store.write(lambda tx: tx.run("UPDATE backfill SET done = 1"))
    assert problems(hub) == []


def test_open_asks_are_counted_by_provider_with_the_oldest_and_the_overdue(hub: Hub, metrics: Metrics) -> None:
    """One that is answered counts no more; one whose deadline passed is overdue until retention has ended it."""
    for name in "ABC":
        known(hub, name)
    put(hub, "A", deadline_us=hub.clock() + 60_000_000)
    hub.pass_by(10)
    put(hub, "B")
    answered(hub, put(hub, "C"), "C")
    assert seen(hub)["asks"] == [
        {"provider": BY_LAW.publisher, "open": 2, "overdue": 0, "oldest_s": 10, "overdue_s": 0}
    ]
    hub.pass_by(50)
    assert [(one["open"], one["overdue"], one["oldest_s"]) for one in seen(hub)["asks"]] == [(2, 1, 60)]
    assert problems(hub) == []
    hub.pass_by(61)
    assert problems(hub) == [f"1 ask of {BY_LAW.publisher} is overdue and still open"]
    assert {
        f'hub_asks_open{{agency="{BY_LAW.publisher}"}} 2.0',
        f'hub_asks_overdue{{agency="{BY_LAW.publisher}"}} 1.0',
        "hub_oldest_ask_seconds 121.0",
    } <= set(measured(hub, metrics))


def webhooks(whole: Whole) -> list[tuple[str, str, str]]:
    return [(one["agency"], one["state"], one["reason"]) for one in whole.status()["webhooks"]]


def told(whole: Whole) -> list[str]:
    return [one["what"] for one in whole.status()["problems"] if "webhook" in one["what"]]


def test_every_webhook_is_shown_with_its_state_and_why(post: Post, to: Machine) -> None:
    """Unproven, active, failing since when and tried again when, disabled: by the agency's code, never by its URL."""
    to.challenge = lambda _message: Say(500)
    post.prove(to)
    assert webhooks(post.hub) == [(AGENCY, "unproven", "http-500")]
    to.challenge = lambda message: Say(body=json.dumps({"challenge": message.document["data"]["challenge"]}).encode())
    post.prove(to)
    assert webhooks(post.hub) == [(AGENCY, "active", "")]
    post.born("1")
    to.answers = [lambda _message: Say(503)] * 50
    post.post()
    (one,) = post.hub.status()["webhooks"]
    assert (one["state"], one["reason"], one["failures"]) == ("failing", "http-503", 1)
    assert one["next_us"] > one["since_us"] > 0
    assert told(post.hub) == []
    assert to.url not in json.dumps(post.hub.status())
    post.hub.measure()
    page = render(post.hub.metrics)
    assert f'hub_webhooks{{agency="{AGENCY}",state="failing"}} 1.0'.encode() in page
    assert f'hub_webhooks{{agency="{AGENCY}",state="active"}} 0.0'.encode() in page


def test_a_webhook_that_fails_for_an_hour_and_one_that_is_disabled_are_problems(post: Post, to: Machine) -> None:
    """In words: what the receiver answered, and that the agency is to be called."""
    post.prove(to)
    post.born("1")
    to.answers = [lambda _message: Say(503)] * 50
    post.post()
    post.clock.pass_by(3_601)
    assert told(post.hub) == [f"the webhook of {AGENCY} has failed 1 times in a row: it answered 503"]
    to.answers = [lambda _message: Say(410)]
    post.post()
    assert webhooks(post.hub) == [(AGENCY, "disabled", "gone")]
    assert told(post.hub) == [f"the webhook of {AGENCY} is disabled: it answered 410: it wants nothing any more"]


def test_the_page_says_in_words_how_backfills_asks_and_webhooks_stand(
    post: Post, to: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line each; where there is none, none."""
    draw(post.hub.status())
    assert not [line for line in capsys.readouterr().out.splitlines() if line.startswith(("Backfill", "Asked", "Webh"))]
    post.prove(to)
    line = next(one for one in post.hub.approved().by_dataset["pop.residence"] if one.purpose.code == "KINDER-PLACE")
    which = Wish(line.agreement.code, "KINDER-PLACE", "pop.residence")
    open_backfill(post.hub.world, which, days=30, recipient="lindum")
    found = post.hub.status()
    found["asks"] = [{"provider": "tax", "open": 2, "overdue": 1, "oldest_s": 7_200, "overdue_s": 3}]
    found["webhooks"].append(
        {"agency": "tax", "state": "failing", "reason": "cut", "since_us": 1, "next_us": 2, "failures": 4}
    )
    draw(found)
    page = capsys.readouterr().out
    assert (
        f"Backfill: {line.agreement.code} / KINDER-PLACE / pop.residence from population-register to lindum: 0" in page
    )
    assert "Asked: tax has 2 open asks, the oldest for 2 h, 1 overdue without an answer" in page
    assert f"Webhook: {AGENCY} is active since 20" in page
    assert "Webhook: tax is failing since 1970-01-01 00:00 UTC (cut), 4 times in a row; tried again at 1970" in page


def test_what_left_the_catalogue_is_shown_without_a_name_of_its_own(post: Post) -> None:
    """A webhook may outlive its agency, and is still somebody's to look at."""
    values = ("former", "https://former.example/hub", "active", "", 1, 0, 0)
    post.hub.store.write(
        lambda tx: tx.insert("webhook(agency, url, state, reason, since_us, next_us, failures)", [values])
    )
    assert webhooks(post.hub) == [("no longer in the catalogue", "active", "")]
    post.hub.measure()
