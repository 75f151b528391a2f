"""Attacks by an agency whose name server or machine is slow on purpose: it waits for itself, and nobody for it."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.core.errors import HubError
from hub.exchange.endpoints import read_endpoint
from hub.exchange.post import TRIED_MOST, Limits, Line, Unanswered, trusting
from hub.web.webhooks import PROOFS_AT_ONCE, Proofs
from tests.webhook_world import Post, machine


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    made = Post(tmp_path)
    try:
        yield made
    finally:
        made.close()


def test_an_agency_whose_names_never_resolve_takes_no_other_agencys_place() -> None:
    """There are few threads that wait for others' machines: asking again and again would have held all of them."""
    answer = threading.Event()

    def slow() -> dict[str, Any]:
        answer.wait(20)
        return {"state": "unproven"}

    async def attack() -> tuple[list[Any], bytes, bytes]:
        proofs = Proofs()
        tries = [asyncio.create_task(proofs.of("tax", slow)) for _ in range(PROOFS_AT_ONCE + 1)]
        await asyncio.wait(tries, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        async with asyncio.timeout(5):
            other = await proofs.of("lindum", lambda: {"state": "active"})
        answer.set()
        said = await asyncio.gather(*tries, return_exceptions=True)
        again = await proofs.of("tax", lambda: {"state": "active"})
        return list(said), bytes(other.body), bytes(again.body)

    try:
        said, other, again = asyncio.run(attack())
    finally:
        answer.set()
    refused = [one.code for one in said if isinstance(one, HubError)]
    assert refused == ["webhook-proving"] * PROOFS_AT_ONCE
    assert (other, again) == (b'{"state":"active"}', b'{"state":"active"}')


def test_a_name_of_many_addresses_is_tried_a_few_times_only(post: Post) -> None:
    """An address that never answers costs the whole wait for a connection; a thousand of them would cost an hour."""
    with machine() as receiver:
        endpoint = read_endpoint(receiver.url, post.hub.webhooks.reach)
        closed = [f"127.0.1.{number}" for number in range(1, TRIED_MOST + 1)]  # nobody listens there
        with pytest.raises(Unanswered):
            Line(receiver.url, endpoint, [*closed, "127.0.0.1"], tls=trusting(None), limits=Limits())
        Line(receiver.url, endpoint, [*closed[1:], "127.0.0.1"], tls=trusting(None), limits=Limits()).close()
