"""Answers of requests with many items: one outcome for each, and one sentence for whoever reads only that."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi import Response

from hub.core.errors import HubError, Kind
from hub.web.problems import MEDIA_TYPE, problem

NAMED = 20  # items that the sentence names; beyond that the count says enough


def refused_item(index: int, error: HubError) -> dict[str, Any]:
    """Shape one item's refusal: its problem, worded so that it can be read by itself."""
    members = problem(error)
    first = error.items[0].what if error.items else error.what
    more = f" ({len(error.items) - 1} more)" if len(error.items) > 1 else ""
    return {"status": "refused", "problem": {**members, "detail": f"Item {index}: {first}{more}"}}


def answer_of_items(items: Sequence[Mapping[str, Any]], *, done: str, status: int) -> Response:
    """Answer with `status` where anything was done, or nothing was asked; 422 as a problem where all was refused.

    {"<done>": n, "refused": m, "detail"?: sentence, "items": [...]}
    """
    refused = [item for item in items if item["status"] == "refused"]
    counts = {done: len(items) - len(refused), "refused": len(refused)}
    if not refused:
        return Response(orjson.dumps({**counts, "items": items}), status, media_type="application/json")
    sentence = _sentence(refused, len(items) - len(refused), done)
    if len(refused) < len(items):
        body = {**counts, "detail": sentence, "items": items}
        return Response(orjson.dumps(body), status, media_type="application/json")
    whole = problem(HubError(Kind.INVALID, sentence, remedy="Mend the items; each says how.", code="all-items-refused"))
    return Response(orjson.dumps({**whole, **counts, "items": items}), 422, {"cache-control": "no-store"}, MEDIA_TYPE)


def _sentence(refused: Sequence[Mapping[str, Any]], well: int, done: str) -> str:
    numbers = [str(item["index"]) for item in refused]
    which = f"item {numbers[0]}" if len(numbers) == 1 else f"items {', '.join(numbers[:NAMED])}"
    if len(numbers) > NAMED:
        which += f" and {len(numbers) - NAMED} more"
    again = f"Resend only {which}." if well else "Nothing was changed."
    return f"{refused[0]['problem']['detail'].rstrip('.')}. {well} {done}, {len(refused)} refused. {again}"
