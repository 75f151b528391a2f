"""A record as a page that a person reads: what they allowed, to whom, until when, and everything that happened to it.

A pure function from the plain JSON (plain.py) to HTML. Its words come from `say`, a function from a code to a text in
the page's language; `LABELS` lists every code there is besides those of states, actions and capacities. The page needs
no style, no script and no network: it is saved, printed and mailed as one file.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from html import escape
from typing import Any

from consent.chain import Capacity
from consent.states import Action, State

Say = Callable[[str], str]

LABELS = (
    "record.title", "record.state", "record.recipient", "record.purpose", "record.benefit", "record.not_used_for",
    "record.given", "record.until", "record.ended", "record.asked", "record.items", "record.item", "record.provider",
    "record.required", "record.optional", "record.special", "record.not_given", "record.retention", "record.days",
    "record.notice", "record.notice_version", "record.rights", "record.withdrawal", "record.complaint",
    "record.contact", "record.address", "record.events", "record.moment", "record.what", "record.who", "record.hash",
    "record.number", "record.jurisdiction", "record.marks", "record.proof",
)  # fmt: skip


def codes() -> frozenset[str]:
    """Return every code that a page may ask `say` for."""
    states = (f"record.state.{state}" for state in State if state is not State.NONE)
    actions = (f"record.action.{action}" for action in Action)
    capacities = (f"record.by.{capacity}" for capacity in Capacity)
    return frozenset({*LABELS, *states, *actions, *capacities})


def page(said: Mapping[str, Any], say: Say, *, language: str, right_to_left: bool) -> str:
    """Return a whole HTML document for what `plain` returned. Every text of the record is escaped."""
    direction = "rtl" if right_to_left else "ltr"
    title = f"{say('record.title')}: {said['purpose']['title']}"
    body = "\n".join(
        [
            f"<h1>{escape(title)}</h1>",
            _facts(_first(said, say)),
            f"<h2>{escape(say('record.items'))}</h2>",
            _items(said, say),
            f"<h2>{escape(say('record.rights'))}</h2>",
            _facts(_rights(said, say)),
            f"<h2>{escape(say('record.events'))}</h2>",
            _events(said, say),
            f"<p>{escape(say('record.proof'))}</p>",
            f"<p><code>{escape(said['chain']['head'])}</code></p>",
        ]
    )
    head = f'<meta charset="utf-8"><title>{escape(title)}</title>'
    wide = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    return (
        f'<!doctype html>\n<html lang="{escape(language)}" dir="{direction}">\n<head>{head}{wide}</head>\n'
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def moment(text: str) -> str:
    """Shorten an RFC 3339 instant in UTC to the minute, as people read it: 2026-11-02 09:00 UTC."""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"


def _first(said: Mapping[str, Any], say: Say) -> list[tuple[str, str]]:
    purpose, recipient = said["purpose"], said["recipient"]
    rows = [
        ("record.state", say(f"record.state.{said['state']}")),
        ("record.recipient", recipient["name"]),
        ("record.contact", recipient["contact"]),
        ("record.address", recipient["address"]),
        ("record.purpose", purpose["title"]),
        ("record.benefit", purpose["benefit"]),
        ("record.not_used_for", "; ".join(purpose["not_used_for"])),
    ]
    rows += [(f"record.{name}", moment(said[name])) for name in ("asked", "given", "until", "ended") if name in said]
    rows += [
        ("record.retention", f"{said['retention_days']} {say('record.days')}"),
        ("record.jurisdiction", said["jurisdiction"]),
        ("record.number", said["id"]),
    ]
    if said["notice"]:
        notice = said["notice"]
        shown = f"{say('record.notice_version')} {notice['version']}, {notice['language']}, SHA-256 {notice['sha256']}"
        rows.append(("record.notice", shown))
    return [(say(code), text) for code, text in rows if text]


def _rights(said: Mapping[str, Any], say: Say) -> list[tuple[str, str]]:
    authority = said["authority"]
    complaint = ", ".join(part for part in (authority["name"], authority["contact"], authority["address"]) if part)
    return [(say("record.withdrawal"), said["withdrawal"]), (say("record.complaint"), complaint)]


def _items(said: Mapping[str, Any], say: Say) -> str:
    names = {party["code"]: party["name"] for party in said["providers"]}
    rows = []
    for item in said["items"]:
        marks = [say("record.required" if item["required"] else "record.optional")]
        marks += [say("record.special")] if item["special"] else []
        marks += [] if item["given"] else [say("record.not_given")]
        provider = names.get(item["provider"], item["provider"])
        rows.append((f"{item['dataset_title']}: {item['title']}", ", ".join(marks), provider))
    return _table([say(code) for code in ("record.item", "record.marks", "record.provider")], rows)


def _events(said: Mapping[str, Any], say: Say) -> str:
    heads = [say(code) for code in ("record.moment", "record.what", "record.state", "record.who", "record.hash")]
    rows = [
        (
            moment(one["moment"]),
            say(f"record.action.{one['action']}"),
            say(f"record.state.{one['state']}"),
            say(f"record.by.{one['by']}"),
            one["hash"],
        )
        for one in said["events"]
    ]
    return _table(heads, rows)


def _facts(rows: Iterable[tuple[str, str]]) -> str:
    listed = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows)
    return f"<dl>\n{listed}\n</dl>"


def _table(heads: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    lines = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{lines}\n</tbody>\n</table>"
