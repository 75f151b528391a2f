"""Backfill between the population register and Lindum, for its tests: opening, publishing, reading in order."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from hub.exchange.backfills import Wish, list_backfills, open_backfill
from hub.exchange.let_go import LetGo
from tests.protocol_world import CONSENT, Hub, Matter, S


def wish(hub: Hub, matter: Matter = CONSENT) -> Wish:
    line = next(
        one
        for one in hub.catalogue.by_dataset[matter.dataset]
        if (one.recipient, one.purpose.code) == (matter.recipient, matter.purpose)
    )
    return Wish(line.agreement.code, matter.purpose, matter.dataset)


def opened(hub: Hub, matter: Matter = CONSENT, **more: Any) -> str:
    said = open_backfill(hub.world, wish(hub, matter), days=30, recipient=matter.recipient, **more)
    return str(said["id"])


def backfill(hub: Hub, of: str, event: str, local_id: str = "A", *, last: bool = False, **more: Any) -> str:
    return hub.publish(event, local_id, aim={"backfill": of, **({"backfilllast": True} if last else {})}, **more)


def codes(events: Sequence[dict[str, Any]]) -> list[str]:
    """What each delivery says, in order: the municipality's code stands for the event."""
    return [one["data"]["municipality_code"] for one in events if one["kind"] == "data"]


def notices(hub: Hub, agency: str) -> list[dict[str, Any]]:
    events, _ = hub.drain(replace_recipient(agency))
    return [one["data"] for one in events if one["kind"] == "notice"]


def replace_recipient(agency: str) -> Matter:
    return CONSENT._replace(recipient=agency)


def go_round(hub: Hub, times: int = 3) -> None:
    """Let the worker that lets go look around a few times."""
    let_go = LetGo()
    for _ in range(times):
        let_go.step(hub.world)


def state(hub: Hub, of: str) -> str:
    return str(next(one["state"] for one in list_backfills(hub.world) if one["id"] == of))


def envelope(hub: Hub, of: str, event: str, local_id: str) -> dict[str, Any]:
    at = datetime.fromtimestamp(hub.clock() / S).astimezone().isoformat()
    return {
        "specversion": "1.0", "id": event, "source": f"urn:agency:{CONSENT.publisher}", "type": CONSENT.dataset,
        "subject": local_id, "time": at, "data": {"resident": local_id, "municipality_code": event}, "backfill": of,
    }  # fmt: skip


def agreement(hub: Hub) -> int:
    return next(one.number for one in hub.catalogue.agreements.values() if one.code == wish(hub).agreement)
