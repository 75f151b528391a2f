"""What goes on between agencies, for an operator: backfills, asks, webhooks, by their codes; nothing about a person."""

from typing import Any

from hub.core.agreement import Catalogue
from hub.exchange.webhooks import in_words
from hub.metrics import WEBHOOK_STATES, Metrics
from hub.store.asks import OpenAsks, open_asks_by_provider
from hub.store.backfills import BackfillRow, open_backfills
from hub.store.engine import Tx
from hub.store.webhooks import webhooks

US = 1_000_000
DAY_US = 86_400 * US
NOT_BEGUN_US = 2 * DAY_US  # a provider is told at once; after a week-end's length somebody should call
FAILING_US = 3_600 * US  # a receiver that is restarted is back within minutes
OVERDUE_US = 60 * US  # retention looks every second
UNKNOWN = "no longer in the catalogue"
NOT_BEGUN = "Call the provider: its `hub-agency backfill run` has not begun. What happens now reaches the recipient."
DISABLED = "Call the agency: it registers its webhook anew. Its deliveries wait for a pull meanwhile."
FAILING = "Call the agency: its receiver does not take what is posted. Nothing is lost; a pull has it at once."
OVERDUE = "The retention worker ends them each second: its log says what keeps it."


def look(tx: Tx, catalogue: Catalogue, now_us: int) -> dict[str, Any]:
    """Read open backfills, open asks per provider, and every webhook."""
    agencies = {one.number: one.code for one in catalogue.agencies.values()}
    return {
        "backfills": [_backfill(catalogue, agencies, row) for row in open_backfills(tx)],
        "asks": [
            {
                "provider": agencies.get(one.provider, UNKNOWN),
                "open": one.open,
                "overdue": one.overdue,
                "oldest_s": _age_s(one.asked_us, now_us),
                "overdue_s": _age_s(one.deadline_us, now_us) if one.overdue else 0,
            }
            for one in open_asks_by_provider(tx, now_us)
        ],
        "webhooks": [
            {
                "agency": row.agency if row.agency in catalogue.agencies else UNKNOWN,
                "state": row.state,
                "reason": row.reason,
                "since_us": row.since_us,
                "next_us": row.next_us,
                "failures": row.failures,
            }
            for row in webhooks(tx)
        ],
    }


def problems_between(found: dict[str, Any], now_us: int) -> list[tuple[str, str]]:
    """Say what of it somebody should do something about, with the remedy."""
    said = []
    for one in found["backfills"]:
        if one["state"] == "open" and not one["done"] and now_us - one["since_us"] > NOT_BEGUN_US:
            days = (now_us - one["since_us"]) // DAY_US
            what = f"{one['provider']} has backfilled nobody of {one['subscription']} for {one['recipient']}"
            said.append((f"{what} in {days} days", NOT_BEGUN))
    for one in found["asks"]:
        if one["overdue_s"] * US > OVERDUE_US:
            many = (
                f"{one['overdue']} asks of {one['provider']} are"
                if one["overdue"] > 1
                else f"1 ask of {one['provider']} is"
            )
            said.append((f"{many} overdue and still open", OVERDUE))
    for one in found["webhooks"]:
        if one["state"] == "disabled":
            said.append((f"the webhook of {one['agency']} is disabled: {in_words(one['reason'])}", DISABLED))
        if one["state"] == "failing" and now_us - one["since_us"] > FAILING_US:
            what = f"the webhook of {one['agency']} has failed {one['failures']} times in a row"
            said.append((f"{what}: {in_words(one['reason'])}", FAILING))
    return said


def measure_between(metrics: Metrics, tx: Tx, catalogue: Catalogue, now_us: int) -> None:
    """Bring the gauges about backfills, asks and webhooks up to date; what is over is zero again."""
    by_number = {one.number: one.code for one in catalogue.agencies.values()}
    rows, asks = open_backfills(tx), open_asks_by_provider(tx, now_us)
    of_provider: dict[str, list[BackfillRow]] = {}
    for row in rows:
        of_provider.setdefault(by_number.get(row.provider, ""), []).append(row)
    asked = {by_number.get(one.provider, ""): one for one in asks}
    states = {row.agency: row.state for row in webhooks(tx)}
    for code in catalogue.agencies:
        filled = of_provider.get(code, [])
        metrics.backfills_open.labels(code).set(len(filled))
        metrics.backfill_persons.labels(code).set(sum(row.persons for row in filled))
        metrics.backfill_persons_done.labels(code).set(sum(row.done for row in filled))
        of_code = asked.get(code, OpenAsks(0, 0, 0, 0, 0))
        metrics.asks_open.labels(code).set(of_code.open)
        metrics.asks_overdue.labels(code).set(of_code.overdue)
        for state in WEBHOOK_STATES:
            metrics.webhooks.labels(code, state).set(states.get(code) == state)
    metrics.oldest_backfill_s.set(_age_s(min((row.opened_us for row in rows), default=0), now_us))
    metrics.oldest_ask_s.set(_age_s(min((one.asked_us for one in asks), default=0), now_us))


def _backfill(catalogue: Catalogue, agencies: dict[int, str], row: BackfillRow) -> dict[str, Any]:
    line = catalogue.subscriptions.get(row.subscription)
    return {
        "backfill": row.public.hex(),
        "provider": agencies.get(row.provider, UNKNOWN),
        "recipient": line.recipient if line else UNKNOWN,
        "subscription": f"{line.agreement.code} / {line.purpose.code} / {line.dataset.name}" if line else UNKNOWN,
        "state": "ending" if row.ending else "open",
        "persons": row.persons,  # as the provider said; 0: it did not say
        "done": row.done,
        "since_us": row.opened_us,
        "until_us": row.until_us,
    }


def _age_s(since_us: int, now_us: int) -> int:
    return max(0, (now_us - since_us) // US) if since_us else 0
