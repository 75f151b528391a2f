"""Read a file of CloudEvents: one event, a JSON array of them (the batch format), or one per line."""

import json
from collections.abc import Mapping
from typing import Any

from agency_adapters.errors import AgencyError

_REMEDY = "Give one CloudEvent, a JSON array of them, or one per line."


def read_events(text: str, *, name: str) -> list[Mapping[str, Any]]:
    """Return the events of `text`. Raises `AgencyError` naming NAME:LINE, without values."""
    try:
        whole = json.loads(text)
    except ValueError:
        return [_event(line, where=f"{name}:{at}") for at, line in enumerate(text.splitlines(), 1) if line.strip()]
    events = whole if isinstance(whole, list) else [whole]
    if not all(isinstance(event, dict) for event in events):
        raise AgencyError(f"{name} holds something that is no JSON object", remedy=_REMEDY)
    return events


def _event(line: str, *, where: str) -> Mapping[str, Any]:
    try:
        event = json.loads(line)
    except json.JSONDecodeError as error:
        raise AgencyError(f"{where} is not JSON: {error.msg} at column {error.colno}", remedy=_REMEDY) from error
    if not isinstance(event, dict):
        raise AgencyError(f"{where} is no JSON object", remedy=_REMEDY)
    return event
