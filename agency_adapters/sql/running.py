"""A mapping at work: checked against the database and the hub, then published round by round, or shown only."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from agency_adapters.client import HubClient
from agency_adapters.profile import Profile
from agency_adapters.sql.database import open_database, split_name, told
from agency_adapters.sql.desk import COUNTED, Desk, NotSent
from agency_adapters.sql.differences import publish_differences
from agency_adapters.sql.fit import fit
from agency_adapters.sql.mapping import Plan
from agency_adapters.sql.outbox import publish_outbox
from agency_adapters.sql.preview import preview
from agency_adapters.sql.rows import datasets_of
from agency_adapters.sql.sent import Sent
from agency_adapters.sql.tables import NEW, REFUSED
from agency_adapters.terminal import line


class Publishing:
    """One mapping, its database and its hub. Made by `publishing`."""

    def __init__(
        self, plan: Plan, engine: sa.Engine, desk: Desk, columns: Mapping[str, str], sent: Sent | None
    ) -> None:
        self._plan, self._engine, self._desk, self._columns, self._sent = plan, engine, desk, columns, sent

    def round(self, *, retry_refused: bool = False, baseline: bool = False, many_gone: bool = False) -> dict[str, int]:
        """Publish what there is; write a line with the counts, also when it ends before; return them."""
        self._desk.counts.clear()
        try:
            if self._sent is None:
                if retry_refused:
                    self._renew_refused()
                publish_outbox(self._plan, self._engine, self._desk, self._columns)
            else:
                if retry_refused:
                    self._sent.forget_refused()
                publish_differences(
                    self._plan, self._engine, self._desk, self._sent,
                    baseline=baseline, many_gone=many_gone, all_rows=retry_refused,
                )  # fmt: skip
        finally:
            line(self._counts())
        return self._counts()

    def preview(self, rows: int, show: Callable[[Mapping[str, Any]], None]) -> dict[str, int]:
        """Show what would be published of the first `rows` rows; change nothing."""
        preview(self._plan, self._engine, self._desk, self._columns, self._sent, rows=rows, show=show)
        line({"dry_run": True, **self._counts()})
        return self._counts()

    def _counts(self) -> dict[str, int]:
        return {name: self._desk.counts[name] for name in COUNTED}

    def _renew_refused(self) -> None:
        schema, name = split_name(self._plan.table)
        table = sa.table(name, sa.column("state"), schema=schema)
        with told("renew the refused rows"), self._engine.begin() as connection:
            connection.execute(sa.update(table).where(table.c.state == REFUSED).values(state=NEW))


@contextmanager
def publishing(
    plan: Plan, profile: Profile, client: HubClient, *, state: Path, tell: Callable[[NotSent], None] = lambda _one: None
) -> Iterator[Publishing]:
    """Check a mapping against its database and the hub, and open what it needs. Raises `AgencyError`: nothing was sent.

    `state` is where it is kept what was sent, for tables that do not say so themselves.
    """
    engine = open_database(plan.database)
    try:
        datasets = datasets_of(client.agency())
        columns = fit(plan, engine, datasets)
        desk = Desk(client, profile.agency, profile.event_key, datasets, tell)
        if plan.mode == "outbox":
            yield Publishing(plan, engine, desk, columns, None)
            return
        about = " ".join((plan.mode, plan.database, plan.table or plan.query, plan.dataset))
        with Sent(state, about=about) as sent:
            yield Publishing(plan, engine, desk, columns, sent)
    finally:
        engine.dispose()
