"""Who got a person's data and who did not: every decision with its reason, to be narrowed down and taken away."""

from collections.abc import Iterator

from fastapi import APIRouter, Response

from hub.citizens.history import NEWEST, history
from hub.exchange.csv_cells import MARK, line
from hub.web.citizen_forms import rfc3339
from hub.web.portal.failures import PageRoute
from hub.web.portal.visit import HOME, Me, Mine, page
from hub.web.portal.wording import KINDS, Line, lines

AT = f"{HOME}/history"
SHOWN = 50  # lines of one page
LOOKED_AT = 20  # pages of the log that one request reads at most, however rare what it looks for is
REFERENCE_MOST = 2**62


def history_routes() -> APIRouter:
    """Serve `GET /my/history` and the same as a table."""
    router = APIRouter(route_class=PageRoute)

    @router.get(AT)
    def get_history(me: Me, recipient: str = "", kind: str = "", after: str = "") -> Response:
        known = recipient if recipient in me.desk.catalogue.agencies else ""
        wanted = kind if kind in KINDS else ""
        before = int(after) if after.isascii() and after.isdigit() and len(after) < 19 else NEWEST
        shown, more = _some(me, known, wanted, before)
        return page(
            me,
            "history.html",
            at="history",
            title=me.texts.say("history.title"),
            lines=shown,
            recipients=sorted((me.titles.agency(code), code) for code in me.desk.catalogue.agencies),
            recipient=known,
            kind=wanted,
            kinds=KINDS,
            more=more,
            newest=before == NEWEST,
            query={name: value for name, value in (("recipient", known), ("kind", wanted)) if value},
        )

    @router.get(f"{AT}.csv")
    def get_table(me: Me) -> Response:
        body = MARK + b"".join(_table(me))
        headers = {
            "content-disposition": 'attachment; filename="who-got-my-data.csv"',
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            "content-language": me.language,
        }
        return Response(body, headers=headers, media_type="text/csv; charset=utf-8")

    return router


def _some(me: Mine, recipient: str, kind: str, before: int) -> tuple[list[Line], int | None]:
    """Return up to about SHOWN lines older than `before`, and after which entry to go on; None: there are no more."""
    shown: list[Line] = []
    after: int | None = before
    for _ in range(LOOKED_AT):
        if after is None or len(shown) >= SHOWN:
            break
        found = history(me.desk, me.principal, after=after)
        shown += [
            one
            for one in lines(found.entries, me.titles, me.texts)
            if kind in ("", one.kind) and recipient in ("", one.recipient)
        ]
        after = found.after
    return shown, after


def _table(me: Mine) -> Iterator[bytes]:
    """Write every entry as one row of a table: when, what, what is told about it, its reference."""
    said = me.texts.plain
    yield line([said(code) for code in ("flow.moment", "history.outcome", "flow.reason", "flow.reference")])
    after: int | None = NEWEST
    while after is not None:
        found = history(me.desk, me.principal, after=after)
        for one in lines(found.entries, me.titles, me.texts):
            more = "; ".join(f"{label}: {text}" for label, text in one.more)
            yield line([rfc3339(one.moment_us), one.what.unescape(), more, one.reference])
        after = found.after
